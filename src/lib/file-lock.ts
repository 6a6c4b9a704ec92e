// One process at a time. The lock is one of the kernel on a file, so it ends with its holder however that ends, and it holds
// between containers that share a directory. SQLite is how Bun reaches such locks on every system; the file stays empty.

import { Database } from "bun:sqlite";

/** Between two attempts at a lock that another holds; what it waits for takes seconds. */
const ATTEMPT_MS = 100;

/**
 * Waits until no other process (and nothing else in this one) holds the lock on `path`, and holds it until it is disposed of.
 * @throws Error when the file cannot be made or locked; the signal's reason when it ends waiting
 */
export async function lockFile(path: string, signal: AbortSignal): Promise<Disposable> {
  const database = new Database(path, { create: true, readwrite: true });
  try {
    while (!locked(database)) await attemptPause(signal);
    return database; // Closing it gives the lock back.
  } catch (error) {
    database.close();
    throw error;
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
