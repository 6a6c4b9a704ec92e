// Both directions of a large transfer: a writer that sends the pattern as fast as the socket takes it, and a check of what
// arrives. Shared by the pod and the client, because either sends in one scenario and receives in another.

import type { Socket } from "bun";
import { Pattern } from "./pattern.ts";

/** compare: with the pattern, cheap. hash: SHA-256 as well, made at both ends. */
export type Check = "compare" | "hash";

export class PatternWriter {
  sent = 0;
  readonly #pattern = new Pattern();
  readonly #hash: Bun.CryptoHasher | null;
  #piece: Uint8Array | null = null;

  constructor(private readonly total: number, check: Check) {
    this.#hash = check === "hash" ? new Bun.CryptoHasher("sha256") : null;
  }

  /** Writes until the socket takes no more; call it again when the socket has drained. @returns whether all is sent */
  write(socket: Socket<unknown>): boolean {
    for (;;) {
      if (this.#piece === null || this.#piece.length === 0) {
        this.#piece = this.#pattern.next(this.total);
        if (this.#piece === null) return true;
        this.#hash?.update(this.#piece);
      }
      const taken = socket.write(this.#piece);
      if (taken < 0) return false;
      this.sent += taken;
      this.#piece = this.#piece.subarray(taken);
      if (this.#piece.length > 0) return false;
    }
  }

  /** Of everything so far; null without hashing. */
  get sha256(): string | null {
    return this.#hash?.copy().digest("hex") ?? null;
  }
}

export class PatternReader {
  received = 0;
  isExact = true;
  readonly #pattern = new Pattern();
  readonly #hash: Bun.CryptoHasher | null;

  constructor(check: Check) {
    this.#hash = check === "hash" ? new Bun.CryptoHasher("sha256") : null;
  }

  read(bytes: Buffer): void {
    this.received += bytes.length;
    if (this.isExact) this.isExact = this.#pattern.compare(bytes);
    this.#hash?.update(bytes);
  }

  /** Of everything so far; null without hashing. */
  get sha256(): string | null {
    return this.#hash?.copy().digest("hex") ?? null;
  }
}
