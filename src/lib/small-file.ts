// Keys, secrets and certificates: files of a known modest size, read whole and at once.

import { readFileSync, statSync } from "node:fs";

/**
 * The file's bytes as latin1 text.
 * @param what it holds, for messages: "key"
 * @throws Error of the file system, or for what is too large or no file
 */
export function readSmallFile(path: string, limitBytes: number, what: string): string {
  const stats = statSync(path);
  // A fifo or a device would block, and for ever.
  if (!stats.isFile()) throw new Error("it is not a file");
  if (stats.size > limitBytes) throw new Error(`it has ${stats.size} bytes, more than any ${what} (${limitBytes})`);
  return readFileSync(path, "latin1");
}
