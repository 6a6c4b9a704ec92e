// The bytes of a transfer, known at both ends: blocks of fixed random bytes, each beginning with its own number. Whoever
// receives them compares all of them with what they must be; a lost, doubled or exchanged piece cannot go unseen.

export const BLOCK_BYTES = 256 * 1024;

export class Pattern {
  readonly #block = makeBlock();
  #sent = 0;
  #compared = 0;

  /** The next piece of a text of `total` bytes, valid until the next call; null at its end. */
  next(total: number): Uint8Array | null {
    if (this.#sent >= total) return null;
    this.#stamp(this.#sent / BLOCK_BYTES);
    const piece = this.#block.subarray(0, Math.min(BLOCK_BYTES, total - this.#sent));
    this.#sent += piece.length;
    return piece;
  }

  /** Whether `bytes` are what comes next. */
  compare(bytes: Buffer): boolean {
    for (let at = 0; at < bytes.length;) {
      const from = this.#compared % BLOCK_BYTES;
      const length = Math.min(BLOCK_BYTES - from, bytes.length - at);
      this.#stamp(Math.floor(this.#compared / BLOCK_BYTES));
      if (bytes.compare(this.#block, from, from + length, at, at + length) !== 0) return false;
      at += length;
      this.#compared += length;
    }
    return true;
  }

  #stamp(number: number): void {
    this.#block.writeUInt32LE(number, 0);
  }
}

/** Always the same: xorshift32. */
function makeBlock(): Buffer {
  const words = new Uint32Array(BLOCK_BYTES / 4);
  let state = 0x9e3779b9;
  for (let index = 0; index < words.length; index += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return Buffer.from(words.buffer);
}
