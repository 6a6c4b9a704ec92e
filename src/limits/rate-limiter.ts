// How many requests a second one client, or one token, may send: a token bucket for each, all of them in a table of fixed size.
//
// The table knows no keys. A bucket is one number, the time at which it is full again (the cell rate algorithm of ITU-T I.371),
// and a key's bucket stands at four places that its hash says; what counts is the emptiest claim, the earliest of the four times
// (a count-min sketch). So nothing is ever thrown out, and a flood of other addresses frees nobody who is being limited. What
// collisions can do is the other error, refusing somebody who sent little: all four places must have been used up by others.
// Using one up takes `perSecond` requests each second, so that it is the rate of the whole flood that counts, not its number of
// addresses: 30,000 requests a second at a limit of 10 use up at most 12,000 of 262,144 places, and shut out one stranger in 200,000.
//
// Invariant: no key ever gets more than `burst` at once, nor more than `perSecond` in the long run.

import { randomBytes } from "node:crypto";

const PLACES = 4;
const DEFAULT_KEYS = 65_536;

export type RateLimiterOptions = {
  /** In the long run; above 0, fractions are fine. */
  readonly perSecond: number;
  /** After a silence, at once; 1 or more. */
  readonly burst: number;
  /** Active at a time without getting into each other's way: 32 bytes each, 65,536 unless told. Twice as many still do little harm. */
  readonly keys?: number;
  /** Monotonic ms. */
  readonly now?: () => number;
  /** What hashes begin with; nobody can know two keys that collide. */
  readonly seed?: number;
};

export class RateLimiter {
  /** When the bucket of this place is full again, monotonic ms. */
  readonly #fullAtMs: Float64Array;
  readonly #mask: number;
  readonly #intervalMs: number;
  readonly #depthMs: number;
  readonly #now: () => number;
  readonly #seed: number;

  /** @throws RangeError for a rate or a burst that lets nothing through */
  constructor({ perSecond, burst, keys = DEFAULT_KEYS, now = () => performance.now(), seed = randomBytes(4).readUInt32LE() }: RateLimiterOptions) {
    if (!(perSecond > 0) || !(burst >= 1)) throw new RangeError(`a limit of ${perSecond} a second with a burst of ${burst} lets nothing through`);
    const places = 2 ** Math.ceil(Math.log2(Math.max(1, keys) * PLACES));
    this.#fullAtMs = new Float64Array(places).fill(-Infinity);
    this.#mask = places - 1;
    this.#intervalMs = 1000 / perSecond;
    this.#depthMs = burst * this.#intervalMs;
    this.#now = now;
    this.#seed = seed;
  }

  /** Counts one request. @returns 0: go on; else whole seconds to wait, 1 or more, for Retry-After: nothing was counted then */
  take(key: string): number {
    const nowMs = this.#now();
    const table = this.#fullAtMs;
    const mask = this.#mask;
    const first = Bun.hash.xxHash32(key, this.#seed);
    // Odd, so that the four differ.
    const step = Bun.hash.murmur32v3(key, this.#seed) | 1;
    let fullAtMs = Infinity;
    for (let place = 0, at = first; place < PLACES; place += 1, at += step) fullAtMs = Math.min(fullAtMs, table[at & mask] as number);
    const nextMs = Math.max(fullAtMs, nowMs) + this.#intervalMs;
    const waitMs = nextMs - this.#depthMs - nowMs;
    if (waitMs > TOLERANCE_MS) return Math.ceil(waitMs / 1000);
    for (let place = 0, at = first; place < PLACES; place += 1, at += step) if ((table[at & mask] as number) < nextMs) table[at & mask] = nextMs;
    return 0;
  }
}

/** Thirds of a second don't add up exactly. */
const TOLERANCE_MS = 1e-6;
