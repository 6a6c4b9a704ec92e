// The content codings that we make, and what a compressor of each may cost. All of it is Bun's native code, by way of
// node:zlib: CompressionStream knows neither levels nor flushing.
//
// Order and levels were chosen by CPU time (100 KiB of JSON records, collected, one core; nginx's gzip 5 for comparison:
// 20.2 kB in 1.08 ms): zstd 3 makes 20.6 kB in 0.2 ms, gzip 5 20.1 kB in 0.8 ms (6: 19.9 kB in 1.1 ms), brotli 4 20.2 kB in
// 1.0 ms. JavaScript and HTML come out the same within 2 %. Brotli below 5 is gzip at a higher price, hence the last place;
// from 5 on it is 6 % smaller, and takes twice the time.

import { constants, createBrotliCompress, createGzip, createZstdCompress } from "node:zlib";
import type { Transform } from "node:stream";

export type Encoding = "gzip" | "br" | "zstd";

/** In the order of preference, for clients that like them equally. */
export const ENCODINGS: readonly Encoding[] = ["zstd", "gzip", "br"];

export type Levels = Readonly<Record<Encoding, number>>;

/** The lowest and the highest; brotli calls it quality. */
export const LEVEL_BOUNDS: Readonly<Record<Encoding, readonly [number, number]>> = { zstd: [1, 19], gzip: [1, 9], br: [0, 11] };

export const DEFAULT_LEVELS: Levels = { zstd: 3, gzip: 5, br: 4 };

/** A native compressor as a stream. */
export type Compressor = Transform & {
  /** Everything written so far comes out. @param kind one of {@link FLUSH} */
  flush(kind: number, done: () => void): void;
};

/** What ends the pending block without ending the body. */
export const FLUSH: Readonly<Record<Encoding, number>> = {
  gzip: constants.Z_SYNC_FLUSH, br: constants.BROTLI_OPERATION_FLUSH, zstd: constants.ZSTD_e_flush,
};

/**
 * @param isLongLived for event streams, of which many are open while little is said: windows of 4 to 16 KiB, in which the
 *   lines before this one still are. 110 KiB for zstd, 190 KiB for gzip, 310 KiB for brotli; else 0.5 to 1.6 MiB
 * @throws RangeError for a level out of bounds
 */
export function makeCompressor(encoding: Encoding, level: number, isLongLived: boolean): Compressor {
  checkLevel(encoding, level);
  if (encoding === "gzip") return createGzip(isLongLived ? { level, windowBits: 12, memLevel: 4, chunkSize: 4096 } : { level }) as unknown as Compressor;
  if (encoding === "br") return createBrotliCompress(isLongLived ? { params: brotli(Math.min(level, 3), 14), chunkSize: 4096 } : { params: brotli(level, 17) }) as unknown as Compressor;
  return createZstdCompress(isLongLived ? { params: zstd(level, 14, 12), chunkSize: 4096 } : { params: zstd(level, 17, 14) }) as unknown as Compressor;
}

/** zstd and brotli would take any number for their highest level. @throws RangeError */
export function checkLevel(encoding: Encoding, level: number): void {
  const [lowest, highest] = LEVEL_BOUNDS[encoding];
  if (!Number.isInteger(level) || level < lowest || level > highest) throw new RangeError(`level ${level} of ${encoding} is not in ${lowest}..${highest}`);
}

/** @param window its size as a power of two; by default it would be 4 MiB */
export function brotli(quality: number, window: number): Record<number, number> {
  return { [constants.BROTLI_PARAM_QUALITY]: quality, [constants.BROTLI_PARAM_LGWIN]: window, [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT };
}

/**
 * Level 3 would take 850 KiB of tables before the first byte, however small its window is told to be.
 * RFC 9659 section 3: a window must not be larger than 8 MiB.
 */
function zstd(level: number, window: number, tables: number): Record<number, number> {
  return {
    [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_windowLog]: window,
    [constants.ZSTD_c_hashLog]: Math.min(window, tables + 1), [constants.ZSTD_c_chainLog]: tables,
  };
}
