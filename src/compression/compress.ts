// A body through a native compressor: a collected one at once, a streamed one as it comes. The work is done by Bun's
// threads; what takes less than a tenth of a millisecond is done on the spot, where the way to a thread would cost more.
//
// Invariant: backpressure holds both ways (the client does not read: the source is not read), and a body that was cut is
// cut for the client as well, never given a clean end. Whoever leaves first, the compressor is freed.

import { brotliCompress, brotliCompressSync, gzip, gzipSync, type InputType, zstdCompressSync, constants } from "node:zlib";
import { brotli, checkLevel, type Compressor, type Encoding, FLUSH, makeCompressor } from "./encoding.ts";

/** Up to these sizes compressing takes about 0.1 ms at the default levels: less than another thread costs. */
const ON_THE_SPOT_BYTES: Readonly<Record<Encoding, number>> = { zstd: 64 * 1024, gzip: 12 * 1024, br: 8 * 1024 };
/** Output that may wait for the client; the compressor holds as much again. */
const HIGH_WATER_BYTES = 32 * 1024;
const BODY_WINDOW = 18;

/**
 * A collected body, compressed whole.
 * @param level in LEVEL_BOUNDS
 * @throws RangeError for a level out of bounds
 */
export async function compressBytes(body: Uint8Array, encoding: Encoding, level: number): Promise<Uint8Array> {
  checkLevel(encoding, level);
  const onTheSpot = body.length <= ON_THE_SPOT_BYTES[encoding];
  if (encoding === "zstd") return onTheSpot ? zstdCompressSync(body, { params: { [constants.ZSTD_c_compressionLevel]: level } }) : Bun.zstdCompress(body, { level });
  // One output buffer that will do, so that there is one way to the thread and back.
  const options = encoding === "gzip" ? { level, chunkSize: outputBytes(body) } : { params: { ...brotli(level, BODY_WINDOW), [constants.BROTLI_PARAM_SIZE_HINT]: body.length }, chunkSize: outputBytes(body) };
  if (onTheSpot) return encoding === "gzip" ? gzipSync(body, options) : brotliCompressSync(body, options);
  return new Promise((resolve, reject) => {
    const compress = (encoding === "gzip" ? gzip : brotliCompress) as (input: InputType, options: object, done: (error: Error | null, output: Buffer) => void) => void;
    compress(body, options, (error, output) => (error === null ? resolve(output) : reject(error)));
  });
}

function outputBytes(body: Uint8Array): number {
  return Math.min(256 * 1024, Math.max(1024, body.length >> 1));
}

export type StreamOptions = {
  /**
   * What was written comes out at once whenever the source has nothing more at hand. For bodies of unknown length, which may
   * come line by line; a source that keeps the compressor busy is not flushed.
   */
  readonly flush: boolean;
  /** An event stream: open for long, with little said (see makeCompressor). */
  readonly isLongLived?: boolean;
  /** Called once, when the compressor is gone. */
  readonly closed?: () => void;
};

/**
 * A body compressed as it is read. Cancelling the result cancels the source; an error of the source is an error of the result.
 * @param level in LEVEL_BOUNDS
 * @throws RangeError for a level out of bounds; the body is then untouched
 */
export function compressStream(body: ReadableStream<Uint8Array>, encoding: Encoding, level: number, options: StreamOptions): ReadableStream<Uint8Array> {
  const compressor = makeCompressor(encoding, level, options.isLongLived ?? false);
  const passage = new CompressedPassage(body.getReader() as Source, compressor, options.flush ? FLUSH[encoding] : null, options.closed);
  return new ReadableStream({
    start: (controller) => passage.start(controller),
    pull: () => passage.resume(),
    cancel: (reason) => passage.cancel(reason),
  }, { highWaterMark: HIGH_WATER_BYTES, size: (chunk) => chunk?.byteLength ?? 0 });
}

/** Bun's streams have one type under two names, of which only one knows Bun's extensions. */
type Source = ReadableStreamDefaultReader<Uint8Array>;

/** One body between its source and its reader. Pushed, not pulled: over HTTP/2, Bun stalls on a pull that enqueues at once. */
class CompressedPassage {
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  #over = false;

  /** @param flush null: never before the end */
  constructor(private readonly source: Source, private readonly compressor: Compressor, private readonly flush: number | null,
    private readonly closed: (() => void) | undefined) {}

  start(controller: ReadableStreamDefaultController<Uint8Array>): void {
    this.#controller = controller;
    this.compressor.on("data", (chunk: Uint8Array) => {
      if (this.#over) return;
      controller.enqueue(chunk);
      if ((controller.desiredSize ?? 1) <= 0) this.compressor.pause();
    });
    this.compressor.on("end", () => { if (this.#end()) controller.close(); });
    this.compressor.on("error", (error) => this.#fail(error));
    this.#pump().catch((error: unknown) => this.#fail(error));
  }

  resume(): void {
    this.compressor.resume();
  }

  cancel(reason: unknown): void {
    if (this.#end()) this.#leave(reason);
  }

  /** Chunk by chunk: the next one is asked for while this one is compressed, and no third one before that is done. */
  async #pump(): Promise<void> {
    let next = this.#read();
    while (!this.#over) {
      const chunk = await next.chunk;
      if (chunk === null || this.#over) break;
      next = this.#read();
      await this.#write(chunk);
      if (this.flush !== null && !next.isAtHand && !this.#over) await this.#flush(this.flush);
    }
    if (!this.#over) this.compressor.end();
  }

  /** `isAtHand` becomes true when the chunk, or the end, is there. */
  #read(): { readonly chunk: Promise<Uint8Array | null>; isAtHand: boolean } {
    const reading = { chunk: this.source.read().then(({ done, value }) => (done ? null : value)), isAtHand: false };
    const arrived = (): void => { reading.isAtHand = true; };
    reading.chunk.then(arrived, arrived);
    return reading;
  }

  #write(chunk: Uint8Array): Promise<void> {
    return new Promise((resolve) => { this.compressor.write(chunk, () => resolve()); });
  }

  #flush(kind: number): Promise<void> {
    return new Promise((resolve) => { this.compressor.flush(kind, resolve); });
  }

  #fail(cause: unknown): void {
    if (!this.#end()) return;
    this.#controller.error(cause);
    this.#leave(cause);
  }

  #leave(reason: unknown): void {
    // It may be the source that failed; then there is nothing left to cancel.
    this.source.cancel(reason).catch(() => undefined);
  }

  /** @returns false when it was over already */
  #end(): boolean {
    if (this.#over) return false;
    this.#over = true;
    this.compressor.destroy();
    this.closed?.();
    return true;
  }
}
