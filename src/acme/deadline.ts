// The end of one order: how long the CA may take for it in all. It stands still while we put an answer to a challenge somewhere, which
// has limits of its own (with DNS of others it may take an hour), and is not the CA's fault.

import { AcmeError } from "./errors.ts";

export class OrderDeadline {
  /** What the CA does for us now, for people. */
  waitsFor = "the order";
  readonly #end = new AbortController();
  #leftMs: number;
  #startedMs = 0;
  #timer: Timer | undefined;

  constructor(private readonly timeoutMs: number) {
    this.#leftMs = timeoutMs;
    this.#start();
  }

  /** Aborted at the end, with an AcmeError that says so. */
  get signal(): AbortSignal {
    return this.#end.signal;
  }

  /** @throws what `job` throws */
  async without<T>(job: () => Promise<T>): Promise<T> {
    this.close();
    this.#leftMs -= performance.now() - this.#startedMs;
    try {
      return await job();
    } finally {
      this.#start();
    }
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #start(): void {
    this.#startedMs = performance.now();
    this.#timer = setTimeout(() => {
      this.#end.abort(new AcmeError("unreachable", `the CA did not finish within ${this.timeoutMs} ms: waited for ${this.waitsFor}`));
    }, Math.max(this.#leftMs, 0));
  }
}
