// Request ids: unique over processes and restarts, cheap to make, safe to write anywhere.

import { randomBytes } from "node:crypto";

const PLAIN = /^[A-Za-z0-9._-]{1,64}$/;

export class RequestIds {
  readonly #process = randomBytes(6).toString("hex");
  #count = 0;

  next(): string {
    this.#count = (this.#count + 1) >>> 0;
    return this.#process + (0x1_0000_0000 + this.#count).toString(16).slice(1);
  }

  /** An id that came from a trusted proxy, when it is one. */
  keep(given: string | undefined, own: string): string {
    return given !== undefined && PLAIN.test(given) ? given : own;
  }
}
