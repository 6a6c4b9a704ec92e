// Directories of keys and of what goes with them: for their owner only.

import { mkdir } from "node:fs/promises";
import { makeFault } from "./file-fault.ts";

/** Makes it where it is not there, with those above it. @throws Error with its path and what is in the way */
export async function makePrivateDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new Error(`cannot make the directory ${path}: ${makeFault(cause)}`, { cause });
  }
}
