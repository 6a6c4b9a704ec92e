// When to connect again: after 1, 2, 4, 8 seconds, then every 15, and after twenty tries no more (that is four minutes and a
// half). A connection counts as good again, and the tries start over, only when it has lived for a while.

const LONGEST_MS = 15_000;
const MOST_TRIES = 20;
const GOOD_AFTER_MS = 10_000;

export class Retries {
  /** Tries so far. */
  count = 0;

  /** @param livedMs of the connection that just ended; 0 if there was none @returns ms to wait; null: it is not worth it */
  next(livedMs) {
    if (livedMs >= GOOD_AFTER_MS) this.reset();
    if (this.count === MOST_TRIES) return null;
    const delayMs = Math.min(LONGEST_MS, 1000 * 2 ** this.count);
    this.count += 1;
    return delayMs;
  }

  reset() {
    this.count = 0;
  }
}
