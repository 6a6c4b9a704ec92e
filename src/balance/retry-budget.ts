// What retries may add to the load of a service: so many percent of its requests within a sliding window. When servers fail
// because they are overloaded, retries must not be what keeps them so. A few are always allowed, because a percentage of
// very little is nothing.

/** The window, in slices that are dropped as a whole: it is between 9 and 10 s long. */
const SLICE_MS = 1_000;
const SLICES = 10;
/** So many retries within a window whatever the load. */
const ALWAYS = 3;

export class RetryBudget {
  readonly #requests = new Float64Array(SLICES);
  readonly #retries = new Float64Array(SLICES);
  /** Sums over the slices. */
  #requested = 0;
  #retried = 0;
  /** Number of the current slice since the clock's beginning. */
  #slice: number;

  /** @param percent 0 to 100; 0: no retries at all @param now monotonic, ms */
  constructor(private readonly percent: number, private readonly now: () => number = () => performance.now()) {
    this.#slice = Math.floor(now() / SLICE_MS);
  }

  /** A request begins; its retries are not requests. @param nowMs of the same clock, where it is at hand */
  request(nowMs: number = this.now()): void {
    const at = this.#advance(nowMs);
    this.#requests[at] = (this.#requests[at] as number) + 1;
    this.#requested += 1;
  }

  /** Takes one retry out of the budget. @returns false when there is none left */
  take(nowMs: number = this.now()): boolean {
    if (this.percent === 0) return false;
    const at = this.#advance(nowMs);
    const allowed = Math.max(ALWAYS, (this.#requested * this.percent) / 100);
    if (this.#retried + 1 > allowed) return false;
    this.#retries[at] = (this.#retries[at] as number) + 1;
    this.#retried += 1;
    return true;
  }

  /** Drops what is over. @returns the current slice's index */
  #advance(nowMs: number): number {
    const slice = Math.floor(nowMs / SLICE_MS);
    // A time from before the current slice counts as now.
    const steps = Math.min(slice - this.#slice, SLICES);
    if (steps > 0) {
      for (let step = 1; step <= steps; step++) this.#clear((this.#slice + step) % SLICES);
      this.#slice = slice;
    }
    return this.#slice % SLICES;
  }

  #clear(at: number): void {
    this.#requested -= this.#requests[at] as number;
    this.#retried -= this.#retries[at] as number;
    this.#requests[at] = 0;
    this.#retries[at] = 0;
  }
}
