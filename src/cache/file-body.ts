// A body in a file of the disk store: too large for memory, so it is read while it is sent. What its checksum says is known
// at the last byte only: a body that is wrong ends in an error, never as if it was whole.
//
// The file is opened for each piece: a client that stops in the middle of a body, and is never heard of again, holds nothing.

import { open, stat } from "node:fs/promises";
import { crc32 } from "node:zlib";

const PIECE_BYTES = 256 * 1024;

export class FileBody {
  #isBroken = false;

  /** @param offset where it begins in the file. @param forget called when it turns out not to be what was stored */
  constructor(readonly path: string, readonly offset: number, readonly length: number, private readonly checksum: number, private readonly forget: () => void) {}

  /**
   * Bytes `from` to `to`, both included, as a stream.
   * @returns null when the file is gone or is not as long as it should be
   */
  async stream(from = 0, to = this.length - 1): Promise<ReadableStream<Uint8Array> | null> {
    if (!await this.#isThere()) return null;
    const isWhole = from === 0 && to === this.length - 1;
    let at = from;
    let sum = 0;
    let isCancelled = false;
    return new ReadableStream<Uint8Array>({
      pull: async (controller) => {
        const piece = await this.#read(at, Math.min(PIECE_BYTES, to + 1 - at));
        if (isCancelled) return;
        at += piece?.byteLength ?? 0;
        if (isWhole && piece !== null) sum = crc32(piece, sum);
        // Before the last bytes are given away.
        if (piece === null || (isWhole && at > to && sum !== this.checksum)) return controller.error(this.#broken());
        controller.enqueue(piece);
        if (at > to) controller.close();
      },
      cancel: () => { isCancelled = true; },
    }, { highWaterMark: 0 });
  }

  /** All of it. @returns null when it is not what was stored */
  async whole(): Promise<Uint8Array | null> {
    const bytes = await this.#isThere() ? await this.#read(0, this.length) : null;
    if (bytes !== null && crc32(bytes) === this.checksum) return bytes;
    this.#broken();
    return null;
  }

  async #isThere(): Promise<boolean> {
    if (this.#isBroken) return false;
    const size = await stat(this.path).then((found) => found.size, () => -1);
    if (size !== this.offset + this.length) this.#broken();
    return !this.#isBroken;
  }

  #broken(): Error {
    this.#isBroken = true;
    this.forget();
    return new Error("a stored body has changed on the disk");
  }

  /** @returns null when there is less, or it cannot be read */
  async #read(from: number, bytes: number): Promise<Uint8Array | null> {
    const file = await open(this.path, "r").catch(() => null); // Gone, or no more handles: it is fetched anew.
    if (file === null) return null;
    try {
      const piece = new Uint8Array(bytes);
      for (let at = 0; at < bytes;) {
        const { bytesRead } = await file.read(piece, at, bytes - at, this.offset + from + at);
        if (bytesRead === 0) return null;
        at += bytesRead;
      }
      return piece;
    } catch {
      return null; // Unreadable is as good as gone.
    } finally {
      await file.close();
    }
  }
}
