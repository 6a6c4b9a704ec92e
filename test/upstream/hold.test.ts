// Waiting for a pod that is not there yet: against real ports that begin to listen late or never, and against attempts that the
// test decides.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { Sweeper } from "../../src/lib/deadlines.ts";
import { RouteError } from "../../src/errors.ts";
import { NameError } from "../../src/upstream/dns.ts";
import { ClientGoneError, ConnectError, ConnectTimeoutError, type UpstreamResponse } from "../../src/upstream/exchange.ts";
import { type Hold, Holds, isNotThereYet } from "../../src/upstream/hold.ts";
import type { PooledAddress } from "../../src/upstream/connect.ts";
import { HttpPool } from "../../src/upstream/http-pool.ts";
import { eventually } from "../support/eventually.ts";

let sweeper: Sweeper;
let holds: Holds;
let aheadMs = 0;
beforeEach(() => {
  aheadMs = 0;
  sweeper = new Sweeper(() => performance.now() + aheadMs);
  holds = new Holds(sweeper, { firstPauseMs: 5, longestPauseMs: 20 });
});
afterEach(() => {
  holds.close();
  sweeper.close();
});

const refused = (): Error => new ConnectError("cannot connect", { cause: Object.assign(new Error("Failed to connect"), { code: "ECONNREFUSED" }) });

function hold<T>(attempt: () => Promise<T>, parts: Partial<Hold<T>> = {}): Promise<T> {
  return holds.hold<T>({ key: "pod", failure: refused(), attempt, deadlineMs: performance.now() + 5000, watcher: { slow: () => {} }, ...parts });
}

async function nameOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(() => "none", (error: Error) => error.name);
}

describe("a target that is not there yet", () => {
  test("is asked until it answers, once at a time, and all who wait go on with what it said", async () => {
    let [asked, running, most] = [0, 0, 0];
    const attempt = async (): Promise<number> => {
      asked += 1;
      most = Math.max(most, running += 1);
      await Bun.sleep(1);
      running -= 1;
      if (asked < 4) throw refused();
      return asked;
    };
    const all = Array.from({ length: 200 }, () => hold(attempt));
    expect([holds.size, holds.has("pod"), holds.has("other")]).toEqual([1, true, false]);
    expect(new Set(await Promise.all(all))).toEqual(new Set([4]));
    expect([asked, most, holds.size, holds.has("pod"), sweeper.size]).toEqual([4, 1, 0, false, 0]);
  });

  test("is asked at growing distances", async () => {
    const times: number[] = [];
    const holding = hold(async () => {
      times.push(performance.now());
      if (times.length < 7) throw refused();
    });
    await holding;
    const pauses = times.slice(1).map((at, index) => at - (times[index] as number));
    for (const [index, owedMs] of [10, 20, 20, 20, 20].entries()) expect(pauses[index]).toBeGreaterThan(owedMs - 2);
  });

  test("is asked at once for somebody who has not asked yet", async () => {
    let asked = 0;
    const holding = hold(async () => { asked += 1; return "there"; }, { failure: null });
    expect(asked).toBe(1);
    expect(await holding).toBe("there");
  });

  test("is given up at each one's own deadline, with what the last attempt came to", async () => {
    let asked = 0;
    const attempt = async (): Promise<void> => { asked += 1; throw new ConnectError(`attempt ${asked}`, { cause: refused().cause }); };
    const early = hold(attempt, { deadlineMs: performance.now() + 60 });
    const late = hold(attempt);
    const { message } = await early.catch((error: Error) => error) as Error;
    expect(message).toMatch(/^attempt \d+$/);
    expect(holds.size).toBe(1);
    aheadMs = 10_000;
    await expect(late).rejects.toBeInstanceOf(ConnectError);
    expect([holds.size, sweeper.size]).toEqual([0, 0]);
    const before = asked;
    await Bun.sleep(50);
    expect(asked).toBe(before);
  });

  test("that says nothing at all is a time-out for those who have not asked themselves", async () => {
    const silent = Promise.withResolvers<void>();
    const holding = hold(() => silent.promise, { failure: null });
    aheadMs = 10_000;
    await expect(holding).rejects.toBeInstanceOf(ConnectTimeoutError);
    silent.resolve();
    expect(holds.size).toBe(0);
  });

  test("is not waited for by those whose time is over", async () => {
    const own = refused();
    await expect(hold(async () => {}, { failure: own, deadlineMs: performance.now() - 1 })).rejects.toBe(own);
    expect(holds.size).toBe(0);
  });

  test("is asked on while one of those who wait is left, and not any longer", async () => {
    let asked = 0;
    const leave: Array<() => void> = [];
    const attempt = async (): Promise<void> => { asked += 1; throw refused(); };
    const all = [1, 2].map(() => nameOf(hold(attempt, { watcher: { slow: (held) => leave.push(() => held.abort()) } })));
    leave[0]?.();
    expect(await all[0]).toBe("ClientGoneError");
    const before = asked;
    await eventually("further attempts", () => asked, (count) => count > before + 2);
    leave[1]?.();
    expect(await all[1]).toBe("ClientGoneError");
    const after = asked;
    expect([holds.size, sweeper.size]).toEqual([0, 0]);
    await Bun.sleep(50);
    expect(asked).toBe(after);
  });

  test("may be left at once", async () => {
    await expect(hold(async () => {}, { watcher: { slow: (held) => held.abort() } })).rejects.toBeInstanceOf(ClientGoneError);
    expect([holds.size, sweeper.size]).toEqual([0, 0]);
  });

  test("is not waited for when so many others are: the failure is told at once", async () => {
    const few = new Holds(sweeper, { loops: 2 });
    const own = refused();
    const asking = (key: string, failure: Error | null = own): Promise<string> =>
      few.hold({ key, failure, attempt: async () => "asked once", deadlineMs: performance.now() + 5000, watcher: { slow: () => {} } });
    const waiting = [asking("a"), asking("b"), asking("b")];
    expect(few.size).toBe(2);
    await expect(asking("c")).rejects.toBe(own);
    expect(await asking("c", null)).toBe("asked once");
    expect(await Promise.all(waiting)).toEqual(["asked once", "asked once", "asked once"]);
    few.close();
  });

  test("is not waited for any more when holding ends", async () => {
    const holding = nameOf(hold(async () => { throw refused(); }));
    holds.close();
    expect(await holding).toBe("ConnectError");
    expect([holds.size, sweeper.size]).toEqual([0, 0]);
  });
});

describe("a failure", () => {
  const caused = (code: string): Error => new ConnectError("cannot connect", { cause: Object.assign(new Error("x"), { code }) });

  test.each<[string, boolean, unknown]>([
    ["a refused connection", true, caused("ECONNREFUSED")],
    ["a name that is not known to the system", true, caused("ENOTFOUND")],
    ["a name that is not known to the name server", true, new NameError("not-found", "pod.test")],
    ["a name that is not known, as the client would hear it", true, new RouteError("bad_gateway", "x", { cause: new NameError("not-found", "pod.test") })],
    ["a name server that does not answer", false, new NameError("timeout", "pod.test")],
    ["a connection that takes too long", false, new ConnectTimeoutError("x")],
    ["a host that cannot be reached", false, caused("EHOSTUNREACH")],
    ["a reset", false, caused("ECONNRESET")],
    ["a certificate of somebody unknown", false, caused("UNABLE_TO_VERIFY_LEAF_SIGNATURE")],
    ["a certificate for another name", false, caused("ERR_TLS_CERT_ALTNAME_INVALID")],
    ["something that is no error", false, "ECONNREFUSED"],
  ])("%s is waited out: %p", async (_what, isWaitedOut, failure) => {
    expect(isNotThereYet(failure)).toBe(isWaitedOut);
    if (!(failure instanceof Error)) return;
    // As the first failure, and as one of an attempt.
    const first = hold(async () => "there", { failure });
    const later = hold(async () => { throw failure; }, { key: "other" });
    expect(holds.has("other")).toBe(true);
    if (isWaitedOut) expect(await first).toBe("there");
    else {
      await expect(first).rejects.toBe(failure);
      await expect(later).rejects.toBe(failure);
      return;
    }
    holds.close();
    await later.catch(() => {});
  });
});

describe("a port that begins to listen late", () => {
  let listener: Bun.TCPSocketListener<undefined> | null = null;
  let connections = 0;
  let pool: HttpPool;
  beforeEach(() => {
    connections = 0;
    pool = new HttpPool({ connectTimeoutMs: 2000, writeTimeoutMs: 2000, idleConnectionsPerTarget: 300, idleConnections: 300, idleTimeoutMs: 60_000,
      responseBufferBytes: 1000, responseBufferTotalBytes: 100_000 }, sweeper);
  });
  afterEach(() => {
    pool.close();
    listener?.stop(true);
    listener = null;
  });

  function listen(port: number): number {
    listener = Bun.listen<undefined>({ hostname: "127.0.1.9", port, socket: {
      open: () => { connections += 1; },
      data: (socket) => { socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); },
      error: () => {},
    } });
    return listener.port;
  }

  function exchange(to: PooledAddress): Promise<UpstreamResponse> {
    return new Promise((resolve, reject) => pool.exchange(to, {
      method: "GET", head: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", body: null, chunked: false, bodyLimitBytes: 0, mayCollect: true, readTimeoutMs: 2000,
      watcher: { slow: () => {}, bodyBytes: () => {} },
    }, { answered: resolve, failed: reject }));
  }

  test("answers all 200 requests that came before it, after one loop that dialled once at a time; the connection of the loop is used", async () => {
    const port = listen(0);
    listener?.stop(true);
    const to = { address: "127.0.1.9", port, key: `127.0.1.9:${port}` };
    let [probes, failed] = [0, 0];
    const asking = async (): Promise<UpstreamResponse> => exchange(to).catch(async (failure: Error) => {
      failed += 1;
      await hold(() => { probes += 1; return pool.warm(to); }, { key: to.key, failure });
      return exchange(to);
    });
    const all = Array.from({ length: 200 }, asking);
    await eventually("all held, and some attempts", () => [failed, probes], ([held, dialled]) => held === 200 && (dialled as number) > 3);
    expect(holds.size).toBe(1);
    listen(port);
    for (const { body } of await Promise.all(all)) expect(body).toEqual(Buffer.from("ok"));
    expect(holds.size).toBe(0);
    // One of them took the connection of the loop.
    expect(connections).toBeLessThanOrEqual(200);
    expect(pool.size.open).toBe(connections);
  });

  test("is warmed: the next request takes the connection that is there; nobody is needed for it", async () => {
    const port = listen(0);
    const to = { address: "127.0.1.9", port, key: "warm" };
    await pool.warm(to);
    await pool.warm(to);
    expect([connections, pool.size]).toEqual([1, { open: 1, idle: 1 }]);
    await exchange(to);
    await eventually("no further connection", () => connections, (count) => count === 1);
    await expect(pool.warm({ ...to, port: 1, key: "refused" })).rejects.toBeInstanceOf(ConnectError);
    await expect(pool.warm({ ...to, key: "left" }, { slow: (warming) => warming.abort() })).rejects.toBeInstanceOf(ClientGoneError);
  });
});
