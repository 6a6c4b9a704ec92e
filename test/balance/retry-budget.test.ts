import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { RetryBudget } from "../../src/balance/retry-budget.ts";

function setup(percent: number): { budget: RetryBudget; clock: { ms: number }; requests: (count: number) => void; retries: (count: number) => number } {
  const clock = { ms: 123_456 };
  const budget = new RetryBudget(percent, () => clock.ms);
  return {
    budget, clock,
    requests: (count) => { for (let n = 0; n < count; n++) budget.request(); },
    retries: (count) => Array.from({ length: count }, () => budget.take()).filter(Boolean).length,
  };
}

describe("retry budget", () => {
  test("a quiet service has three retries", () => {
    expect(setup(20).retries(10)).toBe(3);
    const { requests, retries } = setup(20);
    requests(5);
    expect(retries(10)).toBe(3);
  });

  test("a busy one has its percentage of the requests", () => {
    const { requests, retries } = setup(20);
    requests(1000);
    expect(retries(1000)).toBe(200);
    requests(10);
    expect(retries(1000)).toBe(2);
  });

  test("part of a retry is none", () => {
    const { requests, retries } = setup(20);
    requests(24);
    expect(retries(100)).toBe(4);
    requests(1);
    expect(retries(100)).toBe(1);
  });

  test("0 percent is no retry at all", () => {
    const { requests, retries } = setup(0);
    requests(1000);
    expect(retries(100)).toBe(0);
  });

  test("requests and retries of more than ten seconds ago don't count", () => {
    const { clock, requests, retries } = setup(20);
    requests(1000);
    expect(retries(1000)).toBe(200);
    clock.ms += 9_000;
    expect(retries(10)).toBe(0);
    clock.ms += 1_000;
    expect(retries(10)).toBe(3);
    clock.ms += 1e9;
    requests(50);
    expect(retries(100)).toBe(10);
  });

  test("a time from before the last one counts as now", () => {
    const { budget, clock } = setup(20);
    for (let count = 0; count < 100; count++) budget.request(clock.ms + 5_000);
    expect(budget.take(clock.ms)).toBeTrue();
    const taken = Array.from({ length: 50 }, () => budget.take(clock.ms + 5_000)).filter(Boolean).length;
    expect(taken).toBe(19);
  });

  test("is what a list of times says, whatever comes when", () => {
    const step = fc.record({ kind: fc.constantFrom("request" as const, "request" as const, "take" as const), afterMs: fc.oneof(fc.constant(0), fc.nat({ max: 300 }), fc.nat({ max: 12_000 })), times: fc.nat({ max: 30 }) });
    fc.assert(fc.property(fc.integer({ min: 0, max: 100 }), fc.array(step, { maxLength: 100 }), (percent, steps) => {
      const { budget, clock } = setup(percent);
      const [requests, retries]: [number[], number[]] = [[], []];
      // Whole seconds, the current one and the nine before.
      const recent = (times: readonly number[]): number => times.filter((at) => Math.floor(clock.ms / 1000) - Math.floor(at / 1000) < 10).length;
      for (const { kind, afterMs, times } of steps) {
        clock.ms += afterMs;
        for (let count = 0; count < times; count++) {
          if (kind === "request") {
            requests.push(clock.ms);
            budget.request();
            continue;
          }
          const may = percent > 0 && recent(retries) + 1 <= Math.max(3, (recent(requests) * percent) / 100);
          if (may) retries.push(clock.ms);
          expect(budget.take()).toBe(may);
        }
      }
    }));
  });

  test("over a long outage, retries stay within the percentage", () => {
    const { budget, clock } = setup(20);
    let taken = 0;
    for (let second = 0; second < 600; second++) {
      for (let count = 0; count < 500; count++) {
        clock.ms += 2;
        budget.request();
        for (let server = 0; server < 3; server++) if (budget.take()) taken += 1;
      }
    }
    const share = taken / (600 * 500);
    expect(share).toBeLessThanOrEqual(0.2);
    expect(share).toBeGreaterThan(0.19);
  });
});
