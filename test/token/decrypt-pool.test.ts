import { afterEach, describe, expect, test } from "bun:test";
import { constants, publicEncrypt } from "node:crypto";
import { DecryptPool, type DecryptPoolOptions, WAITING_LIMIT } from "../../src/token/decrypt-pool.ts";
import { sampleKeys } from "./sample-keys.ts";

const keys = sampleKeys(1024);
const other = sampleKeys(1024, "b");

const pools: DecryptPool[] = [];
afterEach(() => {
  for (const pool of pools.splice(0)) pool.close();
});
function make(options: DecryptPoolOptions = {}): DecryptPool {
  const pool = new DecryptPool(options);
  pools.push(pool);
  return pool;
}

function hosts(count: number): string[] {
  return Array.from({ length: count }, (_, at) => `10.0.${at >> 8}.${at & 255}`);
}
function encrypt(host: string, set = keys): Buffer {
  return publicEncrypt({ key: set.payloadPublic, padding: constants.RSA_PKCS1_PADDING }, Buffer.from(host));
}

/** Threads that run `script` instead of the worker's file; `ready` resolves when `count` of them have sent something. */
function threadsOf(script: string, count: number) {
  const ready = Promise.withResolvers<void>();
  let heard = 0;
  const state = { started: 0, ready: ready.promise, start: () => {
    state.started += 1;
    const worker = new Worker(URL.createObjectURL(new Blob([script], { type: "application/javascript" })));
    worker.addEventListener("message", () => ++heard === count && ready.resolve());
    return worker;
  } };
  return state;
}

describe("DecryptPool", () => {
  test("opens one hash without any thread", async () => {
    const pool = make();
    expect(await pool.open(keys.payloadPrivate, encrypt("pod"))).toBe("pod");
    expect(pool.threads).toBe(0);
  });

  test.each([0, 1, 2])("gives every one of many its own answer, with %d threads", async (threads) => {
    const pool = make({ threads });
    const wanted = hosts(300);
    const opened = wanted.map((host) => pool.open(keys.payloadPrivate, encrypt(host)));
    expect(pool.threads).toBe(threads);
    expect(await Promise.all(opened)).toEqual(wanted);
    expect(pool.waiting).toBe(0);
  });

  test("opens each hash with its own key, and what does not open to nothing", async () => {
    const pool = make({ threads: 2 });
    const jobs = hosts(60).map((host, at) => {
      const [encryptedFor, key] = at % 3 === 0 ? [other, other] : at % 3 === 1 ? [keys, keys] : [other, keys];
      return pool.open(key.payloadPrivate, encrypt(host, encryptedFor));
    });
    expect(await Promise.all(jobs)).toEqual(hosts(60).map((host, at) => (at % 3 === 2 ? null : host)));
  });

  test("leaves the event loop its turn between two decryptions", async () => {
    const pool = make({ threads: 0 });
    let turns = 0;
    let counting: NodeJS.Immediate;
    const count = () => {
      turns += 1;
      counting = setImmediate(count);
    };
    count();
    await Promise.all(hosts(20).map((host) => pool.open(keys.payloadPrivate, encrypt(host))));
    clearImmediate(counting!);
    expect(turns).toBeGreaterThanOrEqual(20);
  });

  test("refuses what would wait for too long, and serves the rest", async () => {
    const pool = make({ threads: 0 });
    const ciphertext = Buffer.alloc(1); // Fails at once: the queue is what is tested.
    const jobs = Array.from({ length: WAITING_LIMIT + 5 }, () => pool.open(keys.payloadPrivate, ciphertext));
    const results = await Promise.allSettled(jobs);
    expect(results.slice(0, WAITING_LIMIT).every(({ status }) => status === "fulfilled")).toBe(true);
    expect(results.slice(WAITING_LIMIT).map((result) => result.status === "rejected" && result.reason.status)).toEqual([503, 503, 503, 503, 503]);
  });

  test("opens everything itself when no thread can be started, and tries no other one for a while", async () => {
    const threads = threadsOf("throw new Error('no')", 2);
    const pool = make({ threads: 2, startThread: threads.start });
    while (pool.threads > 0 || threads.started === 0) {
      expect(await Promise.all(hosts(40).map((host) => pool.open(keys.payloadPrivate, encrypt(host))))).toEqual(hosts(40));
    }
    await Promise.all(hosts(40).map((host) => pool.open(keys.payloadPrivate, encrypt(host))));
    expect([threads.started, pool.threads]).toEqual([2, 0]);
  });

  test.each([
    ["throws at its first batch", "postMessage([]); self.onmessage = () => { throw new Error('no'); }"],
    ["ends without a word", "postMessage([]); self.onmessage = () => process.exit(0)"],
  ])("opens itself what was given to a thread that %s", async (_, script) => {
    const threads = threadsOf(script, 2);
    const pool = make({ threads: 2, startThread: threads.start });
    await Promise.all(hosts(40).map((host) => pool.open(keys.payloadPrivate, encrypt(host))));
    await threads.ready;
    expect(await Promise.all(hosts(40).map((host) => pool.open(keys.payloadPrivate, encrypt(host))))).toEqual(hosts(40));
    expect([threads.started, pool.threads]).toEqual([2, 0]);
  });

  test("gives up after ten seconds on a thread that never answers, and ends it", async () => {
    let now = 0;
    const threads = threadsOf("postMessage([]); self.onmessage = () => {}", 1);
    const pool = make({ threads: 1, startThread: threads.start, now: () => now });
    const early = hosts(10).map((host) => pool.open(keys.payloadPrivate, encrypt(host)));
    await threads.ready;
    const jobs = hosts(30).map((host) => pool.open(keys.payloadPrivate, encrypt(host)));
    now = 10_001;
    const results = await Promise.allSettled(jobs);
    expect(results.map((result) => (result.status === "rejected" ? result.reason.status : "opened"))).toEqual(Array(30).fill(503));
    expect(pool.threads).toBe(0);
    await Promise.allSettled(early);
  });

  test("ends idle threads", async () => {
    let now = 0;
    const pool = make({ threads: 1, now: () => now });
    await Promise.all(hosts(30).map((host) => pool.open(keys.payloadPrivate, encrypt(host))));
    expect(pool.threads).toBe(1);
    const ended = Promise.withResolvers<void>();
    const watching = setInterval(() => {
      now += 10_000;
      if (pool.threads === 0) ended.resolve();
    }, 20);
    await ended.promise;
    clearInterval(watching);
    expect(await pool.open(keys.payloadPrivate, encrypt("pod"))).toBe("pod");
  });

  test("refuses what is under way when it is closed, and what comes later", async () => {
    const pool = make({ threads: 1 });
    const jobs = hosts(100).map((host) => pool.open(keys.payloadPrivate, encrypt(host)));
    pool.close();
    const late = pool.open(keys.payloadPrivate, encrypt("pod"));
    const results = await Promise.allSettled([...jobs, late]);
    expect(new Set(results.map((result) => (result.status === "rejected" ? result.reason.status : "opened")))).toEqual(new Set([503]));
  });
});
