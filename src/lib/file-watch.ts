// Tells when the content behind a path may have changed: a rewrite, a rename over it, a swapped symlink (Kubernetes
// swaps `..data` in the directory of the path), a removal, an appearance. What to do with the new content is the
// caller's affair.
//
// Invariant: `onChange` is called only when the signature of a path (where it really points, inode, size, times)
// differs from the one last reported; a watcher that misses something is caught up with by the poll. Neither keeps the
// process alive.

import { type FSWatcher, realpathSync, statSync, watch } from "node:fs";
import { dirname, resolve } from "node:path";

export type FileWatchOptions = {
  /** Quiet time after the last event before the files are looked at, ms. */
  readonly debounceMs?: number;
  /** Safety net for file systems without events (NFS, some overlays), ms. */
  readonly pollMs?: number;
};

/**
 * Watches `paths` (they need not exist, nor their directories) until `close`.
 * An error thrown by `onChange` is the caller's bug and is not caught.
 */
export function watchFiles(
  paths: readonly string[],
  onChange: () => void,
  { debounceMs = 50, pollMs = 5000 }: FileWatchOptions = {},
): { close(): void } {
  const files = paths.map((path) => resolve(path));
  const watchers = new Map<string, DirectoryWatch>();
  let reported = files.map(signature).join("\n");
  let quiet: Timer | undefined;

  const look = () => {
    rewatch(directoriesOf(files), watchers, touched);
    const found = files.map(signature).join("\n");
    if (found === reported) return;
    reported = found;
    onChange();
  };
  const touched = () => {
    clearTimeout(quiet);
    quiet = setTimeout(look, debounceMs).unref();
  };

  rewatch(directoriesOf(files), watchers, touched);
  const poll = setInterval(look, pollMs).unref();
  return {
    close() {
      clearTimeout(quiet);
      clearInterval(poll);
      for (const directory of watchers.values()) directory.watcher.close();
      watchers.clear();
    },
  };
}

type DirectoryWatch = { readonly watcher: FSWatcher; readonly inode: string };

/** What a path is now; never throws. Times in nanoseconds: two writes within one millisecond differ. */
function signature(path: string): string {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
    return [path, realpathSync(path), dev, ino, size, mtimeNs, ctimeNs].join("|");
  } catch {
    // Absent, unreadable or a broken link: a state like any other, and one that may end.
    return `${path}|absent`;
  }
}

/** The directory a path stands in, and the one its content really stands in (another one behind a symlink). */
function directoriesOf(files: readonly string[]): Set<string> {
  const directories = new Set<string>();
  for (const file of files) {
    directories.add(dirname(file));
    try {
      directories.add(dirname(realpathSync(file)));
    } catch {
      // Absent: its own directory, or the poll, tells when it appears.
    }
  }
  return directories;
}

/** Makes `watchers` cover exactly `directories`; one that was made again is a new inode and watched anew. */
function rewatch(directories: Set<string>, watchers: Map<string, DirectoryWatch>, touched: () => void): void {
  for (const [directory, { watcher, inode }] of watchers) {
    if (directories.has(directory) && inodeOf(directory) === inode) continue;
    watcher.close();
    watchers.delete(directory);
  }
  for (const directory of directories) {
    if (watchers.has(directory)) continue;
    const inode = inodeOf(directory);
    const watcher = inode === null ? null : watchDirectory(directory, touched);
    if (inode !== null && watcher !== null) watchers.set(directory, { watcher, inode });
  }
}

function inodeOf(directory: string): string | null {
  try {
    const { dev, ino } = statSync(directory, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return null; // Not there yet: looked for again at every poll.
  }
}

function watchDirectory(directory: string, touched: () => void): FSWatcher | null {
  try {
    const watcher = watch(directory, { persistent: false }, touched);
    watcher.on("error", touched); // The directory went away; the next look drops this watcher.
    return watcher;
  } catch {
    return null; // No inotify instance left, or no right to read the directory: the poll remains.
  }
}
