// One process at a time. The lock is one of the kernel on a file, so it ends with its holder however that ends, and it holds
// between containers that share a directory. SQLite is how Bun reaches such locks on every system; the file stays empty.

import { Database } from "bun:sqlite";
import { accessSync, constants } from "node:fs";
import { dirname } from "node:path";
import { writeFault } from "./file-fault.ts";

/** Between two attempts at a lock that another holds; what it waits for takes seconds. */
const ATTEMPT_MS = 100;

/**
 * Waits until no other process (and nothing else in this one) holds the lock on `path`, and holds it until it is disposed of.
 * @throws Error with the path when the file cannot be made or locked; the signal's reason when it ends waiting
 */
export async function lockFile(path: string, signal: AbortSignal): Promise<Disposable> {
  const database = named(path, () => new Database(path, { create: true, readwrite: true }));
  try {
    while (!named(path, () => locked(database))) await attemptPause(signal);
    return database; // Closing it gives the lock back.
  } catch (error) {
    database.close();
    throw error;
  }
}

function named<T>(path: string, attempt: () => T): T {
  try {
    return attempt();
  } catch (cause) {
    throw new Error(`cannot lock ${path}: ${accessFault(path) ?? (cause as Error).message}`, { cause });
  }
}

/** SQLite says that it could not; the kernel says why. Not by opening the file: closing it again would end every lock on it that this process has. */
function accessFault(path: string): string | null {
  const toWrite = constants.R_OK | constants.W_OK;
  try {
    accessSync(path, toWrite);
    return null;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") return writeFault(error);
  }
  try {
    accessSync(dirname(path), toWrite | constants.X_OK);
    return null;
  } catch (error) {
    return writeFault(error);
  }
}

function locked(database: Database): boolean {
  try {
    database.run("BEGIN EXCLUSIVE");
    return true;
  } catch (error) {
    if ((error as { code?: string }).code === "SQLITE_BUSY") return false;
    throw error;
  }
}

async function attemptPause(signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { promise, resolve } = Promise.withResolvers<void>();
  const end = () => resolve();
  signal.addEventListener("abort", end, { once: true });
  const timer = setTimeout(end, ATTEMPT_MS);
  await promise;
  clearTimeout(timer);
  signal.removeEventListener("abort", end);
  signal.throwIfAborted();
}
