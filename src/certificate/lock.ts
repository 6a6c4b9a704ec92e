// One process at a time. The lock is one of the kernel on a file, so it ends with its holder however that ends, and it holds
// between containers that share a directory. SQLite is how Bun reaches such locks on every system; the file stays empty.

import { Database } from "bun:sqlite";

/** Between two attempts at a lock that another holds; what it waits for takes seconds. */
const ATTEMPT_MS = 100;

/**
 * Runs `job` while no other process (and nothing else in this one) holds the lock on `path`.
 * @throws Error when the file cannot be made or locked; the signal's reason when it ends waiting; what `job` throws
 */
export async function withLock<T>(path: string, signal: AbortSignal, job: () => Promise<T>): Promise<T> {
  using database = new Database(path, { create: true, readwrite: true });
  while (!locked(database)) await attemptPause(signal);
  return await job(); // Closing the database gives the lock back.
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
