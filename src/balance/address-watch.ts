// The addresses behind one name, looked up again whenever the last answer has grown old. Only a change is reported, and an
// answer that says nothing (a failure, an empty list) changes nothing: servers whose name server is gone may well be there.

import type { Sweepable, Sweeper } from "../lib/deadlines.ts";

type Answer = { readonly addresses: readonly string[]; readonly ttlMs: number };

export type AddressWatchOptions = {
  readonly name: string;
  /** A throw is a failure; so is an answer that takes longer than 10 s. */
  readonly resolve: (name: string) => Promise<Answer>;
  /** Other addresses than before: sorted, each once, at least one, at most 1000. */
  readonly changed: (addresses: readonly string[]) => void;
  /** It did not work, for the n-th time in a row, and is tried again after 1 s. What was known stays. */
  readonly failed: (error: Error, inRow: number) => void;
  readonly sweeper: Pick<Sweeper, "add" | "delete">;
  /** The sweeper's clock. */
  readonly now?: () => number;
};

/** A TTL of 0 is not a reason to ask all the time, and a day no reason to miss a new server. */
const SHORTEST_MS = 1_000;
const LONGEST_MS = 30_000;
const RETRY_MS = 1_000;
const TIMEOUT_MS = 10_000;
const ADDRESSES = 1_000;

export class AddressWatch implements Sweepable {
  #addresses: readonly string[] = [];
  readonly #now: () => number;
  /** When to ask again; Infinity while an answer is awaited. */
  #dueMs = Infinity;
  /** When the awaited answer counts as a failure; Infinity: none is awaited. */
  #deadlineMs = Infinity;
  /** Number of the question: answers to earlier ones come too late. */
  #asked = 0;
  #failures = 0;

  /** Asks at once, and from then on until `close`. */
  constructor(private readonly options: AddressWatchOptions) {
    this.#now = options.now ?? (() => performance.now());
    options.sweeper.add(this);
    this.#ask(this.#now());
  }

  /** What was found last; empty until the first answer. */
  get addresses(): readonly string[] {
    return this.#addresses;
  }

  close(): void {
    this.#asked += 1;
    this.options.sweeper.delete(this);
  }

  sweep(nowMs: number): void {
    if (nowMs >= this.#deadlineMs) this.#fail(new Error(`no answer within ${TIMEOUT_MS} ms`), nowMs);
    else if (nowMs >= this.#dueMs) this.#ask(nowMs);
  }

  #ask(nowMs: number): void {
    const asked = ++this.#asked;
    this.#dueMs = Infinity;
    this.#deadlineMs = nowMs + TIMEOUT_MS;
    const answered = (answer: Answer): void => { if (asked === this.#asked) this.#answered(answer, this.#now()); };
    const failed = (error: unknown): void => { if (asked === this.#asked) this.#fail(error instanceof Error ? error : new Error(String(error)), this.#now()); };
    void Promise.try(this.options.resolve, this.options.name).then(answered, failed);
  }

  #answered({ addresses, ttlMs }: Answer, nowMs: number): void {
    if (addresses.length === 0) return this.#fail(new Error("the name has no addresses"), nowMs);
    this.#failures = 0;
    this.#deadlineMs = Infinity;
    // Also for a TTL that is not a number.
    this.#dueMs = nowMs + (ttlMs > SHORTEST_MS ? Math.min(ttlMs, LONGEST_MS) : SHORTEST_MS);
    // Name servers shuffle their answers.
    const found = [...new Set(addresses)].sort().slice(0, ADDRESSES);
    if (found.join() === this.#addresses.join()) return;
    this.#addresses = found;
    this.options.changed(found);
  }

  #fail(error: Error, nowMs: number): void {
    // The question is over, whatever comes.
    this.#asked += 1;
    this.#deadlineMs = Infinity;
    this.#dueMs = nowMs + RETRY_MS;
    this.#failures += 1;
    this.options.failed(error, this.#failures);
  }
}
