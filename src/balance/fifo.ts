// A queue that can be left from the middle: a linked list, so that joining, leaving and being next all take the same short
// time however many wait. (A Set would do, were it not that its oldest entries get slow to find once many have left.)

export class Fifo<T> {
  #first: Entry<T> | null = null;
  #last: Entry<T> | null = null;
  #size = 0;

  get first(): Entry<T> | null {
    return this.#first;
  }

  get size(): number {
    return this.#size;
  }

  push(value: T): Entry<T> {
    const entry: Entry<T> = { value, previous: this.#last, next: null, isIn: true };
    if (this.#last === null) this.#first = entry;
    else this.#last.next = entry;
    this.#last = entry;
    this.#size += 1;
    return entry;
  }

  /** @param entry of this queue @returns false when it had left already */
  delete(entry: Entry<T>): boolean {
    if (!entry.isIn) return false;
    entry.isIn = false;
    if (entry.previous === null) this.#first = entry.next;
    else entry.previous.next = entry.next;
    if (entry.next === null) this.#last = entry.previous;
    else entry.next.previous = entry.previous;
    this.#size -= 1;
    return true;
  }
}

export type Entry<T> = { readonly value: T; previous: Entry<T> | null; next: Entry<T> | null; isIn: boolean };
