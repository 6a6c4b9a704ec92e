// One request to the upstream that others may wait for. It lands when it is known what they can have of it: the stored
// answer, its body while it still grows, or nothing (then each asks for itself). It ends when nothing of it can be stored
// any more; until then it can be made void.

import type { Entry, StoredHead } from "./entry.ts";
import type { Filling } from "./filling.ts";

export type Landed =
  | { readonly kind: "entry"; readonly entry: Entry }
  | { readonly kind: "growing"; readonly head: StoredHead; readonly filling: Filling }
  | { readonly kind: "nothing" };

export interface FlightOwner {
  /** There is nothing to wait for. */
  landedWithout(flight: Flight): void;
  ended(flight: Flight): void;
}

export class Flight {
  /** What others can have; rejects when the upstream failed. */
  readonly landed: Promise<Landed>;
  /** Its URL was invalidated meanwhile: what it brings may be from before, and is not stored. */
  isVoid = false;
  /** Its body is still on its way. */
  isFilling = false;
  /** Clients that wait, and have not left. */
  #waiting = 0;
  #isLanded = false;
  #abort: (() => void) | null = null;
  readonly #resolve: (landed: Landed) => void;
  readonly #reject: (error: unknown) => void;
  #timer: Timer | null = null;

  /** @param id under which others may join; null for none */
  constructor(readonly key: string, readonly id: string | null, private readonly owner: FlightOwner) {
    const { promise, resolve, reject } = Promise.withResolvers<Landed>();
    this.landed = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    promise.catch(() => {}); // Often nobody waits; who asked is told by its own promise.
  }

  /** Somebody waits for it. What nobody waits for any more, before there is an answer, is given up. */
  wait(left: (() => AbortSignal) | undefined): void {
    this.#waiting += 1;
    const signal = left?.();
    if (signal === undefined) return;
    const leave = (): void => {
      this.#waiting -= 1;
      if (this.#waiting > 0 || this.#isLanded || this.isFilling) return;
      // At once: whoever comes now begins anew.
      this.owner.landedWithout(this);
      this.#abort?.();
    };
    // Not in this call: the upstream is about to be asked.
    if (signal.aborted) queueMicrotask(leave);
    else signal.addEventListener("abort", leave, { once: true });
  }

  whenUnwanted(abort: () => void): void {
    this.#abort = abort;
  }

  land(landed: Landed): void {
    this.#isLanded = true;
    this.#resolve(landed);
    this.#stopTimer();
    if (landed.kind === "nothing") this.owner.landedWithout(this);
  }

  /** The head is there, and the body has no known length: others wait for its end, but not for ever. */
  awaitBody(patienceMs: number): void {
    this.#timer = setTimeout(() => this.land({ kind: "nothing" }), patienceMs).unref();
  }

  end(): void {
    this.#stopTimer();
    this.owner.ended(this);
  }

  fail(error: unknown): void {
    this.#reject(error);
    this.end();
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
