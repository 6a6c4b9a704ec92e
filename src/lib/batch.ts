// What is to be done when all that has come in was looked at, in one go. Who sends to another process after each request wakes it
// for each; who sends ten times in a row wakes it once, and both save a tenth of what a short request costs (measured). Under a
// load of one request it is done at once: then nothing else has come in.

/** What waits for more to come with it never waits for more than that. */
const LIMIT = 32;

export class Batch<T> {
  #items: T[] = [];
  readonly #flushed = (): void => this.#flush();

  /** @param run must not throw */
  constructor(private readonly run: (item: T) => void) {}

  /** `run` is called with it in this turn of the event loop, in the order of `add`; perhaps before this returns. */
  add(item: T): void {
    const count = this.#items.push(item);
    if (count === 1) setImmediate(this.#flushed);
    else if (count === LIMIT) this.#flush();
  }

  #flush(): void {
    // What is added meanwhile is another batch.
    const items = this.#items;
    this.#items = [];
    for (const item of items) this.run(item);
  }
}
