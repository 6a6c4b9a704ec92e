// Hold and dial: a pod that has been started and does not listen yet is asked again and again, while those who want something of
// it wait. One loop for each target, however many wait; they go on together when it comes to something, each is told why not at
// its own deadline, and the loop ends with the last of them. What is asked is the caller's: a connection, a name and then a
// connection. Nothing here opens a socket.

import type { Sweepable, Sweeper } from "../lib/deadlines.ts";
import { NameError } from "./dns.ts";
import { ClientGoneError, ConnectTimeoutError, type ExchangeWatcher } from "./exchange.ts";

export type HoldSettings = {
  /** Targets that are asked at a time; at a further one nobody waits. */
  readonly loops: number;
  /** Between two attempts: the first pause, and the longest, ms. They double. */
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
};

/** A pod takes seconds to start, and asking it costs next to nothing; 10,000 times two attempts a second do cost something. */
const DEFAULTS: HoldSettings = { loops: 10_000, firstPauseMs: 50, longestPauseMs: 500 };

export type Hold<T> = {
  /** Of the target: whoever has the same key is served by the same loop, with the attempt of the one who began it. */
  readonly key: string;
  /** What the caller's own attempt came to, told at the deadline when there is nothing newer; null: it has made none. */
  readonly failure: Error | null;
  /** Asks once more. It has a deadline of its own, and goes on for the others when the one who began leaves. */
  readonly attempt: () => Promise<T>;
  /** Whether an attempt that failed so may be followed by another one; {@link isNotThereYet} by default. */
  readonly isWorthWaiting?: (error: unknown) => boolean;
  /** Monotonic ms (`performance.now()`); precision is 100 ms. */
  readonly deadlineMs: number;
  /** Learns how to give up, for a client that leaves. */
  readonly watcher: Pick<ExchangeWatcher, "slow">;
};

export class Holds {
  readonly #loops = new Map<string, Loop<unknown>>();
  readonly #settings: HoldSettings;

  constructor(private readonly sweeper: Sweeper, settings: Partial<HoldSettings> = {}) {
    this.#settings = { ...DEFAULTS, ...settings };
  }

  /** Loops that run. */
  get size(): number {
    return this.#loops.size;
  }

  /** Whether the target of this key is being asked: who joins, with no failure of its own, spares an attempt that would fail. */
  has(key: string): boolean {
    return this.#loops.has(key);
  }

  /**
   * Resolves with what an attempt brought, the same for all who wait.
   * @throws the last failure at the deadline, and at once one that waiting does not help or for which there is no loop left;
   *   ClientGoneError when it was given up (all as rejections)
   */
  hold<T>(hold: Hold<T>): Promise<T> {
    const isWorthWaiting = hold.isWorthWaiting ?? isNotThereYet;
    const known = this.#loops.get(hold.key) as Loop<T> | undefined;
    if (hold.failure !== null && (performance.now() >= hold.deadlineMs || !isWorthWaiting(hold.failure))) return Promise.reject(hold.failure);
    if (known !== undefined) return known.join(hold);
    // Asked once, without a loop.
    if (this.#loops.size >= this.#settings.loops) return hold.failure === null ? hold.attempt() : Promise.reject(hold.failure);
    const loop = new Loop<T>(this.sweeper, this.#settings, hold.attempt, isWorthWaiting, () => { this.#loops.delete(hold.key); });
    this.#loops.set(hold.key, loop as Loop<unknown>);
    const promise = loop.join(hold);
    loop.start(hold.failure === null);
    return promise;
  }

  /** Ends all loops; who waits is told the last failure. */
  close(): void {
    for (const loop of [...this.#loops.values()]) loop.close();
  }
}

/** One target that is asked until it answers or nobody waits any more. */
class Loop<T> {
  readonly #waiting = new Set<Held<T>>();
  #pauseMs: number;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #ended = false;

  constructor(private readonly sweeper: Sweeper, private readonly settings: HoldSettings, private readonly attempt: () => Promise<T>,
    private readonly isWorthWaiting: (error: unknown) => boolean, private readonly ended: () => void) {
    this.#pauseMs = settings.firstPauseMs;
  }

  start(atOnce: boolean): void {
    if (atOnce) void this.#ask();
    else if (!this.#ended) this.#pause();
  }

  join({ failure, deadlineMs, watcher }: Hold<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const held = new Held(this, failure, deadlineMs, resolve, reject);
      this.#waiting.add(held);
      this.sweeper.add(held);
      watcher.slow(held);
    });
  }

  leave(held: Held<T>): void {
    this.sweeper.delete(held);
    this.#waiting.delete(held);
    if (this.#waiting.size === 0) this.#end();
  }

  close(): void {
    for (const held of [...this.#waiting]) held.fail();
  }

  #pause(): void {
    // A timer of its own: the sweep's 100 ms would be most of the wait for a pod that is there after 60.
    this.#timer = setTimeout(() => void this.#ask(), this.#pauseMs).unref();
    this.#pauseMs = Math.min(this.settings.longestPauseMs, this.#pauseMs * 2);
  }

  async #ask(): Promise<void> {
    this.#timer = null;
    try {
      const brought = await this.attempt();
      for (const held of this.#takeAll()) held.resolve(brought);
    } catch (thrown) {
      if (this.#ended) return; // Nobody waits for this any more.
      const error = thrown as Error;
      for (const held of this.#waiting) held.failure = error;
      if (this.isWorthWaiting(error)) this.#pause();
      else this.close();
    }
  }

  #takeAll(): Held<T>[] {
    const all = [...this.#waiting];
    for (const held of all) this.leave(held);
    return all;
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.ended();
  }
}

/** One who waits. */
class Held<T> implements Sweepable {
  constructor(private readonly loop: Loop<T>, /** The last one. */ public failure: Error | null, private readonly deadlineMs: number,
    readonly resolve: (brought: T) => void, private readonly reject: (error: Error) => void) {}

  fail(error: Error | null = this.failure): void {
    this.loop.leave(this);
    this.reject(error ?? new ConnectTimeoutError("the target did not answer in time"));
  }

  abort(): void {
    this.fail(new ClientGoneError("client went away while its target was starting"));
  }

  sweep(nowMs: number): void {
    if (nowMs >= this.deadlineMs) this.fail();
  }
}

/**
 * Whether the failure is that of a pod which is about to be there: its address refuses connections (the machine is up, the
 * service does not listen yet), or its name is not known yet. Nothing else is: a time-out has had its time already and says
 * nothing about the next attempt, a certificate that is not good does not get better, and any other answer is one.
 */
export function isNotThereYet(thrown: unknown): boolean {
  for (let error = thrown; error instanceof Error; error = error.cause) {
    if (error instanceof NameError) return error.reason === "not-found";
    if (["ECONNREFUSED", "ENOTFOUND"].includes((error as NodeJS.ErrnoException).code ?? "")) return true;
  }
  return false;
}
