// Request ids: unique over processes and restarts, cheap to make, safe to write anywhere.

import { randomBytes } from "node:crypto";

const PLAIN = /^[A-Za-z0-9._-]{1,64}$/;

/** The last two digits. */
const DIGITS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

export class RequestIds {
  readonly #process = randomBytes(6).toString("hex");
  #count = 0;
  /** What the next ids begin with. */
  #start = "";

  next(): string {
    this.#count = (this.#count + 1) >>> 0;
    const last = this.#count & 0xff;
    if (last === 0 || this.#start === "") this.#start = this.#process + (this.#count >>> 8).toString(16).padStart(6, "0");
    return this.#start + DIGITS[last];
  }

  /** An id that came from a trusted proxy, when it is one. */
  keep(given: string | undefined, own: string): string {
    return given !== undefined && PLAIN.test(given) ? given : own;
  }
}
