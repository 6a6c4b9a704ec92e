// A body in a file of the disk store: too large for memory, so it is read while it is sent. What its checksum says is known
// at the last byte only: a body that is wrong ends in an error, never as if it was whole.

import { type FileHandle, open } from "node:fs/promises";
import { crc32 } from "node:zlib";

const CHUNK_BYTES = 256 * 1024;

export class FileBody {
  #isBroken = false;

  /** @param offset where it begins in the file. @param forget called when it turns out not to be what was stored */
  constructor(readonly path: string, readonly offset: number, readonly length: number, private readonly checksum: number, private readonly forget: () => void) {}

  /**
   * Bytes `from` to `to`, both included, as a stream.
   * @returns null when the file is gone or is not as long as it should be
   */
  async stream(from = 0, to = this.length - 1): Promise<ReadableStream<Uint8Array> | null> {
    const file = await this.#open();
    if (file === null) return null;
    const isWhole = from === 0 && to === this.length - 1;
    let at = from;
    let sum = 0;
    return new ReadableStream<Uint8Array>({
      pull: async (controller) => {
        try {
          const chunk = await this.#read(file, at, Math.min(CHUNK_BYTES, to + 1 - at));
          at += chunk.byteLength;
          sum = isWhole ? crc32(chunk, sum) : 0;
          const isLast = at > to;
          if (isLast) await file.close();
          // Before the last bytes are given away.
          if (isLast && isWhole && sum !== this.checksum) throw new Error("a stored body has changed on the disk");
          controller.enqueue(chunk);
          if (isLast) controller.close();
        } catch (error) {
          await file.close().catch(() => {}); // It may be closed already.
          this.#broken();
          controller.error(error);
        }
      },
      cancel: () => file.close(),
    }, { highWaterMark: 0 });
  }

  /** All of it. @returns null when it is not what was stored */
  async whole(): Promise<Uint8Array | null> {
    const file = await this.#open();
    if (file === null) return null;
    try {
      const bytes = await this.#read(file, 0, this.length);
      if (crc32(bytes) === this.checksum) return bytes;
      this.#broken();
      return null;
    } catch {
      this.#broken();
      return null; // Unreadable is as good as gone.
    } finally {
      await file.close();
    }
  }

  #broken(): void {
    this.#isBroken = true;
    this.forget();
  }

  async #open(): Promise<FileHandle | null> {
    if (this.#isBroken) return null;
    const file = await open(this.path, "r").catch(() => null); // Gone, or no more handles: it is fetched anew.
    if (file === null) return null;
    const size = await file.stat().then((stat) => stat.size, () => -1);
    if (size === this.offset + this.length) return file;
    await file.close();
    this.#broken();
    return null;
  }

  async #read(file: FileHandle, from: number, bytes: number): Promise<Uint8Array> {
    const chunk = new Uint8Array(bytes);
    for (let at = 0; at < bytes;) {
      const { bytesRead } = await file.read(chunk, at, bytes - at, this.offset + from + at);
      if (bytesRead === 0) throw new Error("a stored body is shorter than it was");
      at += bytesRead;
    }
    return chunk;
  }
}
