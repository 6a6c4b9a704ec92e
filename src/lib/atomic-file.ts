// A file is written so that whoever looks at it, at any time and after any crash, finds the old content or the new, whole.
// POSIX: rename() and link() act at once; only an fsync of the file before it, and of the directory after it, makes it last.

import { copyFile, link, open, readdir, rename, rm, stat, unlink, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";

/** Of files being written; one that is left over was its writer's last. */
const TEMPORARY = /^\.route-[0-9a-f-]{36}\.tmp$/;
/** No write takes so long: what is older belongs to nobody. */
const ABANDONED_MS = 60_000;

/** Read and written by their owner only. */
export const PRIVATE = 0o600;
export const PUBLIC = 0o644;

/**
 * @param modifiedMs when the file is to count as changed, Unix ms; null: now
 * @throws Error of the file system; the old file is as it was, unless only its directory could not be synced.
 */
export async function writeAtomically(path: string, text: string, mode: number = PUBLIC, modifiedMs: number | null = null): Promise<void> {
  await place(path, text, mode, rename, modifiedMs);
}

/**
 * Makes a file that must not be there yet: of several processes, one makes it.
 * @returns false when it was there. @throws Error of the file system
 */
export async function createAtomically(path: string, text: string, mode: number = PUBLIC): Promise<boolean> {
  try {
    await place(path, text, mode, async (temporary) => {
      await link(temporary, path);
      await unlink(temporary);
    });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** @returns false when it was not there. @throws Error of the file system */
export async function removeDurably(path: string): Promise<boolean> {
  try {
    await unlink(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
  await syncDirectory(dirname(path));
  return true;
}

/**
 * Keeps a file under a second name beside it, so that what follows can be undone ({@link putBack}).
 * @returns the second name, to be removed in the end; null: there is no such file
 * @throws Error of the file system
 */
export async function setAside(path: string): Promise<string | null> {
  const aside = temporaryBeside(path);
  try {
    await link(path, aside);
    return aside;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
  }
  // A file system without second names.
  const { atime, mtime } = await stat(path);
  await copyFile(path, aside);
  await utimes(aside, atime, mtime);
  return aside;
}

/** @param aside null: nothing was there, and nothing is again. @throws Error of the file system */
export async function putBack(path: string, aside: string | null): Promise<void> {
  if (aside === null) return void await removeDurably(path);
  await rename(aside, path);
  await syncDirectory(dirname(path));
}

/** Removes what crashed writers left behind. Never throws: it is tidiness, nothing hangs on it. */
export async function removeAbandoned(directory: string, now: number = Date.now()): Promise<void> {
  const names = await readdir(directory).catch(() => []);
  for (const name of names.filter((name) => TEMPORARY.test(name))) {
    const path = join(directory, name);
    const stats = await stat(path).catch(() => null);
    if (stats !== null && now - stats.mtimeMs > ABANDONED_MS) await rm(path, { force: true }).catch(() => {});
  }
}

async function place(path: string, text: string, mode: number, put: (from: string, to: string) => Promise<void>, modifiedMs: number | null = null): Promise<void> {
  const temporary = temporaryBeside(path);
  try {
    await writeDurably(temporary, text, mode, modifiedMs);
    await put(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {}); // The first failure is the one to tell.
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** In the same directory: a rename is atomic within one file system only. */
function temporaryBeside(path: string): string {
  return join(dirname(path), `.route-${crypto.randomUUID()}.tmp`);
}

async function writeDurably(path: string, text: string, mode: number, modifiedMs: number | null): Promise<void> {
  const file = await open(path, "wx", mode);
  try {
    await file.writeFile(text);
    if (modifiedMs !== null) await file.utimes(modifiedMs / 1000, modifiedMs / 1000);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } catch (error) {
    // Some file systems (of Windows and networks) know no such thing.
    if ((error as NodeJS.ErrnoException).code !== "EINVAL") throw error;
  } finally {
    await directory.close();
  }
}
