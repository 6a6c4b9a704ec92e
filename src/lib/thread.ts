// A server in a Worker, seen from outside: told to start, heard when it is ready, told to stop, and gone when it says so.
// What it serves is not known here; orders are passed as they are.
//
// Invariant: every wait ends. `started` and `stop()` are settled when the thread is gone, whatever it was that ended it, and a
// thread that goes without being told to is reported once. The Worker stays referenced until then: Bun hears an
// unreferenced one late.

/** What the Worker posts. After `failed` and `stopped` it is ended from here. */
export type ThreadAnswer<Ready> =
  | { readonly kind: "ready"; readonly ready: Ready }
  | { readonly kind: "failed"; readonly message: string; readonly code?: string | undefined }
  | { readonly kind: "stopped" };

/** A thread that does not answer the order to stop is ended after this long. */
const STOP_LIMIT_MS = 10_000;

export class Thread<Ready, Order> {
  readonly #ready = Promise.withResolvers<Ready>();
  readonly #gone = Promise.withResolvers<void>();
  #isReady = false;
  #isStopping = false;
  #failure: Error | null = null;

  /** @param onDeath is told why, when the thread had been ready and went without an order */
  constructor(private readonly worker: Worker, order: Order, private readonly onDeath: (error: Error) => void,
    private readonly stopLimitMs: number = STOP_LIMIT_MS) {
    worker.addEventListener("message", ({ data }: MessageEvent<ThreadAnswer<Ready>>) => this.#hear(data));
    worker.addEventListener("error", (event) => this.#fail(new Error(event.message)));
    worker.addEventListener("close", () => this.#end());
    worker.postMessage(order);
  }

  /** Rejects with what the thread said, with its `code`, when it is gone again. */
  get started(): Promise<Ready> {
    return this.#ready.promise;
  }

  /** Resolves when the thread is gone. @throws Error when it failed on its way, or had to be ended */
  stop(order: Order): Promise<void> {
    this.#isStopping = true;
    const limit = setTimeout(() => this.#fail(new Error(`the thread did not stop within ${this.stopLimitMs / 1000} s`)), this.stopLimitMs);
    this.worker.postMessage(order);
    return this.#gone.promise.finally(() => clearTimeout(limit));
  }

  #hear(answer: ThreadAnswer<Ready>): void {
    if (answer.kind === "ready") {
      this.#isReady = true;
      this.#ready.resolve(answer.ready);
    } else if (answer.kind === "failed") this.#fail(Object.assign(new Error(answer.message), answer.code === undefined ? {} : { code: answer.code }));
    else this.worker.terminate();
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.worker.terminate();
  }

  #end(): void {
    const failure = this.#failure ?? (this.#isStopping ? null : new Error("the thread ended by itself"));
    if (!this.#isReady) this.#ready.reject(failure ?? new Error("the thread was stopped before it was ready"));
    else if (!this.#isStopping && failure !== null) this.onDeath(failure);
    if (failure !== null && this.#isStopping) this.#gone.reject(failure);
    else this.#gone.resolve();
  }
}
