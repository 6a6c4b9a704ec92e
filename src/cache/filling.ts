// A body on its way from the upstream into the cache, and to everyone who waits for it at the same time. It belongs to the
// cache: clients come and go, it is read to its end. What turns out too large to be stored goes on to the one client that
// it was fetched for, at that client's pace, and nobody else has joined it: others join only what is known to fit.
//
// Invariant: what is held never exceeds the object limit, and all of it is reserved in the memory store.

/** What a reader may have before it when nothing is kept any more. */
const HIGH_WATER_BYTES = 64 * 1024;

export interface Room {
  reserve(bytes: number): boolean;
  release(bytes: number): void;
}

/** How it ended: whole, or outgrown, or cut. */
export type Filled = { readonly kind: "whole"; readonly bytes: Uint8Array } | { readonly kind: "outgrown" } | { readonly kind: "cut"; readonly error: Error };

/** The upstream ended before the length that it had announced. */
export class CutError extends Error { override name = "CutError"; }

type Reader = ReadableStreamDefaultController<Uint8Array>;
/** As much of a stream's reader as is needed. */
type Source = { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>; cancel(): Promise<void> };

export class Filling {
  readonly #source: Source;
  readonly #readers = new Set<Reader>();
  /** All there is so far, for those who come later; one buffer when the length is known. */
  readonly #whole: Uint8Array | null;
  #chunks: Uint8Array[] = [];
  #received = 0;
  #reserved = 0;
  #isPassing = false;
  #isOver = false;
  #wanted: (() => void) | null = null;

  /**
   * @param length that was announced, which must have been reserved already; null when it is not known
   * @param limitBytes of what is kept
   * @param ended called once, as soon as it is known how it ends, and before any reader sees the end
   */
  constructor(source: ReadableStream<Uint8Array>, private readonly length: number | null, private readonly limitBytes: number,
    private readonly room: Room, private readonly ended: (filled: Filled) => void) {
    this.#source = source.getReader();
    this.#whole = length === null ? null : new Uint8Array(length);
    this.#reserved = length ?? 0;
  }

  /** Others may have it too: it is known to fit. */
  get isShared(): boolean {
    return this.length !== null;
  }

  /** A stream of the whole body; pushed into, so that it never answers a pull at once (Bun's HTTP/2 stalls on those). */
  join(): ReadableStream<Uint8Array> {
    let own: Reader;
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        own = controller;
        if (this.#whole !== null && this.#received > 0) controller.enqueue(this.#whole.subarray(0, this.#received));
        this.#readers.add(controller);
      },
      pull: () => this.#resume(),
      cancel: () => {
        this.#readers.delete(own);
        this.#resume();
      },
    }, { highWaterMark: HIGH_WATER_BYTES, size: (chunk) => chunk?.byteLength ?? 0 });
  }

  /** Reads to the end. To be called once, after the first reader has joined. */
  async read(): Promise<void> {
    try {
      for (let next = await this.#source.read(); !next.done; next = await this.#source.read()) {
        this.#take(next.value ?? new Uint8Array());
        if (this.#isPassing && !await this.#isWanted()) return this.#finish({ kind: "outgrown" });
      }
      if (this.length !== null && this.#received < this.length) throw new CutError("the upstream cut its answer");
      this.#finish(this.#isPassing ? { kind: "outgrown" } : { kind: "whole", bytes: this.#collected() });
    } catch (error) {
      this.#finish({ kind: "cut", error: error instanceof Error ? error : new CutError(String(error)) });
    }
  }

  #take(chunk: Uint8Array): void {
    let part = chunk;
    if (this.#whole !== null) {
      if (this.#received + chunk.byteLength > this.#whole.byteLength) throw new CutError("the upstream sent more than it had announced");
      this.#whole.set(chunk, this.#received);
      part = this.#whole.subarray(this.#received, this.#received + chunk.byteLength);
    } else if (!this.#isPassing) this.#keep(chunk);
    this.#received += chunk.byteLength;
    for (const reader of this.#readers) reader.enqueue(part);
  }

  #keep(chunk: Uint8Array): void {
    const { byteLength } = chunk;
    if (this.#received + byteLength <= this.limitBytes && this.room.reserve(byteLength)) {
      this.#reserved += byteLength;
      this.#chunks.push(chunk);
      return;
    }
    // What the reader has not taken yet is still there; it stays reserved until it has.
    this.#isPassing = true;
    this.#chunks = [];
    this.ended({ kind: "outgrown" });
  }

  /** Waits until the reader has room. @returns false when there is none any more, and the rest is not read */
  async #isWanted(): Promise<boolean> {
    for (;;) {
      const [reader] = this.#readers;
      if (reader === undefined) {
        await this.#source.cancel().catch(() => {}); // It may have failed by itself just now.
        return false;
      }
      if ((reader.desiredSize ?? 1) > 0) {
        this.#release();
        return true;
      }
      await new Promise<void>((resolve) => { this.#wanted = resolve; });
    }
  }

  /** A reader has taken some, or left. */
  #resume(): void {
    this.#wanted?.();
    this.#wanted = null;
    if (this.#isOver) this.#closeReaders();
  }

  #collected(): Uint8Array {
    if (this.#whole !== null) return this.#whole;
    const whole = new Uint8Array(this.#received);
    let at = 0;
    for (const chunk of this.#chunks) {
      whole.set(chunk, at);
      at += chunk.byteLength;
    }
    return whole;
  }

  #finish(filled: Filled): void {
    this.#isOver = true;
    this.#chunks = [];
    if (filled.kind === "cut") {
      for (const reader of this.#readers) reader.error(filled.error);
      this.#readers.clear();
    }
    if (this.#isCaughtUp()) this.#release();
    // First the store, then the readers: whoever has seen the end finds it stored.
    if (!this.#isPassing) this.ended(filled);
    this.#closeReaders();
  }

  /** What slow readers have before them stays reserved until they have taken it. */
  #closeReaders(): void {
    for (const reader of this.#readers) {
      if ((reader.desiredSize ?? 1) <= 0) continue;
      reader.close();
      this.#readers.delete(reader);
    }
    if (this.#readers.size === 0) this.#release();
  }

  #isCaughtUp(): boolean {
    for (const reader of this.#readers) if ((reader.desiredSize ?? 1) <= 0) return false;
    return true;
  }

  #release(): void {
    this.room.release(this.#reserved);
    this.#reserved = 0;
  }
}
