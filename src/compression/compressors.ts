// All compressors of the process, counted. Each costs memory (100 KiB to 1.6 MiB, see encoding.ts) for as long as its body
// takes, and a slow client decides how long that is. Over the limit an answer goes out as it is, which every client takes.

import { compressBytes, compressStream, type StreamOptions } from "./compress.ts";
import type { Encoding } from "./encoding.ts";

export class Compressors {
  #open = 0;
  #refused = 0;

  /** @param limit how many may be open at once; 0 switches compression off */
  constructor(readonly limit: number) {}

  /** Open ones, for metrics. */
  get open(): number {
    return this.#open;
  }

  /** Answers that went out plain because of the limit, for metrics. */
  get refused(): number {
    return this.#refused;
  }

  /** As compressBytes; null when the limit is reached. */
  bytes(body: Uint8Array, encoding: Encoding, level: number): Promise<Uint8Array> | null {
    if (!this.#take()) return null;
    return compressBytes(body, encoding, level).finally(() => this.#give());
  }

  /** As compressStream; null when the limit is reached (the body is then untouched). */
  stream(body: ReadableStream<Uint8Array>, encoding: Encoding, level: number, options: Omit<StreamOptions, "closed">): ReadableStream<Uint8Array> | null {
    if (!this.#take()) return null;
    try {
      return compressStream(body, encoding, level, { ...options, closed: () => this.#give() });
    } catch (error) {
      this.#give();
      throw error;
    }
  }

  #take(): boolean {
    if (this.#open >= this.limit) {
      this.#refused += 1;
      return false;
    }
    this.#open += 1;
    return true;
  }

  #give(): void {
    this.#open -= 1;
  }
}
