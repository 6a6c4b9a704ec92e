import { describe, expect, test } from "bun:test";
import { MinimumRate, stallAt, stallMsAt, WINDOW_MS } from "../../src/limits/minimum-rate.ts";

describe("minimum rate", () => {
  test("lets a client be slow until a window is over", () => {
    const rate = new MinimumRate(1000);
    expect(rate.moved(1, WINDOW_MS - 1)).toBe(true);
    expect(rate.moved(1, 1)).toBe(false);
  });

  test("asks for exactly what was configured", () => {
    expect(new MinimumRate(1000).moved(9_999, WINDOW_MS)).toBe(false);
    expect(new MinimumRate(1000).moved(10_000, WINDOW_MS)).toBe(true);
  });

  test("asks for more when a wait was longer than the window", () => {
    expect(new MinimumRate(1000).moved(29_999, 30_000)).toBe(false);
    expect(new MinimumRate(1000).moved(30_000, 30_000)).toBe(true);
  });

  test("a quick minute excuses no slow one after it", () => {
    const rate = new MinimumRate(1000);
    expect(rate.moved(10_000_000, WINDOW_MS)).toBe(true);
    expect(rate.moved(100, WINDOW_MS)).toBe(false);
  });

  test("time in which the client was not waited for is not counted", () => {
    const rate = new MinimumRate(1000);
    for (let reads = 0; reads < 10_000; reads += 1) expect(rate.moved(1, 0)).toBe(true);
  });

  test("0 lets everybody pass", () => {
    expect(new MinimumRate(0).moved(0, 1e9)).toBe(true);
  });
});

describe("a client that takes nothing", () => {
  test("is given up after five minutes", () => {
    expect(stallMsAt(0)).toBe(300_000);
  });

  test("is given up earlier where a rate is asked for, but not before its kernel can have been the reason", () => {
    expect(stallMsAt(1_048_576)).toBe(14_000);
    expect(stallMsAt(100 * 1024)).toBe(50_960);
  });

  test("never later than without", () => {
    expect(stallMsAt(1)).toBe(300_000);
  });
});

describe("a client that takes a little", () => {
  test("has to take what it reads at its rate, less what its kernel may have held at the start", () => {
    expect(stallAt(1_048_576)).toEqual({ ms: 14_000, bytes: 10 * 1_048_576 });
    expect(stallAt(100 * 1024)).toEqual({ ms: 50_960, bytes: 100 * 1024 * 10 });
  });

  test("may take any byte at a time where no rate is asked for, or one that its kernel can hide", () => {
    expect(stallAt(0)).toEqual({ ms: 300_000, bytes: 1 });
    expect(stallAt(1024)).toEqual({ ms: 300_000, bytes: 1 });
  });
});
