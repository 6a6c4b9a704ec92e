// The way to a desktop: its addresses one after the other, usually one, which may have to be waited for. A pod that was just
// created is known to the control plane before it listens; its user's first request is held until it does, instead of failing.

import type { Gate } from "../balance/gate.ts";
import type { Target, Targets } from "../target.ts";
import { type Attempts, isUnsent, type Waiter } from "./attempts.ts";
import type { Holding } from "./holding.ts";
import { Place } from "./place.ts";

export class DesktopAttempts implements Attempts {
  readonly #place: Place | null;
  /** Addresses that could not be connected to, counted from the first. */
  #failed = 0;
  /** Those of them that refused the connection, and how the last one did; null: none. */
  #refusal: { readonly targets: Targets; readonly error: Error } | null = null;
  /** From when on the wait is counted; null: there was none. */
  #waitsFromMs: number | null = null;

  /**
   * @param startedMs of the request, `performance.now()`: from when the wait is counted, unless other addresses were tried before it
   * @param gate null: no bound
   * @param left the place was left
   */
  constructor(private readonly targets: Targets, private readonly holding: Holding, private readonly startedMs: number, gate: Gate | null, private readonly left: (() => void) | null) {
    this.#place = gate === null ? null : new Place(gate);
  }

  enter(waiter: Waiter): null | Promise<void> {
    return this.#place === null ? null : this.#place.enter(waiter);
  }

  first(): Target {
    return this.targets[0];
  }

  /**
   * The next address, when nothing was sent to the last one. Behind all of them, those that refused the connection are waited for: whatever
   * else is wrong does not mend itself by waiting.
   */
  next(error: Error, _isRepeatable: boolean, waiter: Waiter): null | Target | Promise<Target> {
    if (!isUnsent(error)) return null;
    const isRefusal = this.holding.isWorthWaiting(error);
    const failed = this.targets[this.#failed];
    // It was waited for already.
    if (failed === undefined) return isRefusal && this.#refusal !== null ? this.#whenListening(this.#refusal.targets, error, waiter) : null;
    this.#failed += 1;
    if (isRefusal) this.#refusal = { targets: this.#refusal === null ? [failed] : [...this.#refusal.targets, failed], error };
    const other = this.targets[this.#failed];
    if (other !== undefined) return other;
    return this.#refusal === null ? null : this.#whenListening(this.#refusal.targets, this.#refusal.error, waiter);
  }

  #whenListening(targets: Targets, error: Error, waiter: Waiter): Promise<Target> {
    // Another address that lets packets vanish took its time, in which nobody waited for this one.
    this.#waitsFromMs ??= this.#failed > 1 ? performance.now() : this.startedMs;
    return this.holding.untilListening(targets, error, this.#waitsFromMs, waiter);
  }

  answered(): void {}

  cookie(): null {
    return null;
  }

  release(): void {
    this.#place?.leave();
    this.left?.();
  }
}
