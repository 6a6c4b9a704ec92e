// The root that a CA's own server is trusted by, where it is none of the well-known ones.

import { fileFault } from "../lib/file-fault.ts";
import { readSmallFile } from "../lib/small-file.ts";

const LIMIT_BYTES = 1024 * 1024;

/** PEM. @throws Error with the path in its message */
export function readRoot(file: string): string {
  try {
    return readSmallFile(file, LIMIT_BYTES, "root certificate");
  } catch (cause) {
    throw new Error(`cannot read the root certificate of the ACME server ${file}: ${fileFault(cause)}`, { cause });
  }
}
