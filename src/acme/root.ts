// The root that a CA's own server is trusted by, where it is none of the well-known ones.

import { readFileSync } from "node:fs";
import { fileFault } from "../lib/file-fault.ts";

/** PEM. @throws Error with the path in its message */
export function readRoot(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new Error(`cannot read the root certificate of the ACME server ${file}: ${fileFault(cause)}`, { cause });
  }
}
