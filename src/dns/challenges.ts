// The values of the challenges that run now. Two orders may ask for the same value at once (a CA may hand out the same
// authorization twice): each present() counts, and a value is gone when every one of them was cleaned up.

/** One TXT string, RFC 1035 section 3.3.14. A challenge's is 43 characters of base64url (RFC 8555 section 8.4). */
const VALUE = /^[\x21-\x7e]{1,255}$/;
/** All of them are in every answer, and an answer over TCP has 64 KiB. */
const VALUES_LIMIT = 100;

export class Challenges {
  readonly #counts = new Map<string, number>();
  #values: readonly string[] = [];
  #serial: number;

  /** @param now Unix time in ms: the serial number goes on growing over restarts */
  constructor(private readonly now: () => number) {
    this.#serial = this.#clockSerial();
  }

  /** Each once, in the order in which they came. Never changes: it is replaced. */
  get values(): readonly string[] {
    return this.#values;
  }

  get serial(): number {
    return this.#serial;
  }

  /** @throws Error when the value cannot be a TXT string, or there are 100 others */
  present(value: string): void {
    if (!VALUE.test(value)) throw new Error(`cannot present a challenge: not 1 to 255 visible ASCII characters: ${JSON.stringify(value.slice(0, 64))}`);
    const count = this.#counts.get(value) ?? 0;
    if (count === 0 && this.#counts.size >= VALUES_LIMIT) throw new Error(`cannot present a challenge: ${VALUES_LIMIT} others are running`);
    this.#counts.set(value, count + 1);
    if (count === 0) this.#changed();
  }

  /** A value that is not there is no error: cleaning up is also done after a failure. */
  cleanup(value: string): void {
    const count = this.#counts.get(value);
    if (count === undefined) return;
    if (count > 1) this.#counts.set(value, count - 1);
    else {
      this.#counts.delete(value);
      this.#changed();
    }
  }

  #changed(): void {
    this.#values = [...this.#counts.keys()];
    // 32 bits that may wrap, RFC 1982; more than one change a second makes it run ahead of the clock.
    this.#serial = Math.max((this.#serial + 1) >>> 0, this.#clockSerial());
  }

  #clockSerial(): number {
    return Math.floor(this.now() / 1000) >>> 0;
  }
}
