import { describe, expect, test } from "bun:test";
import { endingOf } from "../../src/viewer/ending.js";

describe("the words for the end of a console", () => {
  const end = { code: 1006, reason: "", wasOpen: true, isRefused: false };

  test.each([
    ["invalid token", 1000, "The link is no longer good", false],
    ["invalid url", 1000, "There is no console at this address", false],
    ["wrong path prefix", 1000, "There is no console at this address", false],
    ["no such virtual machine", 1011, "There is no such virtual machine", false],
    ["not running", 1011, "The machine is not running", false],
    ["in use", 1011, "The console is in use", false],
    ["bad gateway", 1011, "The machine's host did not answer", true],
    ["service restart", 1012, "The gateway is restarting", true],
    ["idle", 1001, "Disconnected", false],
    ["shutting down", 1001, "The gateway went away", true],
    ["", 1006, "The connection was lost", true],
  ])("%p with code %d", (reason, code, title, isRetried) => {
    expect(endingOf({ ...end, code, reason })).toMatchObject({ title, isRetried });
  });

  test("a machine that another viewer may have taken over is not taken back by itself", () => {
    for (const code of [1000, 1005, 1011]) expect(endingOf({ ...end, code })).toMatchObject({ title: "The console was closed", isRetried: false });
  });

  test("a handshake without a reason is tried again, unless the page's address is refused as well", () => {
    expect(endingOf({ ...end, wasOpen: false })).toMatchObject({ title: "Cannot reach the console", isRetried: true });
    expect(endingOf({ ...end, wasOpen: false, isRefused: true })).toMatchObject({ title: "The link is no longer good", isRetried: false });
  });

  test("a reason that is a property of every object is no reason of ours", () => {
    expect(endingOf({ ...end, code: 4000, reason: "constructor" })).toMatchObject({ title: "Disconnected", isRetried: false });
  });
});
