// Both stores as one: memory first, the disk behind it. What is in memory is on disk as well, sooner or later; what is on
// disk comes into memory when it is asked for.

import { entryId } from "./disk-file.ts";
import type { DiskStore } from "./disk-store.ts";
import type { Entry } from "./entry.ts";
import { FileBody } from "./file-body.ts";
import type { Room } from "./filling.ts";
import { MemoryStore } from "./memory-store.ts";
import type { Policy } from "./policy.ts";
import { isSelected, type Selector } from "./resource.ts";
import { mayReplaceError, NOTHING_ASKED, reuse } from "./reuse.ts";

type Headers = Readonly<Record<string, string | undefined>>;

/** A validated entry is written to disk anew when it is fresh for at least that long. */
const REWRITE_S = 60;

export class Shelf implements Room {
  readonly #memory: MemoryStore;
  /** Of services whose answers were stored, to find all entries of one URL. */
  readonly #scopes = new Set<string>();

  constructor(memoryBytes: number, private readonly disk: DiskStore | null, private readonly now: () => number) {
    this.#memory = new MemoryStore(memoryBytes);
  }

  get scopes(): Iterable<string> { return this.#scopes; }
  get size(): number { return this.#memory.size; }
  /** Bodies on their way included. */
  get bytes(): number { return this.#memory.bytes + this.#memory.reserved; }
  get evicted(): number { return this.#memory.evicted; }
  get diskStats(): { entries: number; bytes: number } | null { return this.disk?.stats() ?? null; }

  async open(): Promise<void> {
    await this.disk?.open();
    for (const scope of this.disk?.scopes ?? []) this.#scopes.add(scope);
  }

  async close(): Promise<void> {
    this.#memory.clear();
    await this.disk?.close();
  }

  /** What is in memory for such a request; fresh or not. */
  find(key: string, headers: Headers): Entry | undefined {
    return this.#memory.find(key, headers);
  }

  /** What is on disk, on its way into memory. @returns null when there is nothing, at once */
  load(key: string, headers: Headers): Promise<Entry | undefined> | null {
    const loading = this.disk?.load(key, headers) ?? null;
    return loading === null ? null : loading.then((entry) => {
      // It may have been replaced meanwhile, and is not put over what is newer.
      const newer = this.#memory.find(key, headers);
      if (newer !== undefined || entry === null) return newer;
      this.#memory.put(entry, this.now());
      return entry;
    });
  }

  /** The fields that tell the answers of a key apart; null when there are none of that key. */
  fieldsOf(key: string): readonly string[] | null {
    return this.#memory.fieldsOf(key) ?? this.disk?.fieldsOf(key) ?? null;
  }

  touch(entry: Entry, nowMs: number): void {
    this.#memory.touch(entry, nowMs);
  }

  /**
   * @param renewed the entry whose body this is, with newer fields; null when all is new
   * @returns whether there was room for it; what it takes the place of is gone in every case
   */
  put(entry: Entry, renewed: Entry | null): boolean {
    const nowMs = this.now();
    if (!this.#memory.put(entry, nowMs)) {
      this.disk?.delete(entry.head.resource.key, entry.head.variant);
      return false;
    }
    this.#scopes.add(entry.head.resource.scope);
    // What is fresh for a moment only need not be written again and again; nor can a body that is in its file.
    const isSpared = renewed !== null && (entry.body instanceof FileBody || entry.ttlAt(nowMs) < REWRITE_S);
    if (!isSpared || !mayStay(renewed.head.policy, entry.head.policy, nowMs)) this.disk?.store(entry);
    return true;
  }

  remove(entry: Entry): void {
    this.#memory.delete(entry);
    this.disk?.delete(entry.head.resource.key, entry.head.variant);
  }

  /** All answers of a key. */
  forget(key: string): void {
    this.#memory.deleteKey(key);
    this.disk?.deleteKey(key);
  }

  /** @returns how many entries there were, those in memory and on disk counted once */
  purge(selector: Selector): number {
    const removed = new Set(this.#memory.purge(selector).map(({ head }) => entryId(head.resource.key, head.variant)));
    for (const id of this.disk?.purge((resource) => isSelected(selector, resource)) ?? []) removed.add(id);
    return removed.size;
  }

  reserve(bytes: number): boolean {
    return this.#memory.reserve(bytes);
  }

  release(bytes: number): void {
    this.#memory.release(bytes);
  }
}

/** Whether the older policy may stay on disk: it allows nothing that the newer one does not. */
function mayStay(older: Policy, newer: Policy, nowMs: number): boolean {
  const { bornMs: _older, ...olderTerms } = older;
  const { bornMs: _newer, ...newerTerms } = newer;
  const isSpent = reuse(older, NOTHING_ASKED, nowMs) === "expired" && !mayReplaceError(older, nowMs);
  return isSpent || Bun.deepEquals(olderTerms, newerTerms);
}
