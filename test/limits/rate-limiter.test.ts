import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { RateLimiter, type RateLimiterOptions } from "../../src/limits/rate-limiter.ts";

/** A limiter whose clock the test turns. */
function limiter(options: Partial<RateLimiterOptions> = {}): { readonly limiter: RateLimiter; readonly clock: { ms: number } } {
  const clock = { ms: 5000 };
  return { limiter: new RateLimiter({ perSecond: 10, burst: 20, seed: 1, now: () => clock.ms, ...options }), clock };
}

/** How many of so many requests at once go on. */
function passed(one: RateLimiter, key: string, count: number): number {
  return Array.from({ length: count }, () => one.take(key)).filter((wait) => wait === 0).length;
}

describe("rate limiter", () => {
  test("lets a burst through at once and no more", () => {
    expect(passed(limiter().limiter, "a", 100)).toBe(20);
  });

  test("lets the configured rate through in the long run", () => {
    const { limiter: one, clock } = limiter();
    let total = 0;
    for (let ms = 0; ms < 60_000; ms += 10, clock.ms += 10) total += passed(one, "a", 1);
    expect(total).toBe(20 + 600 - 1);
  });

  test("is full again after a silence, and not fuller", () => {
    const { limiter: one, clock } = limiter();
    passed(one, "a", 100);
    clock.ms += 3_600_000;
    expect(passed(one, "a", 100)).toBe(20);
  });

  test("says in whole seconds when the next request goes on", () => {
    const { limiter: one, clock } = limiter({ perSecond: 0.2, burst: 2 });
    expect([one.take("a"), one.take("a"), one.take("a")]).toEqual([0, 0, 5]);
    clock.ms += 4001;
    expect(one.take("a")).toBe(1);
    clock.ms += 999;
    expect([one.take("a"), one.take("a")]).toEqual([0, 5]);
  });

  test("says 1 second at least", () => {
    const { limiter: one } = limiter({ perSecond: 1000, burst: 1 });
    expect([one.take("a"), one.take("a")]).toEqual([0, 1]);
  });

  test("does not count what it refuses: who hammers on gets as much as who waits", () => {
    const { limiter: one, clock } = limiter();
    passed(one, "a", 10_000);
    clock.ms += 1000;
    expect(passed(one, "a", 10_000)).toBe(10);
  });

  test("clients don't take from each other", () => {
    const { limiter: one } = limiter();
    passed(one, "a", 100);
    expect(passed(one, "b", 100)).toBe(20);
  });

  test("a flood of a million addresses frees nobody who is being limited", () => {
    const { limiter: one, clock } = limiter({ keys: 1000 });
    expect(passed(one, "victim", 100)).toBe(20);
    for (let address = 0; address < 1_000_000; address += 1) one.take(`flood ${address}`);
    expect(one.take("victim")).not.toBe(0);
    clock.ms += 100;
    // By the rate, one of them would go on; by a table that forgets, all twenty.
    expect(passed(one, "victim", 100)).toBeLessThanOrEqual(1);
  });

  test("at the rate of a flood that a machine can take, hardly a stranger is shut out", () => {
    const { limiter: one, clock } = limiter();
    for (let request = 0; request < 300_000; request += 1) {
      clock.ms = 5000 + request / 30;
      one.take(`flood ${request % 50_000}`);
    }
    const strangers = Array.from({ length: 10_000 }, (_, index) => one.take(`stranger ${index}`));
    expect(strangers.filter((wait) => wait !== 0).length).toBeLessThan(5);
  });

  test("refuses a limit that lets nothing through", () => {
    for (const wrong of [{ perSecond: 0 }, { perSecond: -1 }, { perSecond: Number.NaN }, { burst: 0 }, { burst: 0.5 }]) {
      expect(() => limiter(wrong)).toThrow(RangeError);
    }
  });

  test("does what a bucket for each key does, whatever comes in what order", () => {
    const step = fc.record({ key: fc.constantFrom("a", "b", "c", "2001:db8:0:0"), afterMs: fc.constantFrom(0, 0, 0, 1, 50, 100, 1000, 60_000) });
    fc.assert(fc.property(fc.array(step, { maxLength: 200 }), fc.constantFrom(1, 4, 100), fc.integer({ min: 1, max: 10 }), (steps, perSecond, burst) => {
      const { limiter: one, clock } = limiter({ perSecond, burst });
      const buckets = new Map<string, { tokens: number; ms: number }>();
      for (const { key, afterMs } of steps) {
        clock.ms += afterMs;
        const bucket = buckets.get(key) ?? { tokens: burst, ms: clock.ms };
        const tokens = Math.min(burst, bucket.tokens + (clock.ms - bucket.ms) * perSecond / 1000);
        const goesOn = tokens >= 1 - 1e-9;
        expect(one.take(key) === 0).toBe(goesOn);
        buckets.set(key, { tokens: goesOn ? tokens - 1 : tokens, ms: clock.ms });
      }
    }));
  });
});
