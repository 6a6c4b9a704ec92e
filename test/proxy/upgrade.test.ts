import { describe, expect, test } from "bun:test";
import { checkHandshake, checkOrigin, offeredProtocols, wantsUpgrade } from "../../src/proxy/upgrade.ts";
import type { ClientRequest } from "../../src/proxy/request.ts";
import type { Route } from "../../src/route.ts";

const GOOD = { upgrade: "websocket", connection: "Upgrade", "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==" };

function request(headers: Record<string, string | undefined>, method = "GET", host = "desk.example"): ClientRequest {
  const present = Object.entries({ ...GOOD, ...headers }).filter((pair): pair is [string, string] => pair[1] !== undefined);
  return { method, path: "/", query: "", host, headers: Object.fromEntries(present) };
}

function route(origins: Route["origins"]): Route {
  return { origins } as Route;
}

describe("wantsUpgrade", () => {
  test.each([["websocket", true], ["WebSocket", true], ["h2c, websocket", true], ["h2c", false], ["websocket2", false], ["", false], [undefined, false]])(
    "Upgrade: %p is %p", (upgrade, expected) => expect(wantsUpgrade(request({ upgrade }))).toBe(expected));
});

describe("checkHandshake", () => {
  test("accepts what browsers send", () => {
    expect(() => checkHandshake(request({}))).not.toThrow();
    expect(() => checkHandshake(request({ connection: "keep-alive, Upgrade", "content-length": "0" }))).not.toThrow();
  });

  test.each<[string, ClientRequest, string]>([
    ["POST", request({}, "POST"), "bad_request"], ["no Connection", request({ connection: undefined }), "bad_request"],
    ["Connection: upgraded", request({ connection: "upgraded" }), "bad_request"], ["a body", request({ "content-length": "1" }), "bad_request"],
    ["a chunked body", request({ "transfer-encoding": "chunked" }), "bad_request"], ["version 777", request({ "sec-websocket-version": "777" }), "upgrade_required"],
    ["no version", request({ "sec-websocket-version": undefined }), "upgrade_required"], ["no key", request({ "sec-websocket-key": undefined }), "bad_request"],
    ["a key of 15 bytes", request({ "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAA" }), "bad_request"],
    ["a key in base64url", request({ "sec-websocket-key": "____________________AA==" }), "bad_request"],
  ])("refuses %s", (_name, handshake, code) => {
    expect(() => checkHandshake(handshake)).toThrow(expect.objectContaining({ code }));
  });
});

describe("checkOrigin", () => {
  test("quotes and cuts a refused origin for the log, and says nothing to the client", () => {
    const check = (): void => checkOrigin(request({ origin: `https://evil.example/${"x".repeat(1000)}\u001b[31m` }), route({ kind: "same-host" }));
    expect(check).toThrow(expect.objectContaining({ code: "forbidden", publicText: "forbidden" }));
    try {
      check();
    } catch (error) {
      expect((error as Error).message.length).toBeLessThan(250);
    }
  });

  test("compares lists without regard to case, and whole", () => {
    const list = route({ kind: "list", origins: ["https://Desk.example"] });
    expect(() => checkOrigin(request({ origin: "HTTPS://desk.EXAMPLE" }), list)).not.toThrow();
    expect(() => checkOrigin(request({ origin: "https://desk.example:444" }), list)).toThrow();
  });
});

test("offeredProtocols keeps the client's order and leaves out what is empty", () => {
  expect(offeredProtocols(request({ "sec-websocket-protocol": " binary ,, base64," }))).toEqual(["binary", "base64"]);
  expect(offeredProtocols(request({}))).toEqual([]);
});
