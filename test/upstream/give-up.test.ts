// Requests that are taken back, and requests that nobody answers: what they cost the upstream, and what they cost the others.
// With a real HTTP/2 server before the pool where it matters when exactly a reset is heard of.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { Sweeper } from "../../src/lib/deadlines.ts";
import { ClientGoneError, ConnectTimeoutError, type ExchangeWatcher, type UpstreamRequest, type UpstreamResponse } from "../../src/upstream/exchange.ts";
import type { PooledAddress } from "../../src/upstream/connect.ts";
import { HttpPool, type HttpPoolSettings } from "../../src/upstream/http-pool.ts";
import { CertificateAuthority, HAS_OPENSSL } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { ok } from "../support/http.ts";
import { frame, FRAME, H2Client, headers } from "../support/https-h2.ts";
import { Pod } from "../support/pod.ts";

const SETTINGS: HttpPoolSettings = {
  connectTimeoutMs: 2000, writeTimeoutMs: 2000, idleConnectionsPerTarget: 64, idleConnections: 100, idleTimeoutMs: 60_000,
  responseBufferBytes: 1000, responseBufferTotalBytes: 100_000,
};

let pod: Pod;
let sweeper: Sweeper;
let pool: HttpPool;
let aheadMs = 0;
beforeEach(() => {
  aheadMs = 0;
  pod = new Pod("127.0.1.8", ["a", "b"]);
  sweeper = new Sweeper(() => performance.now() + aheadMs);
  pool = new HttpPool(SETTINGS, sweeper);
});
afterEach(() => {
  pool.close();
  sweeper.close();
  pod.stop();
});

const address = (name: string): PooledAddress => ({ address: pod.address, port: pod.port(name), key: name });

function request(slow: ExchangeWatcher["slow"] = () => {}, method = "GET"): UpstreamRequest {
  return { method, head: `${method} / HTTP/1.1\r\nHost: a\r\n\r\n`, body: null, chunked: false, bodyLimitBytes: 1000,
    mayCollect: true, readTimeoutMs: 60_000, watcher: { slow, bodyBytes: () => {} } };
}

function exchange(to: PooledAddress, asked: UpstreamRequest = request()): Promise<UpstreamResponse> {
  return new Promise((resolve, reject) => pool.exchange(to, asked, { answered: resolve, failed: reject }));
}

/** An exchange that can be given up from the beginning. */
function leaving(to: PooledAddress): { readonly ended: Promise<string>; leave(): void; readonly calls: number } {
  let [leave, calls] = [(): void => {}, 0];
  const ended = exchange(to, request((begun) => { calls += 1; leave = () => begun.abort(); })).then(() => "answered", (error: Error) => error.name);
  return { ended, leave: () => leave(), get calls() { return calls; } };
}

/** Any number of turns until an attempt is begun and has come to something. */
const opened = async (count: number): Promise<void> => pod.until(() => pod.accepted >= count && pool.size.open >= count);

describe("connections that are not to be kept", () => {
  test("carry one request each, however many wait", async () => {
    pool = new HttpPool({ ...SETTINGS, idleConnectionsPerTarget: 0 }, sweeper);
    // More than may be connecting at a time: some wait while others are done.
    await Promise.all(Array.from({ length: 1000 }, async () => exchange(address("a"))));
    expect([pod.accepted, pool.size]).toEqual([1000, { open: 0, idle: 0 }]);
  });
});

describe("a request that is given up", () => {
  test("in the turn in which it came makes no connection", async () => {
    const all = Array.from({ length: 1000 }, () => leaving(address("a")));
    for (const one of all) one.leave();
    expect(new Set(await Promise.all(all.map(({ ended }) => ended)))).toEqual(new Set(["ClientGoneError"]));
    // What would have been dialled for them, would have been before this one.
    await exchange(address("b"));
    expect(pod.accepted).toBe(1);
    expect(pool.size.open).toBe(1);
  });

  test("while its connection is made leaves it to the next one", async () => {
    const one = leaving(address("a"));
    await new Promise((resolve) => { setImmediate(resolve); });
    one.leave();
    expect(await one.ended).toBe("ClientGoneError");
    await opened(1);
    expect(pool.size).toEqual({ open: 1, idle: 1 });
    await exchange(address("a"));
    expect([pod.accepted, pod.seen.length]).toEqual([1, 1]);
  });

  test("while its connection is made leaves no more of them than are kept idle", async () => {
    pool = new HttpPool({ ...SETTINGS, idleConnectionsPerTarget: 3 }, sweeper);
    const all = Array.from({ length: 10 }, () => leaving(address("a")));
    await new Promise((resolve) => { setImmediate(resolve); });
    for (const one of all) one.leave();
    await pod.until(() => pod.accepted === 10 && pod.open.size === 3);
    expect([pool.size, pod.seen.length]).toEqual([{ open: 3, idle: 3 }, 0]);
  });

  test("at the upstream ends there at once", async () => {
    pod.answer(() => {});
    const one = leaving(address("a"));
    await pod.until(() => pod.seen.length === 1);
    one.leave();
    expect(pool.size).toEqual({ open: 0, idle: 0 });
    expect(await one.ended).toBe("ClientGoneError");
    // Not by the second call, which comes after 100 ms.
    expect(one.calls).toBe(1);
    await pod.until(() => pod.open.size === 0);
  });

  test("after its answer does not end the next one on the same connection", async () => {
    const first = leaving(address("a"));
    expect(await first.ended).toBe("answered");
    pod.answer(() => {});
    const second = leaving(address("a"));
    await pod.until(() => pod.seen.length === 2);
    first.leave();
    expect(pool.size).toEqual({ open: 1, idle: 0 });
    pool.close();
    expect(await second.ended).toBe("UpstreamClosedError");
    expect(pod.accepted).toBe(1);
  });

  test("leaves a connection that the upstream may have closed by then: the next request that may be sent twice does not see it", async () => {
    const one = leaving(address("a"));
    await new Promise((resolve) => { setImmediate(resolve); });
    one.leave();
    await opened(1);
    let closes = true;
    pod.answer((_seen, connection) => { if (closes) { closes = false; connection.close(); } else connection.write(ok("second")); });
    expect((await exchange(address("a"))).body).toEqual(Buffer.from("second"));
    expect(pod.accepted).toBe(2);
  });

  test("while the pool is closed hears of that", async () => {
    const one = leaving(address("a"));
    pool.close();
    expect(await one.ended).toBe("UpstreamClosedError");
    one.leave();
    expect(await leaving(address("a")).ended).toBe("UpstreamClosedError");
    await expect(pool.warm(address("a"))).rejects.toThrow("closed by shutdown");
  });
});

describe.skipIf(!HAS_OPENSSL)("requests that are reset over HTTP/2", () => {
  let authority: CertificateAuthority;
  let server: Bun.Server<undefined>;
  let client: H2Client;
  let handled = 0;
  let givenUp = 0;

  beforeEach(async () => {
    [handled, givenUp] = [0, 0];
    authority = new CertificateAuthority();
    const options = {
      hostname: "127.0.0.1", port: 0, tls: authority.sign({ names: ["DNS:desk.test"] }), http2: true,
      fetch: (raw: Request): Promise<Response> => new Promise((resolve) => {
        handled += 1;
        pool.exchange(address("a"), request((begun) => {
          // As the proxy does (visit.ts): the reset may have come before anybody had to wait.
          if (raw.signal.aborted) queueMicrotask(() => begun.abort());
          else raw.signal.addEventListener("abort", () => begun.abort(), { once: true });
        }),
          {
            answered: () => resolve(new Response("ok")),
            failed: (error) => { if (error instanceof ClientGoneError) givenUp += 1; resolve(new Response("failed", { status: 502 })); },
          });
      }),
    };
    server = Bun.serve<undefined>(options);
    client = await H2Client.open({ port: server.port as number, ca: authority.pem } as Parameters<typeof H2Client.open>[0], "desk.test");
    pod.answer((seen, connection) => { if (seen.port === "b") connection.write(ok("b")); });
  });
  afterEach(async () => {
    client.close();
    await server.stop(true);
    authority.remove();
  });

  /** Each with its reset behind it. */
  function pairs(count: number): Buffer {
    const fields = client.fields("GET", "/");
    return Buffer.concat(Array.from({ length: count }, (_, index) => Buffer.concat([headers(2 * index + 1, fields, true), frame(FRAME.reset, 0, 2 * index + 1, Buffer.from([0, 0, 0, 8]))])));
  }

  test("in the same breath make no connection at all", async () => {
    // One TLS record, which is one read.
    const bytes = pairs(100);
    expect(bytes.length).toBeLessThan(16_000);
    client.write(bytes);
    await eventually("all of them given up", () => [handled, givenUp], ([begun, ended]) => begun === 100 && ended === 100);
    await exchange(address("b"));
    expect([pod.accepted, pool.size.open]).toEqual([1, 1]);
  });

  test("a thousand times at once make no more connections than streams are served at a time, and hardly any at all", async () => {
    client.write(pairs(1000));
    await eventually("all of them given up", () => [handled, givenUp], ([begun, ended]) => begun === 1000 && ended === 1000);
    expect(pod.accepted).toBeLessThanOrEqual(16);
    expect(pool.size.open).toBe(pool.size.idle);
    expect(client.isClosed).toBe(false);
  });

  test("a hundred at a time, ten times, have no more connections than a hundred at a time", async () => {
    let peak = 0;
    for (let round = 1; round <= 10; round += 1) {
      const streams = Array.from({ length: 100 }, () => client.get("/"));
      await eventually("all of them", () => handled, (count) => count === round * 100);
      peak = Math.max(peak, pod.open.size);
      for (const stream of streams) client.reset(stream);
      await eventually("their end", () => givenUp, (count) => count === round * 100);
      peak = Math.max(peak, pod.open.size);
    }
    expect(peak).toBeLessThanOrEqual(110);
    await pod.until(() => pod.open.size === pool.size.idle);
  });
});

describe("a target that hangs", () => {
  const sockets = new Set<Socket>();
  let silent: Server;
  beforeEach(async () => {
    silent = createServer((socket) => { sockets.add(socket.on("error", () => {}).resume()); });
    await new Promise<void>((resolve) => { silent.listen(0, "127.0.0.1", 1024, resolve); });
  });
  afterEach(() => {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
    silent.close();
  });

  test("in its TLS handshakes is connected to 256 times at a time; all are told in time, and other targets are not kept waiting", async () => {
    const hanging: PooledAddress = { address: "127.0.0.1", port: (silent.address() as AddressInfo).port, key: "hanging", tls: { ca: null, serverName: "pod.test", skipsVerify: true } };
    const all = Array.from({ length: 1000 }, () => exchange(hanging).then(() => null, (error: unknown) => error));
    await eventually("the connections", () => sockets.size, (count) => count === 256);
    await exchange(address("b"));
    expect(sockets.size).toBe(256);
    aheadMs = 2001;
    expect((await Promise.all(all)).every((error) => error instanceof ConnectTimeoutError)).toBe(true);
    await eventually("their end", () => [...sockets].every((socket) => socket.destroyed), (gone) => gone);
    expect(pool.size.open).toBe(pool.size.idle);
  });

  test("in its answers, 2,000 of them, keeps nobody else waiting, nor a further request of its own", async () => {
    let hangs = true;
    pod.answer((seen, connection) => { if (seen.port !== "a" || !hangs) connection.write(ok("quick")); });
    const polls = Array.from({ length: 2000 }, () => leaving(address("a")));
    await pod.until(() => pod.seen.length === 2000);
    for (const name of ["b", "a"]) {
      hangs = false;
      const startedMs = performance.now();
      expect((await exchange(address(name))).body).toEqual(Buffer.from("quick"));
      expect(performance.now() - startedMs).toBeLessThan(500);
    }
    expect(pool.size.open).toBe(2002);
    for (const poll of polls) poll.leave();
    expect(new Set(await Promise.all(polls.map(({ ended }) => ended)))).toEqual(new Set(["ClientGoneError"]));
    expect(pool.size).toEqual({ open: 2, idle: 2 });
  }, 20_000);
});
