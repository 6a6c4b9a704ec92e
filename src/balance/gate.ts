// How many requests a service has under way at a time, and who waits for a place: first come, first served, a bounded number,
// each for a bounded time. A place that is left goes to the first who waits, never to one who comes just then.
//
// Invariant: every promise settles, by a place, by its deadline, or because its client left; and there are never more inside
// than the limit.

import type { Sweepable, Sweeper } from "../lib/deadlines.ts";
import type { ServiceLimits } from "../service.ts";
import { type Entry, Fifo } from "./fifo.ts";

/** Who waits: it is told how to give up, and does so when its client leaves. */
export interface GateWaiter {
  slow(wait: { abort(): void }): void;
}

export class GateError extends Error {
  override name = "GateError";

  /** @param retryAfterS when a client may try again */
  constructor(readonly reason: "full" | "timeout" | "left", message: string, readonly retryAfterS: number) {
    super(message);
  }
}

type Wait = { readonly deadlineMs: number; readonly admit: () => void; readonly refuse: (error: GateError) => void };

export class Gate implements Sweepable {
  readonly #queue = new Fifo<Wait>();
  #inside = 0;

  /** @param now the sweeper's clock */
  constructor(private readonly limits: ServiceLimits, private readonly sweeper: Pick<Sweeper, "add" | "delete">,
    private readonly now: () => number = () => performance.now()) {}

  /**
   * Takes a place; `leave` is owed for it. null: it was free.
   * @throws GateError (as a rejection; nothing is owed then): the queue is full, the wait took `queueTimeoutMs` (to within 100 ms), or was given up
   */
  enter(waiter: GateWaiter): null | Promise<void> {
    const { maxConnections, queue } = this.limits;
    if (maxConnections === 0 || this.#inside < maxConnections) {
      this.#inside += 1;
      return null;
    }
    if (this.#queue.size >= queue) return Promise.reject(this.#error("full", `${this.#inside} requests under way and ${this.#queue.size} waiting`));
    return this.#wait(waiter);
  }

  /** @throws Error when nobody is inside: somebody left twice */
  leave(): void {
    if (this.#inside === 0) throw new Error("left a gate that nobody had entered");
    const next = this.#queue.first;
    if (next === null) this.#inside -= 1;
    // The place is handed over: in between, nobody else could take it.
    else if (this.#remove(next)) next.value.admit();
  }

  /** Requests that have a place. */
  get inside(): number {
    return this.#inside;
  }

  get waiting(): number {
    return this.#queue.size;
  }

  sweep(nowMs: number): void {
    // All wait equally long: the first who may wait on ends the walk.
    for (let first = this.#queue.first; first !== null && nowMs >= first.value.deadlineMs; first = this.#queue.first) {
      this.#refuse(first, this.#error("timeout", `no place within ${this.limits.queueTimeoutMs} ms`));
    }
  }

  #wait(waiter: GateWaiter): Promise<void> {
    const { promise, resolve: admit, reject: refuse } = Promise.withResolvers<void>();
    const entry = this.#queue.push({ deadlineMs: this.now() + this.limits.queueTimeoutMs, admit, refuse });
    if (this.#queue.size === 1) this.sweeper.add(this);
    waiter.slow({ abort: () => this.#refuse(entry, this.#error("left", "the client left while it waited for a place")) });
    return promise;
  }

  #refuse(entry: Entry<Wait>, error: GateError): void {
    if (this.#remove(entry)) entry.value.refuse(error);
  }

  #remove(entry: Entry<Wait>): boolean {
    if (!this.#queue.delete(entry)) return false;
    if (this.#queue.size === 0) this.sweeper.delete(this);
    return true;
  }

  #error(reason: GateError["reason"], message: string): GateError {
    return new GateError(reason, message, Math.max(1, Math.ceil(this.limits.queueTimeoutMs / 1000)));
  }
}
