// Reads a byte stream piece by piece: a generator says how many bytes it needs next and is given exactly those, however the
// stream was cut on its way. What waits here is never more than the generator asked for and one delivery.

/** Yields a number of bytes, is resumed with them, and returns what it read. @throws RfbError when they make no sense */
export type Reading<T> = Generator<number, T, Buffer>;

/** The client broke the protocol; the connection ends. */
export class RfbError extends Error {
  override name = "RfbError";
}

export class StreamReader {
  #wanted: number;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;

  constructor(private readonly reading: Reading<never>) {
    this.#wanted = reading.next().value;
  }

  /** @throws RfbError, and then again at every later call: nothing that follows is read */
  push(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (this.#waitingBytes < this.#wanted) return;
    let all = Buffer.concat(this.#waiting);
    while (all.length >= this.#wanted) {
      const taken = all.subarray(0, this.#wanted);
      all = all.subarray(taken.length);
      this.#wanted = this.#resume(taken);
    }
    this.#waiting = all.length > 0 ? [all] : [];
    this.#waitingBytes = all.length;
  }

  #resume(bytes: Buffer): number {
    const { done, value } = this.reading.next(bytes);
    // A generator that threw is done for ever.
    if (done) throw new RfbError("the conversation is over");
    return value;
  }
}
