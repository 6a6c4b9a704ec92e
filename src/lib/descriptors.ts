// Whether this process may open anything at all. Bun reports a socket that it could not open for want of a descriptor as a refused
// connection (Bun 1.4.5), which would be somebody else's fault; so whoever fails to connect asks here.

import { closeSync, openSync, readFileSync } from "node:fs";

/** We could not open a connection, whoever is at the other end: that says nothing about a server. */
export class TooManyFilesError extends Error { override name = "TooManyFilesError"; }

/** Tries: some microseconds, for when something has failed already. False at the limit of open files, of the process or of the machine. */
export function hasFreeDescriptor(): boolean {
  try {
    closeSync(openSync("/dev/null", "r"));
    return true;
  } catch (error) {
    // Any other failure is one of the file.
    return !["EMFILE", "ENFILE"].includes((error as NodeJS.ErrnoException).code ?? "");
  }
}

/** How many files this process may have open; Bun has raised it as far as it may go. null: unlimited, or not known here. */
export function descriptorLimit(): number | null {
  try {
    const [, limit] = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
    return limit === undefined ? null : Number(limit);
  } catch {
    return null; // No Linux, or no /proc.
  }
}
