// One timer for many deadlines. A proxy has tens of thousands of waits and nearly all of them end well; a timer for each
// would cost more than the wait. Items carry their own deadline; a sweep every 100 ms asks each whether it is over.
// Precision is therefore 100 ms, which is fine for time limits and for nothing else.
//
// Asking fifteen thousand in one go takes 2 ms, which is what a request takes: a crowd is asked in slices, with requests between.

export const SWEEP_MS = 100;

/** A sweep of more than a slice has at most twenty, 4 ms apart, so that it is over before the next one is due. */
const SLICE = 500;
const SLICES = 20;
const SLICE_MS = 4;

export interface Sweepable {
  /** Called about every 100 ms with a monotonic time in ms (`performance.now()`). Must not throw. */
  sweep(nowMs: number): void;
}

export class Sweeper {
  readonly #items = new Set<Sweepable>();
  #timer: ReturnType<typeof setInterval> | null = null;
  /** The rest of a sweep. A Set's iterator knows what is added and deleted meanwhile. */
  #rest: SetIterator<Sweepable> | null = null;
  #sliceTimer: ReturnType<typeof setTimeout> | null = null;

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
    if (this.#rest !== null) return;
    this.#rest = this.#items.values();
    this.#sweepSlice();
  }

  #sweepSlice(): void {
    const rest = this.#rest;
    const nowMs = this.now();
    let left = Math.max(SLICE, Math.ceil(this.#items.size / SLICES));
    for (let next = rest?.next(); next !== undefined && !next.done; next = rest?.next()) {
      next.value.sweep(nowMs);
      left -= 1;
      if (left > 0) continue;
      this.#sliceTimer = setTimeout(() => this.#sweepSlice(), SLICE_MS).unref();
      return;
    }
    this.#rest = null;
  }

  #stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    if (this.#sliceTimer !== null) clearTimeout(this.#sliceTimer);
    this.#timer = this.#sliceTimer = this.#rest = null;
  }
}
