// Who waits for a connection to one target, and the connections that are being made for them. The two are not tied to each
// other: a connection goes to whoever has waited longest, so that one whose request was given up serves the next request,
// and a thousand requests that are taken back at once (rapid reset, CVE-2023-44487) make no more connections than there were
// requests at a time.
// The invariant: there are as many attempts as there is need for, or CONNECTING_LIMIT; nobody waits longer than its deadline.

import type { Sweepable, Sweeper } from "../lib/deadlines.ts";
import { ClientGoneError, ConnectTimeoutError } from "./exchange.ts";

/** Connections to one target that are being made at a time; what is beyond waits for its turn. */
export const CONNECTING_LIMIT = 256;
/**
 * And begun in one turn of the event loop: their answers come together as well. With all at once, five thousand clients that
 * came together made a turn take 80 to 300 ms, in which nobody else was served; so it is 50, and the last of them is served earlier.
 */
export const BEGUN_AT_ONCE = 32;

export type QueueOptions<C> = {
  /** Begins one attempt; `done` is called once, now or later, with a connection or with why there is none. */
  readonly dial: (done: (error: Error | null, connection?: C) => void) => void;
  /** A connection that nobody waits for any more. */
  readonly spare: (connection: C) => void;
  /** Nobody waits and nothing is under way: the queue is not needed any more. */
  readonly emptied: () => void;
  /** Calls `run` after what has been read from clients so far was looked at. */
  readonly later?: (run: () => void) => void;
};

export class DialQueue<C> {
  readonly #waiting = new Set<Waiter<C>>();
  #attempts = 0;
  #isDue = false;
  readonly #later: (run: () => void) => void;

  constructor(private readonly sweeper: Sweeper, private readonly options: QueueOptions<C>) {
    // A client that takes its request back in the same breath is heard before the next turn: Bun.serve tells of an HTTP/2
    // reset while it reads on, after the microtasks of the request. Waiting for the turn costs some microseconds.
    this.#later = options.later ?? setImmediate;
  }

  /** Waiters and attempts, for tests and metrics. */
  get size(): { waiting: number; attempts: number } {
    return { waiting: this.#waiting.size, attempts: this.#attempts };
  }

  /**
   * Neither is called before this returns; then one of them, once.
   * @param deadlineMs monotonic; then it fails with ConnectTimeoutError
   */
  wait(deadlineMs: number, take: (connection: C) => void, fail: (error: Error) => void): Waiter<C> {
    const waiter = new Waiter(this, deadlineMs, take, fail);
    this.#waiting.add(waiter);
    this.sweeper.add(waiter);
    this.#fillLater();
    return waiter;
  }

  /** @returns whether a connection that became free is taken by somebody for whom none is being made */
  offer(connection: C): boolean {
    return this.#waiting.size > this.#attempts && this.#give(connection);
  }

  /** @returns false when it does not wait any more */
  leave(waiter: Waiter<C>): boolean {
    this.sweeper.delete(waiter);
    const waited = this.#waiting.delete(waiter);
    this.#forgetIfEmpty();
    return waited;
  }

  /** Fails all who wait. */
  close(error: Error): void {
    for (const waiter of [...this.#waiting]) waiter.end(error);
  }

  #fillLater(): void {
    if (this.#isDue || this.#attempts >= CONNECTING_LIMIT || this.#attempts >= this.#waiting.size) return;
    this.#isDue = true;
    this.#later(() => {
      this.#isDue = false;
      for (let begun = 0; begun < BEGUN_AT_ONCE && this.#attempts < Math.min(this.#waiting.size, CONNECTING_LIMIT); begun += 1) this.#attempt();
      this.#fillLater();
      this.#forgetIfEmpty();
    });
  }

  #attempt(): void {
    this.#attempts += 1;
    this.options.dial((error, connection) => {
      this.#attempts -= 1;
      if (error === null) this.#opened(connection as C);
      else this.#failed(error);
      this.#fillLater();
      this.#forgetIfEmpty();
    });
  }

  #opened(connection: C): void {
    if (!this.#give(connection)) this.options.spare(connection);
  }

  #failed(error: Error): void {
    // Who waits has a deadline of its own, later than that of an attempt which was made for somebody else.
    if (error instanceof ConnectTimeoutError || this.#waiting.size <= this.#attempts) return;
    const [longest] = this.#waiting;
    longest?.end(error);
  }

  #give(connection: C): boolean {
    const [longest] = this.#waiting;
    longest?.serve(connection);
    return longest !== undefined;
  }

  #forgetIfEmpty(): void {
    if (this.#waiting.size === 0 && this.#attempts === 0 && !this.#isDue) this.options.emptied();
  }
}

/** One of those who wait. */
export class Waiter<C> implements Sweepable {
  constructor(private readonly queue: DialQueue<C>, private readonly deadlineMs: number,
    private readonly take: (connection: C) => void, private readonly fail: (error: Error) => void) {}

  serve(connection: C): void {
    if (this.queue.leave(this)) this.take(connection);
  }

  end(error: Error): void {
    if (this.queue.leave(this)) this.fail(error);
  }

  abort(): void {
    this.end(new ClientGoneError("client went away while connecting"));
  }

  sweep(nowMs: number): void {
    if (nowMs >= this.deadlineMs) this.end(new ConnectTimeoutError("connecting took too long"));
  }
}
