// The bytes of an open file: read whole when they are few, else a stream that reads as the client does. Both close the file.
//
// Invariant: exactly the announced number of bytes, or an error. A file that became shorter meanwhile cuts the connection;
// nothing is padded, and what was appended is not sent.

import { read } from "node:fs";
import { RouteError } from "../errors.ts";
import { closeFile, type OpenFile } from "./open-file.ts";

/** Up to here a file is one buffer, and gets a Content-Length from Bun.serve. */
export const WHOLE_BYTES = 64 * 1024;
/** At most this much of a file is in memory for one client. Twice as much is not faster. */
const CHUNK_BYTES = 128 * 1024;

/** @throws RouteError unavailable when the file became shorter, or cannot be read */
export async function readWhole(file: OpenFile, first: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
  try {
    const bytes = Buffer.allocUnsafeSlow(length);
    for (let at = 0; at < length;) at += await readSome(file, bytes.subarray(at), first + at);
    return bytes;
  } catch (error) {
    throw new RouteError("unavailable", "cannot read a file to its end", { cause: error });
  } finally {
    closeFile(file);
  }
}

/** The file is closed when the stream ends, fails, or is cancelled: it must be read or cancelled. */
export function streamFile(file: OpenFile, first: number, length: number): ReadableStream<Uint8Array> {
  const reading = new FileReading(file, first, first + length);
  // Nothing is read before the client asks for it.
  return new ReadableStream({ pull: (controller) => reading.pull(controller), cancel: () => reading.cancel() }, { highWaterMark: 0 });
}

/** One file on its way to one client. Its descriptor is closed once, and never while a read is under way: the number would be another file's. */
class FileReading {
  #isReading = false;
  #isCancelled = false;

  constructor(private readonly file: OpenFile, private at: number, private readonly end: number) {}

  /** Over HTTP/2, Bun stalls on a pull that enqueues at once; this one always waits for the disk's thread. */
  async pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    const chunk = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, this.end - this.at));
    this.#isReading = true;
    const outcome = await readSome(this.file, chunk, this.at).catch((error: Error) => error);
    this.#isReading = false;
    if (this.#isCancelled) return closeFile(this.file);
    if (outcome instanceof Error) {
      closeFile(this.file);
      return controller.error(outcome);
    }
    this.at += outcome;
    controller.enqueue(chunk.subarray(0, outcome));
    if (this.at < this.end) return;
    closeFile(this.file);
    controller.close();
  }

  cancel(): void {
    this.#isCancelled = true;
    if (!this.#isReading) closeFile(this.file);
  }
}

/** @returns at least 1 @throws when the file ends here */
function readSome(file: OpenFile, into: Uint8Array, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(file.fd, into, 0, into.length, position, (error, bytes) => {
      if (error !== null) reject(error);
      else if (bytes === 0) reject(new Error("the file became shorter"));
      else resolve(bytes);
    });
  });
}
