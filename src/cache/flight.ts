// One request to the upstream that others may wait for. It lands when it is known what they can have of it: the stored
// answer, its body while it still grows, or nothing (then each asks for itself).

import type { Entry, StoredHead } from "./entry.ts";
import type { Filling } from "./filling.ts";

export type Landed =
  | { readonly kind: "entry"; readonly entry: Entry }
  | { readonly kind: "growing"; readonly head: StoredHead; readonly filling: Filling }
  | { readonly kind: "nothing" };

/** A body of unknown length is waited for until it is known to fit, but not longer than that after its head. */
const PATIENCE_MS = 5_000;

export class Flight {
  /** What others can have; rejects when the upstream failed. */
  readonly landed: Promise<Landed>;
  /** Its URL was invalidated meanwhile: what it brings may be from before, and is not stored. */
  isVoid = false;
  readonly #land: (landed: Landed) => void;
  readonly #fail: (error: unknown) => void;
  #timer: Timer | null = null;

  /** @param over called once it need not be waited for any more */
  constructor(readonly key: string, private readonly over: (flight: Flight) => void) {
    const { promise, resolve, reject } = Promise.withResolvers<Landed>();
    this.landed = promise;
    this.#land = resolve;
    this.#fail = reject;
    promise.catch(() => {}); // Often nobody waits; who asked is told by its own promise.
  }

  /** Others can have this from now on; a growing body until {@link end}. */
  land(landed: Landed): void {
    this.#land(landed);
    if (landed.kind !== "growing") this.end();
  }

  fail(error: unknown): void {
    this.#fail(error);
    this.end();
  }

  /** The head is there, and the body has no known length. */
  awaitBody(): void {
    this.#timer = setTimeout(() => this.land({ kind: "nothing" }), PATIENCE_MS).unref();
  }

  end(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.over(this);
  }
}
