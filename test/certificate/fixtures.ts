// What the tests of certificates share: a clock that stands still until it is told, and a CA in memory.

import { LocalAuthority } from "../../src/certificate/authority.ts";
import type { Certificate } from "../../src/certificate.ts";
import { readCertificate } from "../../src/certificate/read.ts";
import type { Clock } from "../../src/certificate/clock.ts";

export const DAY_MS = 24 * 3_600_000;
export const START_MS = Date.parse("2030-01-01T00:00:00Z");

export class FakeClock implements Clock {
  /** The wall clock, which a test may set. */
  nowMs = START_MS;
  #elapsedMs = 0;
  readonly #timers = new Set<{ readonly atMs: number; readonly callback: () => void }>();

  now = (): number => this.nowMs;
  elapsed = (): number => this.#elapsedMs;

  after(ms: number, callback: () => void): () => void {
    const timer = { atMs: this.#elapsedMs + ms, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  get pending(): number {
    return this.#timers.size;
  }

  /** Runs what is due on the way; what that begins needs turns of the event loop of its own. */
  advance(ms: number): void {
    const endMs = this.#elapsedMs + ms;
    for (;;) {
      const [next] = [...this.#timers].filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#pass(next.atMs);
      next.callback();
    }
    this.#pass(endMs);
  }

  #pass(toMs: number): void {
    const ms = Math.max(toMs - this.#elapsedMs, 0);
    this.#elapsedMs += ms;
    this.nowMs += ms;
  }
}

/** Real certificates of 90 days, from `now` on. */
export async function newCertificate(names: readonly string[], now: () => number = () => START_MS): Promise<Certificate> {
  const authority = await LocalAuthority.open({ directory: null, now });
  const { certPem, keyPem } = await authority.issue(names);
  return readCertificate(certPem, keyPem);
}
