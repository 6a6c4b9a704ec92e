// Passive health of one member: how its failures add up, and for how long it is left alone. A failure soon after the return
// ejects again at once, and for twice as long, until a request succeeds; that ends the growth. Whether a member may be spared
// at all is the balancer's to say.

import type { EjectionSettings } from "../service.ts";

export class Ejection {
  /** When the last failures were, as a ring: index `#count % settings.failures` is the oldest. */
  readonly #failedAtMs: number[] = [];
  #count = 0;
  #inRow = 0;
  #untilMs = -Infinity;

  /** When it is over, or was; -Infinity: there was none. Monotonic, ms. */
  get untilMs(): number {
    return this.#untilMs;
  }

  isOut(nowMs: number): boolean {
    return nowMs < this.#untilMs;
  }

  /** A member that is not ejected has failed. @returns whether that is enough to eject it; then nothing has happened yet */
  failed(nowMs: number, { failures, windowMs }: EjectionSettings): boolean {
    this.#failedAtMs[this.#count % failures] = nowMs;
    this.#count += 1;
    if (nowMs < this.#untilMs + windowMs) return true;
    if (this.#count < failures) return false;
    return nowMs - (this.#failedAtMs[this.#count % failures] as number) < windowMs;
  }

  eject(nowMs: number, { timeMs, longestMs }: EjectionSettings): void {
    this.#untilMs = nowMs + Math.min(timeMs * 2 ** this.#inRow, longestMs);
    this.#inRow += 1;
    // The failures so far need not be forgotten: when they could count again, they are more than a window old.
  }

  /** @param now asked only when there is something to reset: this is on the way of every request */
  succeeded(now: () => number): void {
    // What was under way when it was ejected tells nothing about its return.
    if (this.#inRow > 0 && !this.isOut(now())) this.#inRow = 0;
  }
}
