// What is on the disk, by key and variant, as much as is needed to find it: heads and bodies are read when they are used.
// Bounded in bytes and in files; what was not used for longest goes first.
//
// Invariant: no two records of one key and variant, and all variants of a key have the same fields.

import type { Resource } from "./resource.ts";

/** A file takes whole blocks, and its place in the directory. */
const BLOCK_BYTES = 4096;
/** Each takes some 500 bytes of memory, whatever its size on disk. */
const FILES = 200_000;

export type DiskRecord = {
  readonly resource: Resource;
  readonly fields: readonly string[];
  readonly variantHash: string;
  /** Of the file, below the directory. */
  readonly name: string;
  readonly bytes: number;
};

type Variants = { readonly fields: readonly string[]; readonly records: Map<string, DiskRecord> };

export class DiskIndex {
  readonly #keys = new Map<string, Variants>();
  /** Least used first. */
  readonly #order = new Set<DiskRecord>();
  #bytes = 0;

  constructor(readonly limitBytes: number) {}

  get size(): number { return this.#order.size; }
  get bytes(): number { return this.#bytes; }
  get records(): Iterable<DiskRecord> { return this.#order; }

  fieldsOf(key: string): readonly string[] | null {
    return this.#keys.get(key)?.fields ?? null;
  }

  find(key: string, variantHash: string): DiskRecord | undefined {
    return this.#keys.get(key)?.records.get(variantHash);
  }

  has(record: DiskRecord): boolean {
    return this.#order.has(record);
  }

  touch(record: DiskRecord): void {
    if (this.#order.delete(record)) this.#order.add(record);
  }

  /** @returns what had to go for it: an older version, variants by other fields, and the least used */
  put(record: DiskRecord): DiskRecord[] {
    const { resource: { key }, fields, variantHash } = record;
    const known = this.#keys.get(key);
    const older = known === undefined ? [] : known.fields.join() === fields.join() ? [known.records.get(variantHash)] : [...known.records.values()];
    const gone = older.filter((found) => found !== undefined);
    for (const found of gone) this.delete(found);
    let variants = this.#keys.get(key);
    if (variants === undefined) this.#keys.set(key, variants = { fields, records: new Map() });
    variants.records.set(variantHash, record);
    this.#order.add(record);
    this.#bytes += sizeOnDisk(record.bytes);
    return [...gone, ...this.makeRoom(0)];
  }

  /** @returns what had to go, so that `bytes` more fit */
  makeRoom(bytes: number): DiskRecord[] {
    const gone: DiskRecord[] = [];
    for (const record of this.#order) {
      if (this.#bytes + bytes <= this.limitBytes && this.#order.size <= FILES) break;
      this.delete(record);
      gone.push(record);
    }
    return gone;
  }

  delete(record: DiskRecord): boolean {
    if (!this.#order.delete(record)) return false;
    this.#bytes -= sizeOnDisk(record.bytes);
    const { key } = record.resource;
    const variants = this.#keys.get(key);
    variants?.records.delete(record.variantHash);
    if (variants?.records.size === 0) this.#keys.delete(key);
    return true;
  }

  ofKey(key: string): DiskRecord[] {
    return [...this.#keys.get(key)?.records.values() ?? []];
  }
}

export function sizeOnDisk(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
}
