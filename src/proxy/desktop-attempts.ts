// The way to a desktop: one target, which may have to be waited for. A pod that was just created is known to the control plane
// before it listens; its user's first request is held until it does, instead of failing.

import type { Gate } from "../balance/gate.ts";
import type { Target } from "../target.ts";
import type { Attempts, Waiter } from "./attempts.ts";
import type { Holding } from "./holding.ts";
import { Place } from "./place.ts";

export class DesktopAttempts implements Attempts {
  readonly #place: Place | null;

  /**
   * @param startedMs of the request, `performance.now()`: from when the wait is counted
   * @param gate null: no bound
   * @param left the place was left
   */
  constructor(private readonly target: Target, private readonly holding: Holding, private readonly startedMs: number, gate: Gate | null, private readonly left: (() => void) | null) {
    this.#place = gate === null ? null : new Place(gate);
  }

  enter(waiter: Waiter): null | Promise<void> {
    return this.#place === null ? null : this.#place.enter(waiter);
  }

  first(): Target {
    return this.target;
  }

  /** Refused connections only: whatever else is wrong does not mend itself by waiting. */
  next(error: Error, _isRepeatable: boolean, waiter: Waiter): null | Promise<Target> {
    if (!this.holding.isWorthWaiting(error)) return null;
    return this.#whenListening(error, waiter);
  }

  async #whenListening(error: Error, waiter: Waiter): Promise<Target> {
    await this.holding.untilListening(this.target, error, this.startedMs, waiter);
    return this.target;
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
