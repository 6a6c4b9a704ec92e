import { afterEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { TtlCache } from "../../src/lib/ttl-cache.ts";

let now = 1_000_000;
const open: Array<TtlCache<unknown>> = [];
afterEach(() => {
  for (const cache of open.splice(0)) cache.close();
});

function make(limits: { entries?: number; bytes?: number } = {}): TtlCache<number> {
  now = 1_000_000;
  const cache = new TtlCache<number>({ entries: 100, bytes: 10_000, ...limits, now: () => now });
  open.push(cache);
  return cache;
}

describe("TtlCache", () => {
  test("returns a value until its time, and not at it", () => {
    const cache = make();
    cache.set("a", 1, now + 500, 10);
    now += 499;
    expect(cache.get("a")).toBe(1);
    now += 1;
    expect(cache.get("a")).toBeUndefined();
    expect([cache.size, cache.bytes]).toEqual([0, 0]);
  });

  test("stores nothing whose time has come, and forgets the older value all the same", () => {
    const cache = make();
    for (const expiresAt of [now, now - 1, NaN, -Infinity]) {
      cache.set("a", 1, now + 500, 10);
      cache.set("a", 2, expiresAt, 10);
      expect(cache.get("a")).toBeUndefined();
    }
  });

  test("keeps a value for ever when asked to", () => {
    const cache = make();
    cache.set("a", 1, Infinity, 10);
    now += 1e15;
    expect(cache.get("a")).toBe(1);
  });

  test("drops what was not used for longest when there are too many entries", () => {
    const cache = make({ entries: 3 });
    for (const key of ["a", "b", "c"]) cache.set(key, 1, now + 60_000, 10);
    now += 1000;
    cache.get("a");
    cache.set("d", 1, now + 60_000, 10);
    expect(["a", "b", "c", "d"].map((key) => cache.get(key))).toEqual([1, undefined, 1, 1]);
  });

  test("drops as many entries as a large one needs", () => {
    const cache = make({ bytes: 100 });
    for (const key of ["a", "b", "c", "d"]) cache.set(key, 1, now + 60_000, 25);
    cache.set("e", 1, now + 60_000, 60);
    expect(cache.bytes).toBeLessThanOrEqual(100);
    expect(["a", "b", "c", "d", "e"].map((key) => cache.get(key))).toEqual([undefined, undefined, undefined, 1, 1]);
  });

  test("refuses an entry that is larger than the whole cache, and drops nothing for it", () => {
    const cache = make({ bytes: 100 });
    cache.set("a", 1, now + 60_000, 50);
    cache.set("b", 1, now + 60_000, 101);
    expect([cache.get("a"), cache.get("b"), cache.bytes]).toEqual([1, undefined, 50]);
  });

  test("counts a replaced entry once", () => {
    const cache = make();
    cache.set("a", 1, now + 500, 10);
    cache.set("a", 2, now + 500, 30);
    expect([cache.get("a"), cache.size, cache.bytes]).toEqual([2, 1, 30]);
  });

  test("delete and clear give the bytes back", () => {
    const cache = make();
    cache.set("a", 1, now + 500, 10);
    cache.set("b", 1, now + 500, 20);
    expect([cache.delete("a"), cache.delete("a"), cache.bytes]).toEqual([true, false, 20]);
    cache.clear();
    expect([cache.size, cache.bytes, cache.get("b")]).toEqual([0, 0, undefined]);
  });

  test("stays within its bounds whatever is done with it", () => {
    const cache = make({ entries: 500, bytes: 20_000 });
    let seed = 1;
    const random = (below: number) => (seed = (seed * 48271) % 2147483647) % below;
    for (let step = 0; step < 20_000; step++) {
      const key = `k${random(2000)}`;
      if (random(3) === 0) cache.get(key);
      else if (random(10) === 0) cache.delete(key);
      else cache.set(key, step, now + random(5000), random(200));
      now += random(20);
      if (cache.size > 500 || cache.bytes > 20_000 || cache.bytes < 0) throw new Error(`out of bounds at step ${step}`);
    }
    for (let key = 0; key < 2000; key++) cache.delete(`k${key}`);
    expect([cache.size, cache.bytes]).toEqual([0, 0]);
  });

  test("lets the process end while it holds entries", async () => {
    const module = JSON.stringify(join(import.meta.dir, "../../src/lib/ttl-cache.ts"));
    const script = `import { TtlCache } from ${module}; new TtlCache({ entries: 9, bytes: 9 }).set("a", 1, Infinity, 1);`;
    const run = Bun.spawn([process.execPath, "-e", script], { stderr: "pipe" });
    const [code, errors] = await Promise.all([run.exited, new Response(run.stderr).text()]);
    expect([code, errors]).toEqual([0, ""]);
  });
});
