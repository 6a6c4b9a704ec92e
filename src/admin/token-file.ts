// The file that the admin API's token stands in.

import { fileFault } from "../lib/file-fault.ts";
import { readSmallFile } from "../lib/small-file.ts";

const LIMIT_BYTES = 4096;

/** Without the white space around it. @throws Error with the path in its message */
export function readTokenFile(file: string): string {
  try {
    return readSmallFile(file, LIMIT_BYTES, "token").trim();
  } catch (cause) {
    throw new Error(`cannot read the admin token ${file}: ${fileFault(cause)}`, { cause });
  }
}
