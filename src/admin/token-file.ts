// The file that the admin API's token stands in.

import { readFileSync } from "node:fs";
import { fileFault } from "../lib/file-fault.ts";

/** Without the white space around it. @throws Error with the path in its message */
export function readTokenFile(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (cause) {
    throw new Error(`cannot read the admin token ${file}: ${fileFault(cause)}`, { cause });
  }
}
