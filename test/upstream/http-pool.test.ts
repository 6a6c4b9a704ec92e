// The pool on its own: what it keeps, for how long, and what it gives up. Exchanges over HTTP are in test/e2e.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { Sweeper } from "../../src/lib/deadlines.ts";
import { ClientGoneError, ConnectError, UpstreamClosedError, type UpstreamRequest, type UpstreamResponse,
  UpstreamTimeoutError } from "../../src/upstream/exchange.ts";
import type { PooledAddress } from "../../src/upstream/connect.ts";
import { HttpPool, type HttpPoolSettings } from "../../src/upstream/http-pool.ts";
import { ok } from "../support/http.ts";
import { Pod } from "../support/pod.ts";

const SETTINGS: HttpPoolSettings = {
  connectTimeoutMs: 1000, writeTimeoutMs: 1000, idleConnectionsPerTarget: 2, idleConnections: 3, idleTimeoutMs: 60_000,
    responseBufferBytes: 1000, responseBufferTotalBytes: 1500,
};

let pod: Pod;
let sweeper: Sweeper;
beforeEach(() => {
  pod = new Pod("127.0.1.7", ["a", "b", "c"]);
  sweeper = new Sweeper();
});
afterEach(() => {
  sweeper.close();
  pod.stop();
});

function address(name: string): PooledAddress {
  return { address: pod.address, port: pod.port(name), key: name };
}

function request(parts: Partial<UpstreamRequest> = {}): UpstreamRequest {
  const method = parts.method ?? "GET";
  return { method, head: `${method} / HTTP/1.1\r\nHost: a\r\n\r\n`, body: null, chunked: false, bodyLimitBytes: 1000,
    mayCollect: true, readTimeoutMs: 1000, watcher: { slow: () => {}, bodyBytes: () => {} }, ...parts };
}

function exchange(pool: HttpPool, to: PooledAddress, asked: UpstreamRequest): Promise<UpstreamResponse> {
  return new Promise((resolve, reject) => pool.exchange(to, asked, { answered: resolve, failed: reject }));
}

/** Sends `counts` requests to each target at once, so that each needs a connection of its own. */
async function crowd(pool: HttpPool, counts: Record<string, number>): Promise<void> {
  const held: Array<() => void> = [];
  pod.answer((seen, connection) => { held.push(() => connection.write(ok(String(seen.port)))); });
  const all: Array<Promise<UpstreamResponse>> = [];
  for (const [name, count] of Object.entries(counts)) for (let i = 0; i < count; i += 1) all.push(exchange(pool,
    address(name), request()));
  await pod.until(() => held.length === all.length);
  for (const answer of held) answer();
  await Promise.all(all);
}

describe("idle connections", () => {
  test("are kept up to the bound of one target, and of all", async () => {
    const pool = new HttpPool(SETTINGS, sweeper);
    await crowd(pool, { a: 4 });
    expect(pool.size).toEqual({ open: 2, idle: 2 });
    await crowd(pool, { b: 2, c: 2 });
    expect(pool.size).toEqual({ open: 3, idle: 3 });
    pool.close();
    expect(pool.size).toEqual({ open: 0, idle: 0 });
  });

  test("are closed when they were not used for long", async () => {
    const pool = new HttpPool({ ...SETTINGS, idleTimeoutMs: 1 }, sweeper);
    await crowd(pool, { a: 2 });
    await pod.until(() => pod.open.size === 0);
    expect(pool.size).toEqual({ open: 0, idle: 0 });
  });

  test("are forgotten when the other side closes them", async () => {
    const pool = new HttpPool(SETTINGS, sweeper);
    await crowd(pool, { a: 2 });
    for (const socket of pod.open) socket.end();
    await pod.until(() => pool.size.open === 0);
    expect(pool.size).toEqual({ open: 0, idle: 0 });
  });

  test("of a closed pool are cut in use, and nobody takes that for leave to send the request elsewhere", async () => {
    const pool = new HttpPool(SETTINGS, sweeper);
    await crowd(pool, { a: 1 });
    const asked: string[] = [];
    pod.answer((seen) => { asked.push(seen.method); });
    const answer = exchange(pool, address("a"), request({ method: "PUT" })).catch((error: unknown) => error);
    await pod.until(() => asked.length === 1);
    pool.close();
    const error = await answer;
    expect(error).toBeInstanceOf(UpstreamClosedError);
    expect((error as UpstreamClosedError).isUnanswered).toBe(false);
  });

  test("of a retired pool are closed at once, busy ones after their answer", async () => {
    const pool = new HttpPool(SETTINGS, sweeper);
    await crowd(pool, { a: 2 });
    let answer: () => void = () => {};
    pod.answer((_seen, connection) => { answer = () => connection.write(ok("last")); });
    pod.seen.length = 0;
    const busy = exchange(pool, address("a"), request());
    await pod.until(() => pod.seen.length === 1);
    pool.retire();
    expect(pool.size).toEqual({ open: 1, idle: 0 });
    answer();
    expect((await busy).body).toEqual(Buffer.from("last"));
    expect(pool.size).toEqual({ open: 0, idle: 0 });
  });
});

describe("an exchange", () => {
  test("that is aborted while it is dialled or answered ends with the client's leaving", async () => {
    const pool = new HttpPool(SETTINGS, sweeper);
    pod.answer(() => {});
    const dialled = exchange(pool, address("a"),
      request({ watcher: { slow: (exchange) => exchange.abort(), bodyBytes: () => {} } }));
    await expect(dialled).rejects.toBeInstanceOf(ClientGoneError);
    let calls = 0;
    const answered = exchange(pool, address("a"),
      request({ watcher: { slow: (exchange) => { calls += 1; if (calls === 2) exchange.abort(); },
      bodyBytes: () => {} } }));
    await expect(answered).rejects.toBeInstanceOf(ClientGoneError);
    await pod.until(() => pod.open.size === 0);
    expect(pool.size).toEqual({ open: 0, idle: 0 });
  });

  test("fails by name when nobody listens, and when nobody answers", async () => {
    const pool = new HttpPool(SETTINGS, sweeper);
    await expect(exchange(pool, { address: "127.0.1.7", port: 1, key: "x" },
      request())).rejects.toBeInstanceOf(ConnectError);
    pod.answer(() => {});
    await expect(exchange(pool, address("a"),
      request({ readTimeoutMs: 50 }))).rejects.toBeInstanceOf(UpstreamTimeoutError);
    expect(pool.size).toEqual({ open: 0, idle: 0 });
  });

  test("collects a body while the budget of all allows it, and streams it otherwise", async () => {
    const pool = new HttpPool(SETTINGS, sweeper);
    // Announced and not sent: all three are under way at once.
    const finish: Array<() => void> = [];
    pod.answer((_seen, connection) => {
      connection.write("HTTP/1.1 200 OK\r\nContent-Length: 700\r\n\r\nx");
      finish.push(() => connection.write("x".repeat(699)));
    });
    const all = [1, 2, 3].map(() => exchange(pool, address("a"), request()));
    const third = await Promise.race(all);
    expect(third.body).toBeInstanceOf(ReadableStream);
    await pod.until(() => finish.length === 3);
    for (const write of finish) write();
    const bodies = (await Promise.all(all)).map(({ body }) => body);
    expect(bodies.filter((body) => body instanceof ReadableStream)).toHaveLength(1);
    expect(await new Response(third.body as ReadableStream<Uint8Array>).text()).toHaveLength(700);
    // What was collected is given back: the next one is collected again.
    pod.answer((_seen, connection) => connection.write(ok("y".repeat(900))));
    expect((await exchange(pool, address("a"), request())).body).toHaveLength(900);
    pool.close();
  });

  test("streams a body above the bound of one", async () => {
    const pool = new HttpPool(SETTINGS, sweeper);
    let finish: () => void = () => {};
    pod.answer((_seen, connection) => {
      connection.write("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\nx");
      finish = () => connection.write("x".repeat(1000));
    });
    const { body, ended } = await exchange(pool, address("a"), request());
    finish();
    expect(await new Response(body as ReadableStream<Uint8Array>).text()).toHaveLength(1001);
    expect(await ended).toEqual({ bytes: 1001, error: null });
    pool.close();
  });

  test("sends a body in hand in one piece behind its head", async () => {
    const pool = new HttpPool(SETTINGS, sweeper);
    await exchange(pool, address("a"),
      request({ method: "POST", head: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
      body: Buffer.from("abc") }));
    expect(pod.seen[0]?.body.toString()).toBe("abc");
    pool.close();
  });
});
