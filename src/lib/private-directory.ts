// Directories of keys and of what goes with them: for their owner only.

import { accessSync, constants, statSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { makeFault, writeFault } from "./file-fault.ts";

/** Makes it where it is not there, with those above it. @throws Error with its path and what is in the way */
export async function makePrivateDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new Error(`cannot make the directory ${path}: ${makeFault(cause)}`, { cause });
  }
}

/** Why nothing could be kept at `path`, which need not be there yet; null: it could. */
export function storageFault(path: string): string | null {
  try {
    if (!statSync(path).isDirectory()) return "is not a directory";
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
    return null;
  } catch (error) {
    const above = dirname(path);
    return (error as NodeJS.ErrnoException).code === "ENOENT" && above !== path ? storageFault(above) : writeFault(error);
  }
}
