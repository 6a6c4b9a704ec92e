// Tells when files of a directory may have changed: by name where the kernel says so, and "all" at every poll, because
// links lead to other directories and some file systems tell nothing. What changed, and whether, is for who is told.

import { type FSWatcher, statSync, watch } from "node:fs";
import { basename } from "node:path";

export type DirectoryWatchOptions = {
  /** From the first event until it is told, ms: a write in place is mostly over by then, and a burst is one. */
  readonly delayMs?: number;
  /** Between two polls, ms; up to ten times as much where one takes long: polling is to cost a fiftieth of the time. */
  readonly pollMs?: number;
};

const POLL_MS = 800;
/** One poll in so much time. */
const SHARE = 50;
const SLOWER = 10;

export class DirectoryWatch {
  readonly #names = new Set<string>();
  #all = false;
  #delay: Timer | null = null;
  #poll: Timer | null = null;
  #watcher: FSWatcher | null = null;
  #inode: string | null = null;
  #isClosed = false;

  /** @param touched the promise is awaited by polls only, for the time that it takes */
  constructor(
    private readonly directory: string,
    private readonly touched: (names: readonly string[] | "all") => Promise<void>,
    private readonly options: DirectoryWatchOptions = {},
  ) {
    this.#watch();
    this.#pollLater(0);
  }

  close(): void {
    this.#isClosed = true;
    if (this.#delay !== null) clearTimeout(this.#delay);
    if (this.#poll !== null) clearTimeout(this.#poll);
    this.#watcher?.close();
  }

  #event(name: string | null): void {
    // `..data` is the link that Kubernetes swaps for a new set of files; the directory's own name is its end.
    if (name === null || name.startsWith("..") || name === basename(this.directory)) this.#all = true;
    else this.#names.add(name);
    this.#delay ??= setTimeout(() => this.#tell(), this.options.delayMs ?? 20).unref();
  }

  #tell(): void {
    const names = this.#all ? "all" : [...this.#names];
    this.#all = false;
    this.#names.clear();
    this.#delay = null;
    void this.touched(names);
  }

  #pollLater(lastMs: number): void {
    const pollMs = this.options.pollMs ?? POLL_MS;
    // What takes long may be the machine, for once.
    const waitMs = Math.min(Math.max(pollMs, lastMs * SHARE), pollMs * SLOWER);
    this.#poll = setTimeout(() => void this.#look(), waitMs).unref();
  }

  async #look(): Promise<void> {
    this.#watch();
    const startedMs = performance.now();
    await this.touched("all");
    if (!this.#isClosed) this.#pollLater(performance.now() - startedMs);
  }

  /** A directory that was made anew is another one under the same name. */
  #watch(): void {
    const inode = inodeOf(this.directory);
    if (inode === this.#inode && inode !== null) return;
    this.#watcher?.close();
    this.#watcher = inode === null ? null : this.#open();
    this.#inode = this.#watcher === null ? null : inode;
  }

  #open(): FSWatcher | null {
    try {
      const watcher = watch(this.directory, { persistent: false }, (_event, name) => this.#event(name));
      watcher.on("error", () => this.#event(null)); // The directory went away: the next poll looks for another.
      return watcher;
    } catch {
      return null; // No inotify instance left, or no right to read the directory: the poll remains.
    }
  }
}

function inodeOf(directory: string): string | null {
  try {
    const { dev, ino } = statSync(directory, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return null; // Not there, for now: looked for again at every poll.
  }
}
