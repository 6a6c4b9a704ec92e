import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { encode } from "@msgpack/msgpack";
import { ZbusServer } from "../../src/zbus/server.ts";
import { eventually } from "../support/eventually.ts";
import { HAS_REDIS, NEWER, RedisServer, SEED, STATUS, ZbusCaller, zbusRequest, zbusResult } from "../support/redis.ts";
import { KeptCalls, KeptLog } from "./handlers.ts";

const BACKENDS = ["http://10.1.2.3:9000", "http://[fd00::1]:9000"];

let redis: RedisServer;
let caller: ZbusCaller;
let handlers: KeptCalls;
let log: KeptLog;
let server: ZbusServer;

beforeAll(async () => {
  if (HAS_REDIS) redis = await RedisServer.start();
});
afterAll(() => redis?.stop());

beforeEach(async () => {
  if (!HAS_REDIS) return;
  caller = new ZbusCaller(await redis.connect());
  await caller.redis.command("FLUSHALL");
  handlers = new KeptCalls();
  log = new KeptLog();
  server = new ZbusServer({ broker: redis.unixUrl, handlers, log });
  server.start();
});
afterEach(async () => {
  await server?.stop();
  caller?.redis.close();
});

describe.skipIf(!HAS_REDIS)("a zbus server does the four calls (needs redis-server)", () => {
  test.each([[SEED.list, SEED], [NEWER.list, NEWER]])("a name, in the seed's shape, over %s", async (_, to) => {
    const reply = await caller.call(to, "SetNamedProxy", "37-1976-web", "web", BACKENDS, false);
    expect(zbusResult(reply)).toBe("web.gent01.dev.grid.tf");
    expect(handlers.calls).toEqual([["setNamedProxy", "37-1976-web", "web", BACKENDS, false]]);
  });

  test.each([[SEED.list, SEED], [NEWER.list, NEWER]])("a name, in the newer shape, over %s", async (_, to) => {
    const reply = await caller.call(to, "SetNamedProxy", "id", { Name: "web", Backends: BACKENDS, TLSPassthrough: true, Network: null });
    expect(zbusResult(reply)).toBe("web.gent01.dev.grid.tf");
    expect(handlers.calls).toEqual([["setNamedProxy", "id", "web", BACKENDS, true]]);
  });

  test("a domain, in both shapes, which returns nothing", async () => {
    const seed = await caller.call(SEED, "SetFQDNProxy", "id", "remote.omar.grid.tf", ["137.184.106.152:443"], true);
    const newer = await caller.call(NEWER, "SetFQDNProxy", "id", { FQDN: "remote.omar.grid.tf", Backends: BACKENDS, TLSPassthrough: false });
    for (const reply of [seed, newer]) expect(reply).toMatchObject({ Output: { Data: null, Error: null }, Error: null });
    expect(handlers.calls).toEqual([
      ["setFQDNProxy", "id", "remote.omar.grid.tf", ["137.184.106.152:443"], true],
      ["setFQDNProxy", "id", "remote.omar.grid.tf", BACKENDS, false],
    ]);
  });

  test("a deletion, which returns nothing", async () => {
    const reply = await caller.call(SEED, "DeleteNamedProxy", "37-1976-web");
    expect(reply).toMatchObject({ Output: { Data: null, Error: null }, Error: null });
    expect(handlers.calls).toEqual([["deleteNamedProxy", "37-1976-web"]]);
  });

  test("the metrics, as a map of two maps, with counters beyond 32 bits", async () => {
    handlers.totals = { Request: { web: 5_000_000_000, idle: 0 }, Response: { web: 9_007_199_254_740_991 } };
    expect(zbusResult(await caller.call(SEED, "Metrics"))).toEqual(handlers.totals);
  });
});

describe.skipIf(!HAS_REDIS)("a zbus reply (needs redis-server)", () => {
  test("carries no more than the message of what failed; its cause is for the log", async () => {
    handlers.failure = new Error("cannot write the file: EROFS", { cause: new Error("EROFS: open '/inside/a.yaml'") });
    const reply = await caller.call(SEED, "DeleteNamedProxy", "37-1976-web");
    expect(JSON.stringify(reply)).not.toContain("/inside");
    await eventually("the log's line", () => log.count("/inside/a.yaml"), (count) => count === 1);
  });

  test("carries the request's ID and leaves its list after five minutes", async () => {
    const list = await caller.send(SEED, "DeleteNamedProxy", "id");
    await eventually("the reply", () => caller.redis.command("LLEN", list), (length) => length === 1);
    const seconds = Number(await caller.redis.command("TTL", list));
    expect(seconds).toBeGreaterThan(290);
    expect(seconds).toBeLessThanOrEqual(300);
    expect((await caller.fetch(list)).ID).toBe(list);
  });

  test("tells the method's own failure as such, beside the zero value that Go callers decode first", async () => {
    handlers.failure = new Error('"web" belongs to another workload');
    const failed = { Error: { Message: '"web" belongs to another workload' } };
    const named = await caller.call(SEED, "SetNamedProxy", "id", "web", BACKENDS, false);
    expect(named).toMatchObject({ Output: failed, Error: null });
    expect(Buffer.from(named.Output.Data as Uint8Array)).toEqual(Buffer.from([0xa0]));
    expect(await caller.call(SEED, "SetFQDNProxy", "id", "a.test", BACKENDS, false)).toMatchObject({ Output: { ...failed, Data: null }, Error: null });
    expect((await caller.call(SEED, "Metrics")).Output.Data).toEqual(encode({ Request: {}, Response: {} }));
    expect(log.count("zbus call failed")).toBe(3);
  });

  test.each([
    ["an unknown method", SEED, "Reboot", [], 'unknown method "Reboot"'],
    ["an unknown object", { ...SEED, object: { Name: "storage", Version: "0.0.1" } }, "Metrics", [], 'unknown object "storage@0.0.1"'],
    ["an unknown version", { ...SEED, object: { Name: "gateway", Version: "9.0" } }, "Metrics", [], 'unknown object "gateway@9.0"'],
    ["too many arguments", SEED, "DeleteNamedProxy", ["a", "b"], "takes 1 argument (wlID), not 2"],
    ["an argument of another type", SEED, "DeleteNamedProxy", [7], "argument 1 (wlID) must be a string, not a number"],
  ])("is a protocol error for %s", async (_, to, method, args, error) => {
    const reply = await caller.call(to, method, ...args);
    expect(reply).toMatchObject({ Output: { Data: null, Error: null }, Error: expect.stringContaining(error) });
    expect(handlers.calls).toEqual([]);
  });

  test("refuses a private network, as the call's own failure", async () => {
    const reply = await caller.call(NEWER, "SetNamedProxy", "id", { Name: "web", Backends: BACKENDS, TLSPassthrough: false, Network: "net1" });
    expect(reply.Output.Error?.Message).toBe('backends in a private network are not supported: Network must be nil, not "net1"');
    expect(reply.Error).toBeNull();
    expect(handlers.calls).toEqual([]);
  });

  test("to a key that is no list is given up, and the next call works", async () => {
    await caller.redis.command("SET", "taken", "x");
    await caller.redis.command("RPUSH", SEED.list, zbusRequest("taken", SEED, "Metrics", []));
    expect(zbusResult(await caller.call(SEED, "Metrics"))).toEqual(handlers.totals);
    await eventually("the log's line", () => log.count("zbus reply could not be sent"), (count) => count === 1);
    expect(log.count("WRONGTYPE")).toBe(1);
  });
});

describe.skipIf(!HAS_REDIS)("a zbus server skips what it cannot answer, and goes on (needs redis-server)", () => {
  test.each([
    ["bytes that are no msgpack", Buffer.from([0xc1, 0xff, 0x00, 0xfe])],
    ["nothing", Buffer.alloc(0)],
    ["another value", encode("hello")],
    ["a request without a list to reply to", encode({ ID: "1", Inputs: [], Object: SEED.object, Method: "Metrics" })],
    ["a request cut short", zbusRequest("list", SEED, "Metrics", []).subarray(0, 40)],
    ["two hundred thousand nested arrays", Buffer.alloc(200_000, 0x91)],
    ["forty megabytes", Buffer.alloc(40_000_000, 0x41)],
    ["a request that wants its reply among the requests", zbusRequest(SEED.list, SEED, "Metrics", [])],
  ])("%s", async (_, bytes) => {
    await caller.redis.command("RPUSH", SEED.list, bytes);
    expect(zbusResult(await caller.call(SEED, "Metrics"))).toEqual(handlers.totals);
    expect(log.count("zbus message skipped")).toBe(1);
    expect(handlers.calls).toEqual([["metrics"]]);
    expect(await caller.redis.command("KEYS", "*")).toEqual([]);
  });

  test("but answers what is wrong and names a list", async () => {
    await caller.redis.command("RPUSH", SEED.list, encode({ ID: 7, Inputs: "none", Object: SEED.object, Method: "Metrics", ReplyTo: "here" }));
    expect(await caller.fetch("here")).toMatchObject({ ID: 7, Error: "malformed request: Inputs must be an array of binaries" });
  });
});

describe.skipIf(!HAS_REDIS)("a zbus server with many calls (needs redis-server)", () => {
  test("answers each of a thousand exactly once, over both lists", async () => {
    const lists = await Promise.all(Array.from({ length: 1000 }, (_, i) => caller.send(i % 2 === 0 ? SEED : NEWER, "SetNamedProxy", `id${i}`, `n${i}`, BACKENDS, false)));
    const replies = await Promise.all(lists.map((list) => caller.fetch(list)));
    expect(replies.map(({ ID }) => ID)).toEqual(lists);
    expect(replies.map(zbusResult)).toEqual(lists.map((_, i) => `n${i}.gent01.dev.grid.tf`));
    expect(new Set(handlers.calls.map(([, id]) => id)).size).toBe(1000);
    expect(handlers.calls).toHaveLength(1000);
    expect(await caller.redis.command("KEYS", "*")).toEqual([]);
  });

  test("does sixteen at once, leaves the others in Redis, and tells its status meanwhile", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    handlers.gate = promise;
    const lists = await Promise.all(Array.from({ length: 20 }, (_, i) => caller.send(SEED, "DeleteNamedProxy", `id${i}`)));
    await eventually("sixteen calls", () => handlers.calls.length, (count) => count === 16);
    expect(await caller.redis.command("LLEN", SEED.list)).toBe(4);
    const status = zbusResult(await caller.call(STATUS, "Status")) as { Objects: unknown; Workers: Array<{ State: string; StartTime: Date; Action: string }> };
    expect(status.Objects).toEqual([SEED.object, NEWER.object]);
    expect(status.Workers).toHaveLength(16);
    expect(status.Workers.every(({ State, StartTime, Action }) => State === "busy" && StartTime instanceof Date && Action === "gateway@0.0.1.DeleteNamedProxy")).toBe(true);
    resolve();
    for (const list of lists) expect((await caller.fetch(list)).ID).toBe(list);
    expect(handlers.calls.map(([, id]) => id)).toEqual(lists.map((_, i) => `id${i}`));
  });

  test("lets no list wait for another one to be empty", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    handlers.gate = promise;
    const many = await Promise.all(Array.from({ length: 40 }, () => caller.send(SEED, "DeleteNamedProxy", "one of many")));
    await eventually("sixteen calls", () => handlers.calls.length, (count) => count === 16);
    const single = await caller.send(NEWER, "DeleteNamedProxy", "single");
    resolve();
    for (const list of [...many, single]) await caller.fetch(list);
    expect(handlers.calls.findIndex(([, id]) => id === "single")).toBeLessThan(20);
  });

  test("tells that it is idle", async () => {
    const { Workers } = zbusResult(await caller.call(STATUS, "Status")) as { Workers: Array<{ State: string; Action: string }> };
    expect(new Set(Workers.map(({ State, Action }) => `${State}:${Action}`))).toEqual(new Set(["free:"]));
  });
});

describe.skipIf(!HAS_REDIS)("stopping a zbus server (needs redis-server)", () => {
  test("finishes the calls that run and takes no other one", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    handlers.gate = promise;
    const running = await caller.send(SEED, "DeleteNamedProxy", "running");
    await eventually("the call", () => handlers.calls.length, (count) => count === 1);
    let isStopped = false;
    const stopped = server.stop().finally(() => { isStopped = true; });
    await eventually("no more BLPOP", () => blockedClients(), (count) => count === 0);
    await caller.send(SEED, "DeleteNamedProxy", "late");
    expect(isStopped).toBe(false);
    resolve();
    await stopped;
    expect((await caller.fetch(running)).Error).toBeNull();
    expect(handlers.calls).toEqual([["deleteNamedProxy", "running"]]);
    expect(await caller.redis.command("LLEN", SEED.list)).toBe(1);
  });

  test("is quick while nothing happens, and leaves nothing in Redis", async () => {
    await eventually("connections", () => server.isConnected, (is) => is);
    const started = performance.now();
    await Promise.all([server.stop(), server.stop()]);
    expect(performance.now() - started).toBeLessThan(2000);
    expect(await caller.redis.command("KEYS", "*")).toEqual([]);
    expect(String(await caller.redis.command("CLIENT", "LIST")).trim().split("\n")).toHaveLength(1);
  });

  test("before it started is no error", async () => {
    await new ZbusServer({ broker: redis.unixUrl, handlers, log }).stop();
  });

  test("does not wait for a broker that stands still", async () => {
    const impatient = new ZbusServer({ broker: redis.unixUrl, handlers, log, stopTimeoutMs: 50 });
    impatient.start();
    await eventually("connections", () => impatient.isConnected, (is) => is);
    redis.freeze();
    try {
      await impatient.stop();
    } finally {
      redis.thaw();
    }
    expect(impatient.isConnected).toBe(false);
  });

  test("gives up on a call that does not end", async () => {
    const impatient = new ZbusServer({ broker: redis.unixUrl, handlers, log, stopTimeoutMs: 50 });
    await server.stop();
    handlers.gate = new Promise(() => {});
    impatient.start();
    await caller.send(SEED, "DeleteNamedProxy", "endless");
    await eventually("the call", () => handlers.calls.length, (count) => count === 1);
    await impatient.stop();
    expect(log.lines.at(-1)).toContain("calls were still running");
  });
});

async function blockedClients(): Promise<number> {
  const info = String(await caller.redis.command("INFO", "clients"));
  return Number(/blocked_clients:(\d+)/.exec(info)?.[1]);
}
