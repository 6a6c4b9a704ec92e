// Bodies for the compressors, and the way back: decoders that show what has arrived so far, as a client's would.

import type { Transform } from "node:stream";
import { createBrotliDecompress, createGunzip, createZstdDecompress } from "node:zlib";
import type { Encoding } from "../../src/compression/encoding.ts";

/** About `bytes` of JSON records, the same each time. */
export function records(bytes: number): Uint8Array<ArrayBuffer> {
  const rows: string[] = [];
  for (let size = 0, seed = 7; size < bytes;) {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    rows.push(JSON.stringify({ id: rows.length, name: `user-${seed >>> 20}`, address: `10.0.${(seed >>> 8) & 255}.${seed & 255}`, running: seed % 2 === 0, load: (seed >>> 12) / 1000 }));
    size += (rows.at(-1)?.length ?? 0) + 1;
  }
  return new TextEncoder().encode(`[${rows.join(",")}]`);
}

/** Bytes that do not get shorter. */
export function noise(bytes: number): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at += 65_536) crypto.getRandomValues(all.subarray(at, at + 65_536));
  return all;
}

/** `body` in chunks, as they are asked for. */
export function streamOf(body: Uint8Array, chunkBytes: number): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= body.length) return controller.close();
      controller.enqueue(body.subarray(at, at += chunkBytes));
    },
  });
}

/** A source that a test pushes into. */
export class PushedSource {
  cancelled: unknown = null;
  asked = 0;
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  readonly stream = new ReadableStream<Uint8Array>({
    start: (controller) => { this.#controller = controller; },
    pull: () => { this.asked += 1; },
    cancel: (reason) => { this.cancelled = reason ?? "no reason"; },
  }, { highWaterMark: 1 });

  push(text: string): void {
    this.#controller.enqueue(new TextEncoder().encode(text));
  }

  end(): void {
    this.#controller.close();
  }

  fail(error: Error): void {
    this.#controller.error(error);
  }
}

/** Decodes as it comes. */
export class Decoder {
  text = "";
  bytes = 0;
  readonly #native: Transform;
  #waiters: Array<() => void> = [];

  constructor(encoding: Encoding) {
    this.#native = { gzip: createGunzip, br: createBrotliDecompress, zstd: createZstdDecompress }[encoding]() as unknown as Transform;
    this.#native.on("data", (chunk: Buffer) => {
      this.bytes += chunk.length;
      this.text += chunk.toString("latin1");
      for (const wake of this.#waiters.splice(0)) wake();
    });
    this.#native.on("error", () => {});
  }

  write(chunk: Uint8Array): void {
    this.#native.write(chunk);
  }

  /** Resolves when the decoded text ends so; a test's own time limit is the deadline. */
  async until(end: string): Promise<void> {
    while (!this.text.endsWith(end)) await new Promise<void>((resolve) => { this.#waiters.push(resolve); });
  }

  close(): void {
    this.#native.destroy();
  }
}
