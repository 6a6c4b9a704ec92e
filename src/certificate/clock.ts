// What time it is, for renewals. In two ways: a certificate is due by the wall clock, which may be wrong and is set right some time;
// pauses are measured by a clock that nobody sets.

export interface Clock {
  /** Unix time in ms. */
  now(): number;
  /** Ms since some moment. It is never set, forward or back. */
  elapsed(): number;
  /** @returns what cancels it */
  after(ms: number, callback: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms).unref();
    return () => clearTimeout(timer);
  },
};
