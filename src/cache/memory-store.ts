// The entries in memory: by key, then by variant. Bounded in bytes, those of bodies on their way included; what was not
// used for longest goes first. The variants of one key are those of its newest answer's Vary.
//
// Invariant: `bytes` + `reserved` never exceeds the limit.

import type { Entry } from "./entry.ts";
import { isSelected, type Selector } from "./resource.ts";
import { variantOf } from "./vary.ts";

/** Of one URL: more than the languages and codings of any honest one. */
const VARIANTS = 32;
/** A hit moves its entry to the young end at most this often: moving costs more than reading. */
const TOUCH_MS = 1000;
/** Bodies on their way may take this share of the memory. */
const RESERVED_SHARE = 0.5;

type Variants = { readonly fields: readonly string[]; readonly entries: Map<string, Entry> };

export class MemoryStore {
  readonly #keys = new Map<string, Variants>();
  /** Least used first, to within TOUCH_MS. */
  readonly #order = new Set<Entry>();
  #bytes = 0;
  #reserved = 0;
  #evicted = 0;

  constructor(readonly limitBytes: number) {}

  get size(): number { return this.#order.size; }
  get bytes(): number { return this.#bytes; }
  get reserved(): number { return this.#reserved; }
  /** Entries that had to go for others, since the start. */
  get evicted(): number { return this.#evicted; }

  /** The entry whose request had the same values in the fields that matter; fresh or not. */
  find(key: string, headers: Readonly<Record<string, string | undefined>>): Entry | undefined {
    const variants = this.#keys.get(key);
    if (variants === undefined) return undefined;
    return variants.entries.get(variants.fields.length === 0 ? "" : variantOf(variants.fields, headers));
  }

  /** The fields that tell the answers of a key apart; null when there are none of that key. */
  fieldsOf(key: string): readonly string[] | null {
    return this.#keys.get(key)?.fields ?? null;
  }

  touch(entry: Entry, nowMs: number): void {
    if (nowMs - entry.touchedMs < TOUCH_MS || !this.#order.delete(entry)) return;
    entry.touchedMs = nowMs;
    this.#order.add(entry);
  }

  /** @returns false when it does not fit; an older answer to the same request is gone in every case */
  put(entry: Entry, nowMs: number): boolean {
    const { resource: { key }, fields, variant } = entry.head;
    const known = this.#keys.get(key);
    if (known !== undefined && known.fields.join() !== fields.join()) this.deleteKey(key);
    else this.delete(known?.entries.get(variant));
    if (!this.#makeRoom(entry.bytes)) return false;
    // After that: making room may have emptied the key.
    let variants = this.#keys.get(key);
    if (variants === undefined) this.#keys.set(key, variants = { fields, entries: new Map() });
    if (variants.entries.size >= VARIANTS) this.delete(variants.entries.values().next().value);
    variants.entries.set(variant, entry);
    entry.touchedMs = nowMs;
    this.#order.add(entry);
    this.#bytes += entry.bytes;
    entry.room = (bytes) => this.#grow(entry, bytes);
    // The last variant may have been the only one.
    this.#keys.set(key, variants);
    return true;
  }

  delete(entry: Entry | undefined): boolean {
    if (entry === undefined || !this.#order.delete(entry)) return false;
    this.#bytes -= entry.bytes;
    entry.room = null;
    const { resource: { key }, variant } = entry.head;
    const variants = this.#keys.get(key);
    variants?.entries.delete(variant);
    if (variants?.entries.size === 0) this.#keys.delete(key);
    return true;
  }

  /** @returns how many entries there were */
  deleteKey(key: string): number {
    const entries = [...this.#keys.get(key)?.entries.values() ?? []];
    for (const entry of entries) this.delete(entry);
    return entries.length;
  }

  /** @returns the entries that were removed */
  purge(selector: Selector): Entry[] {
    const selected = [...this.#order].filter((entry) => isSelected(selector, entry.head.resource));
    for (const entry of selected) this.delete(entry);
    return selected;
  }

  /** Room for a body on its way. @returns false when there is none left for such */
  reserve(bytes: number): boolean {
    if (this.#reserved + bytes > this.limitBytes * RESERVED_SHARE || !this.#makeRoom(bytes)) return false;
    this.#reserved += bytes;
    return true;
  }

  release(bytes: number): void {
    this.#reserved -= bytes;
  }

  clear(): void {
    this.#keys.clear();
    this.#order.clear();
    this.#bytes = 0;
  }

  /** @returns false when there is no room, also because the entry itself had to go for it */
  #grow(entry: Entry, bytes: number): boolean {
    // It was used just now: others go first.
    if (this.#order.delete(entry)) this.#order.add(entry);
    if (!this.#makeRoom(bytes) || !this.#order.has(entry)) return false;
    this.#bytes += bytes;
    return true;
  }

  #makeRoom(bytes: number): boolean {
    const limit = this.limitBytes - this.#reserved;
    if (bytes > limit) return false;
    for (const entry of this.#order) {
      if (this.#bytes + bytes <= limit) break;
      this.delete(entry);
      this.#evicted += 1;
    }
    return true;
  }
}
