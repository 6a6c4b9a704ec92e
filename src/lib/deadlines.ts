// One timer for many deadlines. A proxy has tens of thousands of waits and nearly all of them end well; a timer for each
// would cost more than the wait. Items carry their own deadline; a sweep every 100 ms asks each whether it is over.
// Precision is therefore 100 ms, which is fine for time limits and for nothing else.

export const SWEEP_MS = 100;

export interface Sweepable {
  /** Called about every 100 ms with a monotonic time in ms (`performance.now()`). Must not throw. */
  sweep(nowMs: number): void;
}

export class Sweeper {
  readonly #items = new Set<Sweepable>();
  #timer: ReturnType<typeof setInterval> | null = null;

  constructor(private readonly now: () => number = () => performance.now()) {}

  add(item: Sweepable): void {
    this.#items.add(item);
    this.#timer ??= setInterval(() => this.#sweep(), SWEEP_MS).unref();
  }

  delete(item: Sweepable): void {
    this.#items.delete(item);
  }

  get size(): number {
    return this.#items.size;
  }

  close(): void {
    this.#items.clear();
    this.#stop();
  }

  #sweep(): void {
    if (this.#items.size === 0) return this.#stop();
    const nowMs = this.now();
    for (const item of this.#items) item.sweep(nowMs);
  }

  #stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }
}
