// Members, settings and a random source that repeats itself, for the tests of this folder.

import { Balancer, type BalancerOptions, type Member } from "../../src/balance/balancer.ts";
import type { EjectionSettings } from "../../src/service.ts";

export const NEVER: EjectionSettings = { failures: 0, windowMs: 10_000, timeMs: 10_000, longestMs: 60_000, statuses: [] };
export const AFTER_THREE: EjectionSettings = { ...NEVER, failures: 3 };

/** "a", "b", "c"... with these weights. */
export function members(...weights: number[]): Member[] {
  return weights.map((weight, index) => ({ key: String.fromCodePoint(97 + index), weight }));
}

export function named(count: number, weight = 1): Member[] {
  return Array.from({ length: count }, (_, index) => ({ key: `10.0.${index >> 8}.${index & 255}:8080`, weight }));
}

export function balancer(list: readonly Member[], options: Partial<BalancerOptions> = {}): Balancer<Member> {
  return new Balancer(list, { policy: { kind: "round-robin" }, ejection: NEVER, ...options });
}

/** Keys of the next `count` choices. */
export function picks(of: Balancer<Member>, count: number, key: string | null = null): string[] {
  return Array.from({ length: count }, () => of.choose(key)?.key ?? "none");
}

export function tally(keys: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const key of keys) counts[key] = (counts[key] ?? 0) + 1;
  return counts;
}

/** The same numbers for the same seed, from 0 to below 1 (Mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Stands in for the sweeper: the test says what time it is. */
export class ManualSweeper {
  readonly items = new Set<{ sweep(nowMs: number): void }>();
  nowMs = 1000;
  readonly now = (): number => this.nowMs;

  add(item: { sweep(nowMs: number): void }): void {
    this.items.add(item);
  }

  delete(item: { sweep(nowMs: number): void }): void {
    this.items.delete(item);
  }

  /** Lets time pass and sweeps once at the end of it. */
  pass(ms: number): void {
    this.nowMs += ms;
    for (const item of this.items) item.sweep(this.nowMs);
  }
}

/** Lets everything that is ready to run do so. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}
