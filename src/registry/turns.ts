// One at a time per key, in the order of asking; different keys don't wait for each other.

export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();

  /** Runs `job` when all earlier ones of `key` have ended, however they ended. */
  take<T>(key: string, job: () => Promise<T>): Promise<T> {
    const mine = (this.#last.get(key) ?? Promise.resolve()).then(job, job);
    const ended = mine.catch(() => {}).finally(() => {
      if (this.#last.get(key) === ended) this.#last.delete(key);
    });
    this.#last.set(key, ended);
    return mine;
  }
}
