import { describe, expect, test } from "bun:test";
import { parseBroker } from "../../src/zbus/broker.ts";
import { pauseMs } from "../../src/zbus/link.ts";

describe("a broker's address", () => {
  test.each([
    ["unix:///var/run/redis.sock", { at: { unix: "/var/run/redis.sock" }, user: null, password: null, name: "unix:///var/run/redis.sock" }],
    ["unix://:secret@/run/r.sock", { at: { unix: "/run/r.sock" }, password: "secret", name: "unix:///run/r.sock" }],
    ["tcp://localhost", { at: { hostname: "localhost", port: 6379 }, name: "tcp://localhost" }],
    ["tcp://10.0.0.1:7000/", { at: { hostname: "10.0.0.1", port: 7000 } }],
    ["tcp://[fd00::1]:7000", { at: { hostname: "fd00::1", port: 7000 } }],
    ["tcp://:secret@host:7000", { at: { hostname: "host", port: 7000 }, user: null, password: "secret", name: "tcp://host:7000" }],
    ["tcp://secret@host:7000", { user: null, password: "secret", name: "tcp://host:7000" }],
    ["tcp://me:a%2Fb%40c@host:7000", { user: "me", password: "a/b@c" }],
    ["tcp://:a@b:c@host", { password: "a@b:c", name: "tcp://host" }],
  ])("%s", (url, expected) => {
    expect(parseBroker(url)).toMatchObject(expected);
  });

  test.each([
    ["", "it is no URL"],
    ["/var/run/redis.sock", "it is no URL"],
    ["redis://hush@host", 'unknown scheme "redis"'],
    ["unix://redis.sock", "must be absolute"],
    ["tcp://", "host:port"],
    ["tcp://host:port", "host:port"],
    ["tcp://host:70000", "there is no port 70000"],
    ["tcp://host:0", "there is no port 0"],
    ["tcp://host:1/2", "host:port"],
    ["tcp://:hush%@host", "%"],
    ["tcp://hush:@host", "a user and no password"],
  ])("%j is refused, without quoting it", (url, reason) => {
    expect(() => parseBroker(url)).toThrow(reason);
    expect(() => parseBroker(url)).not.toThrow("hush");
  });
});

describe("the pause before another connection", () => {
  test("doubles from a tenth of a second to ten, half of it by chance", () => {
    expect([1, 2, 3, 7, 8, 1000].map((failures) => pauseMs(failures, 1))).toEqual([100, 200, 400, 6400, 10_000, 10_000]);
    expect([1, 1000].map((failures) => pauseMs(failures, 0))).toEqual([50, 5000]);
  });
});
