import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { ZbusServer } from "../../src/zbus/server.ts";
import { eventually } from "../support/eventually.ts";
import { HAS_REDIS, NEWER, RedisServer, SEED, STATUS, ZbusCaller, zbusResult } from "../support/redis.ts";
import { KeptCalls, KeptLog } from "./handlers.ts";

const PASSWORD = "s3cret/@:%&";

let redis: RedisServer;
let handlers: KeptCalls;
let log: KeptLog;
let servers: ZbusServer[];
let callers: ZbusCaller[];

beforeEach(() => {
  handlers = new KeptCalls();
  log = new KeptLog();
  servers = [];
  callers = [];
});
afterEach(async () => {
  await Promise.all(servers.map((server) => server.stop()));
  for (const { redis } of callers) redis.close();
  await redis?.stop();
});

function serve(broker: string): ZbusServer {
  const server = new ZbusServer({ broker, handlers, log, stopTimeoutMs: 1000 });
  servers.push(server);
  server.start();
  return server;
}

async function call(): Promise<ZbusCaller> {
  const caller = new ZbusCaller(await redis.connect());
  callers.push(caller);
  return caller;
}

const connected = (server: ZbusServer): Promise<boolean> => eventually("a connection", () => server.isConnected, (is) => is);
const disconnected = (server: ZbusServer): Promise<boolean> => eventually("no connection", () => server.isConnected, (is) => !is);
const logged = (part: string): Promise<number> => eventually(`the line "${part}"`, () => log.count(part), (count) => count > 0);

describe.skipIf(!HAS_REDIS)("a broker that goes away (needs redis-server)", () => {
  test("and comes back: calls that ran meanwhile were done once, and their replies arrive", async () => {
    redis = await RedisServer.start();
    const server = serve(redis.tcpUrl);
    const { promise, resolve } = Promise.withResolvers<void>();
    handlers.gate = promise;
    const before = await call();
    const lists = await Promise.all([1, 2, 3].map((n) => before.send(SEED, "SetNamedProxy", `id${n}`, `n${n}`, [], false)));
    await eventually("three calls", () => handlers.calls.length, (count) => count === 3);
    await redis.kill();
    await disconnected(server);
    resolve();
    await redis.run();
    const after = await call();
    const replies = await Promise.all(lists.map((list) => after.fetch(list)));
    expect(replies.map(zbusResult)).toEqual([1, 2, 3].map((n) => `n${n}.gent01.dev.grid.tf`));
    expect(handlers.calls).toHaveLength(3);
    expect(await after.redis.command("KEYS", "gateway*")).toEqual([]);
  });

  test("while a reply is on its way to it: the reply is pushed again", async () => {
    redis = await RedisServer.start();
    const server = serve(redis.unixUrl);
    const { promise, resolve } = Promise.withResolvers<void>();
    handlers.gate = promise;
    const list = await (await call()).send(SEED, "SetNamedProxy", "id", "web", [], false);
    await eventually("the call", () => handlers.calls.length, (count) => count === 1);
    await connected(server);
    redis.freeze();
    resolve();
    // The reply is written in the turn that follows the handler's end.
    await new Promise((resolve) => setImmediate(resolve));
    await redis.kill();
    await redis.run();
    expect(zbusResult(await (await call()).fetch(list))).toBe("web.gent01.dev.grid.tf");
    expect(handlers.calls).toHaveLength(1);
  });

  test("while the server is idle: it is said once, and the next calls work", async () => {
    redis = await RedisServer.start();
    const server = serve(redis.unixUrl);
    await connected(server);
    await redis.kill();
    await disconnected(server);
    await redis.run();
    await connected(server);
    const caller = await call();
    for (const to of [SEED, NEWER]) expect(zbusResult(await caller.call(to, "Metrics"))).toEqual(handlers.totals);
    expect(zbusResult(await caller.call(STATUS, "Status"))).toMatchObject({ Objects: [SEED.object, NEWER.object] });
    expect(log.count("zbus connected to its broker")).toBe(2);
    expect(log.count("zbus lost its broker")).toBe(1);
  });

  test("and cuts every connection: sixteen running calls and four that wait are each done and answered once", async () => {
    redis = await RedisServer.start();
    const server = serve(redis.unixUrl);
    const { promise, resolve } = Promise.withResolvers<void>();
    handlers.gate = promise;
    const caller = await call();
    const lists = await Promise.all(Array.from({ length: 20 }, (_, i) => caller.send(SEED, "DeleteNamedProxy", `id${i}`)));
    await eventually("sixteen calls", () => handlers.calls.length, (count) => count === 16);
    await connected(server);
    await caller.redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
    await disconnected(server);
    resolve();
    for (const list of lists) expect(await caller.fetch(list)).toMatchObject({ ID: list, Error: null, Output: { Error: null } });
    expect(handlers.calls).toHaveLength(20);
    expect(await caller.redis.command("KEYS", "*")).toEqual([]);
  });

  test("may be absent at first", async () => {
    redis = await RedisServer.start();
    await redis.kill();
    const server = serve(redis.tcpUrl);
    await logged("ECONNREFUSED");
    await redis.run();
    await connected(server);
    expect(zbusResult(await (await call()).call(SEED, "Metrics"))).toEqual(handlers.totals);
  });

  test("for good does not keep the server from stopping", async () => {
    redis = await RedisServer.start();
    const server = serve(redis.unixUrl);
    await connected(server);
    await redis.kill();
    await disconnected(server);
    const started = performance.now();
    await server.stop();
    expect(performance.now() - started).toBeLessThan(500);
  });
});

describe.skipIf(!HAS_REDIS)("a broker with a password (needs redis-server)", () => {
  test("is used over tcp, whatever characters it has", async () => {
    redis = await RedisServer.start(PASSWORD);
    await connected(serve(redis.tcpUrl));
    expect(zbusResult(await (await call()).call(SEED, "Metrics"))).toEqual(handlers.totals);
  });

  test("refuses a wrong one: that is logged, without it, and tried again until it is right", async () => {
    redis = await RedisServer.start(PASSWORD);
    const caller = await call();
    const server = serve(redis.tcpUrl.replace(encodeURIComponent(PASSWORD), "wrong-password"));
    await logged("WRONGPASS");
    expect(server.isConnected).toBe(false);
    await caller.redis.command("CONFIG", "SET", "requirepass", "wrong-password");
    await connected(server);
    expect(zbusResult(await caller.call(SEED, "Metrics"))).toEqual(handlers.totals);
    expect(log.lines.filter((line) => line.includes("wrong-password"))).toEqual([]);
    expect(log.count("WRONGPASS")).toBe(1);
  });

  test("refuses none at all", async () => {
    redis = await RedisServer.start(PASSWORD);
    serve(redis.unixUrl);
    await logged("NOAUTH");
  });
});

describe.skipIf(!HAS_REDIS)("a broker that refuses for a while (needs redis-server)", () => {
  test("replies: they are pushed when it has memory again", async () => {
    redis = await RedisServer.start();
    serve(redis.unixUrl);
    const { promise, resolve } = Promise.withResolvers<void>();
    handlers.gate = promise;
    const caller = await call();
    const list = await caller.send(SEED, "SetNamedProxy", "id", "web", [], false);
    await eventually("the call", () => handlers.calls.length, (count) => count === 1);
    await caller.redis.command("CONFIG", "SET", "maxmemory", "1");
    resolve();
    await logged("OOM");
    await caller.redis.command("CONFIG", "SET", "maxmemory", "0");
    expect(zbusResult(await caller.fetch(list))).toBe("web.gent01.dev.grid.tf");
    expect(handlers.calls).toHaveLength(1);
  });

  test("calls: a key in the place of the list is logged, and calls are taken when it is gone", async () => {
    redis = await RedisServer.start();
    const caller = await call();
    await caller.redis.command("SET", SEED.list, "not a list");
    serve(redis.unixUrl);
    await logged("WRONGTYPE");
    await caller.redis.command("DEL", SEED.list);
    expect(zbusResult(await caller.call(SEED, "Metrics"))).toEqual(handlers.totals);
  });

  test("is something else than Redis: that is logged", async () => {
    const web = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("hello") });
    try {
      serve(`tcp://127.0.0.1:${web.port}`);
      await logged("the broker does not speak the Redis protocol");
    } finally {
      await web.stop(true);
    }
  });
});

describe("a broker's address", () => {
  test("that cannot be used is refused at once, without its password", () => {
    expect(() => serve("redis://:hush@host")).toThrow('cannot use the broker\'s address: unknown scheme "redis" (expected unix:///path or tcp://[:password@]host:port)');
  });
});
