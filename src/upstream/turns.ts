// So many at a time, the others in the order in which they came. What thousands ask for at once is done bit by bit, so that one turn
// of the event loop stays short and those who were there before are served between.

export class Turns {
  #running = 0;
  readonly #waiting = new Set<() => void>();

  /** @param limit at a time, at least 1 */
  constructor(private readonly limit: number) {}

  get size(): { readonly running: number; readonly waiting: number } {
    return { running: this.#running, waiting: this.#waiting.size };
  }

  /** Calls `begin` now or later. Then it runs until {@link leave} is called, by who was begun. */
  take(begin: () => void): void {
    if (this.#running >= this.limit) return void this.#waiting.add(begin);
    this.#running += 1;
    begin();
  }

  /** @returns false when it does not wait: it was begun */
  forget(begin: () => void): boolean {
    return this.#waiting.delete(begin);
  }

  leave(): void {
    this.#running -= 1;
    const [next] = this.#waiting;
    if (next === undefined) return;
    this.#waiting.delete(next);
    this.take(next);
  }
}
