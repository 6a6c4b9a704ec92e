// Desktops that are on their way: known to the control plane, but without a name or a listener yet. What is wanted of them is
// held until they are there, for as long as `dialTimeout` says.

import type { Sweeper } from "../lib/deadlines.ts";
import type { Target, Targets } from "../target.ts";
import { Holds, isNotThereYet } from "../upstream/hold.ts";
import type { HttpPool } from "../upstream/http-pool.ts";
import type { Waiter } from "./attempts.ts";

export class Holding {
  readonly #holds: Holds;

  /** @param timeoutMs 0: nobody waits */
  constructor(private readonly pool: HttpPool, private readonly timeoutMs: number, sweeper: Sweeper) {
    this.#holds = new Holds(sweeper);
  }

  get isOff(): boolean {
    return this.timeoutMs === 0;
  }

  /** It may mend itself by waiting: a refused connection, or a name that is not known. */
  isWorthWaiting(error: Error): boolean {
    return !this.isOff && isNotThereYet(error);
  }

  /** Resolves with the first of the targets that has a connection for us. @param startedMs when the wait began, `performance.now()` @throws the last failure */
  async untilListening(targets: Targets, failure: Error, startedMs: number, watcher: Waiter): Promise<Target> {
    // Others who wait for the same addresses may call them by another name: the loop says which of them it is, not what it is called.
    const key = targets.map((target) => target.key).join(" ");
    const index = await this.#holds.hold({ key, failure, deadlineMs: startedMs + this.timeoutMs, watcher, attempt: () => this.#listening(targets) });
    return targets[index] as Target;
  }

  /** Which of them has a connection for us. @throws a failure that is worth another attempt if there is one */
  async #listening(targets: Targets): Promise<number> {
    let failure: Error | null = null;
    for (const [index, target] of targets.entries()) {
      try {
        await this.pool.warm(target);
        return index;
      } catch (error) {
        if (failure === null || this.isWorthWaiting(error as Error)) failure = error as Error;
      }
    }
    throw failure as Error;
  }

  /** Resolves with the name's addresses when it has some. @param startedMs as above @throws the last failure */
  untilNamed(name: string, failure: Error, resolve: () => Promise<readonly string[]>, startedMs: number, watcher: Waiter): Promise<readonly string[]> {
    return this.#holds.hold({ key: `name ${name}`, failure, deadlineMs: startedMs + this.timeoutMs, watcher, attempt: resolve });
  }

  /** Who still waits is told why not. */
  close(): void {
    this.#holds.close();
  }
}
