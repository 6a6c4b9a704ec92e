// The way to a desktop: its addresses one after the other, usually one, which may have to be waited for. A pod that was just
// created is known to the control plane before it listens; its user's first request is held until it does, instead of failing.

import type { Gate } from "../balance/gate.ts";
import type { Target, Targets } from "../target.ts";
import { type Attempts, isUnsent, type Waiter } from "./attempts.ts";
import type { Holding } from "./holding.ts";
import { Place } from "./place.ts";

/** What came of the addresses. */
type Course = {
  /** How many could not be connected to, counted from the first. */
  failed: number;
  /** Those of them that refused the connection, and how the last one did; null: none. */
  refusal: { readonly targets: Targets; readonly error: Error } | null;
  /** From when on the wait is counted; null: there was none. */
  waitsFromMs: number | null;
};

export class DesktopAttempts implements Attempts {
  readonly #place: Place | null;
  /** null on the way of nearly every request. */
  #course: Course | null = null;

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
    const course = this.#course ??= { failed: 0, refusal: null, waitsFromMs: null };
    const failed = this.targets[course.failed];
    // It was waited for already.
    if (failed === undefined) return isRefusal && course.refusal !== null ? this.#whenListening(course, course.refusal.targets, error, waiter) : null;
    course.failed += 1;
    if (isRefusal) course.refusal = { targets: course.refusal === null ? [failed] : [...course.refusal.targets, failed], error };
    const other = this.targets[course.failed];
    if (other !== undefined) return other;
    return course.refusal === null ? null : this.#whenListening(course, course.refusal.targets, course.refusal.error, waiter);
  }

  #whenListening(course: Course, targets: Targets, error: Error, waiter: Waiter): Promise<Target> {
    // Another address that lets packets vanish took its time, in which nobody waited for this one.
    course.waitsFromMs ??= course.failed > 1 ? performance.now() : this.startedMs;
    return this.holding.untilListening(targets, error, course.waitsFromMs, waiter);
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
