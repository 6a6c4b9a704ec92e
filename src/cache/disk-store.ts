// The entries on disk: one file each, written beside its place and renamed into it after an fsync, so that after any crash
// a file is whole or is not there. Nothing waits for a write, and nothing fails because of one: what the disk does not
// take is in memory only, which is reported once until it works again.
//
// Invariant: the files of the index, and those being written, never take more than the limit.

import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { encodeHead, entryId, FILE_NAME, fileName, type FileHead, type FilePrefix, hashOf, parseHead, parsePrefix, PREFIX_BYTES, storedHead } from "./disk-file.ts";
import { DiskIndex, type DiskRecord, sizeOnDisk } from "./disk-index.ts";
import { Entry } from "./entry.ts";
import { FileBody } from "./file-body.ts";
import type { Resource } from "./resource.ts";
import { variantOf } from "./vary.ts";

export type DiskStoreSettings = {
  /** Made when it is not there; files in it that are none of ours stay. One process at a time. */
  readonly directory: string;
  /** Bound of all files together, in whole blocks. */
  readonly bytes: number;
};

type Warner = { warn(message: string, fields?: Readonly<Record<string, string | number>>): void };
/** A file that was looked into. */
type Found = { readonly record: DiskRecord; readonly modifiedMs: number };
/** A write that has not happened yet, or is happening. */
type Writing = { readonly entry: Entry; readonly body: Uint8Array; isVoid: boolean };

const TEMPORARY = /^tmp-[0-9a-f]{16}$/;
const FOLDER = /^[0-9a-f]{2}$/;
/** Bodies up to this are read into memory; larger ones are sent from their file. */
const MEMORY_BODY_BYTES = 1024 * 1024;
const WRITERS = 2;
const READERS = 16;
/** What waits to be written holds its entries in memory: more than that is not written at all. */
const WAITING_BYTES = 32 * 1024 * 1024;
/** If more than that happens before the files were read, none of them is trusted. */
const EARLY_KEYS = 100_000;
/** After a failed write the disk is left alone. */
const PAUSE_MS = 30_000;

export class DiskStore {
  readonly scopes = new Set<string>();
  readonly #index: DiskIndex;
  readonly #loading = new Map<DiskRecord, Promise<Entry | null>>();
  /** To be written, and being written, by entry id; the newest one of each. */
  readonly #waiting = new Map<string, Writing>();
  readonly #active = new Map<string, Writing>();
  readonly #work = new Set<Promise<void>>();
  #waitingBytes = 0;
  #writingBytes = 0;
  #writers = 0;
  #pausedUntilMs = Number.NEGATIVE_INFINITY;
  #isReported = false;
  #state: "new" | "open" | "off" = "new";
  /** What was stored or forgotten before the files were read: they hold nothing newer. */
  readonly #early: { readonly keys: Set<string>; selections: Array<(resource: Resource) => boolean> } = { keys: new Set(), selections: [] };

  constructor(private readonly settings: DiskStoreSettings, private readonly cacheName: string, private readonly log: Warner | null, private readonly now: () => number) {
    this.#index = new DiskIndex(settings.bytes);
  }

  stats(): { entries: number; bytes: number } {
    return { entries: this.#index.size, bytes: this.#index.bytes };
  }

  /** Reads the heads of all files; broken ones are removed, what is none of ours is left alone. */
  async open(): Promise<void> {
    try {
      await mkdir(this.settings.directory, { recursive: true, mode: 0o700 });
      await this.#readAll();
      if (this.#state === "new") this.#state = "open";
    } catch (error) {
      this.#state = "off";
      this.#report("the cache on disk cannot be used", error);
    }
  }

  /** Waits for what is being written; what waits is dropped. */
  async close(): Promise<void> {
    this.#isReported = true; // From now on another one may be at work in the directory.
    this.#state = "off";
    this.#waiting.clear();
    await Promise.all(this.#work);
  }

  fieldsOf(key: string): readonly string[] | null {
    return this.#index.fieldsOf(key);
  }

  /** @returns null when there is none, at once; a promise of null when it turns out to be broken */
  load(key: string, headers: Readonly<Record<string, string | undefined>>): Promise<Entry | null> | null {
    const fields = this.#index.fieldsOf(key);
    if (fields === null) return null;
    const variant = variantOf(fields, headers);
    const record = this.#index.find(key, hashOf(variant));
    if (record === undefined) return null;
    this.#index.touch(record);
    const known = this.#loading.get(record);
    if (known !== undefined) return known;
    const loading = this.#load(record, variant).finally(() => this.#loading.delete(record));
    this.#loading.set(record, loading);
    return loading;
  }

  /** Later, when there is time for it; what it takes the place of is gone at once, also when it is not written. */
  store(entry: Entry): void {
    const { body, head: { resource, fields, variant } } = entry;
    if (this.fieldsOf(resource.key)?.join() === fields.join()) this.delete(resource.key, variant);
    else this.deleteKey(resource.key);
    if (this.#state !== "open" || body instanceof FileBody || this.now() < this.#pausedUntilMs) return;
    const bytes = body?.byteLength ?? 0;
    if (sizeOnDisk(bytes) > this.settings.bytes / 2 || this.#waitingBytes + bytes > WAITING_BYTES) return;
    this.scopes.add(resource.scope);
    this.#waitingBytes += bytes;
    this.#waiting.set(entryId(resource.key, variant), { entry, body: body ?? new Uint8Array(), isVoid: false });
    this.#writeNext();
  }

  delete(key: string, variant: string): void {
    this.#noteEarly(key);
    this.#forgetWaiting(entryId(key, variant));
    const record = this.#index.find(key, hashOf(variant));
    if (record !== undefined) this.#remove(record);
  }

  deleteKey(key: string): void {
    this.#noteEarly(key);
    for (const waiting of [this.#waiting, this.#active]) for (const [id, { entry }] of waiting) if (entry.head.resource.key === key) this.#forgetWaiting(id);
    for (const record of this.#index.ofKey(key)) this.#remove(record);
  }

  /** @returns the ids of what there was */
  purge(isSelected: (resource: Resource) => boolean): string[] {
    if (this.#state === "new") this.#early.selections.push(isSelected);
    for (const waiting of [this.#waiting, this.#active]) for (const [id, { entry }] of waiting) if (isSelected(entry.head.resource)) this.#forgetWaiting(id);
    const records = [...this.#index.records].filter(({ resource }) => isSelected(resource));
    for (const record of records) this.#remove(record);
    return records.map(({ resource, variantHash }) => `${resource.key}\n${variantHash}`);
  }

  // ---- reading

  async #load(record: DiskRecord, variant: string): Promise<Entry | null> {
    const path = this.#path(record.name);
    const found = await readHead(path).catch(() => null); // Unreadable is as good as gone.
    const broken = (): void => this.#remove(record);
    if (found === null) {
      broken();
      return null;
    }
    const { head, prefix } = found;
    const file = new FileBody(path, PREFIX_BYTES + prefix.headBytes, prefix.bodyBytes, prefix.bodyChecksum, broken);
    const body = head.contentLength === null ? null : prefix.bodyBytes > MEMORY_BODY_BYTES ? file : await file.whole();
    if (body === null && head.contentLength !== null) {
      broken();
      return null;
    }
    return this.#index.has(record) ? new Entry(storedHead(head, variant), body, this.cacheName) : null;
  }

  async #readAll(): Promise<void> {
    const { directory } = this.settings;
    const all = await readdir(directory);
    const folders = all.filter((name) => FOLDER.test(name));
    const names = (await Promise.all(folders.map(async (folder) => (await readdir(join(directory, folder))).map((name) => join(folder, name))))).flat();
    const counts = { foreign: all.length - folders.length, broken: 0 };
    for (const name of all.filter((name) => TEMPORARY.test(name))) {
      counts.foreign -= 1;
      await rm(join(directory, name), { force: true });
    }
    const found: Found[] = [];
    const queue = names.values();
    await Promise.all(Array.from({ length: READERS }, async () => {
      for (const name of queue) {
        const file = FILE_NAME.test(name.slice(3)) ? await this.#lookInto(name) : null;
        if (file !== null) found.push(file);
        else counts[FILE_NAME.test(name.slice(3)) ? "broken" : "foreign"] += 1;
      }
    }));
    for (const { record } of found.sort((a, b) => a.modifiedMs - b.modifiedMs)) {
      if (this.#isOutdated(record)) this.#later(this.#unlink(record.name));
      else this.#put(record);
    }
    if (counts.broken > 0) this.log?.warn("broken files were removed from the cache on disk", { directory, files: counts.broken });
    if (counts.foreign > 0) this.log?.warn("files in the directory of the cache are none of its own", { directory, files: counts.foreign });
  }

  #noteEarly(key: string): void {
    if (this.#state !== "new") return;
    if (this.#early.keys.size < EARLY_KEYS) this.#early.keys.add(key);
    else this.#early.selections = [() => true];
  }

  #isOutdated({ resource }: DiskRecord): boolean {
    return this.#early.keys.has(resource.key) || this.#early.selections.some((isSelected) => isSelected(resource));
  }

  /** @returns null when it is broken, and then it is gone */
  async #lookInto(name: string): Promise<Found | null> {
    const path = this.#path(name);
    const found = await readHead(path).catch(() => null); // Unreadable is broken.
    if (found === null) {
      await rm(path, { force: true }).catch(() => {}); // A directory, or not ours to remove: it is not used.
      return null;
    }
    const { resource, fields, variantHash } = found.head;
    return { record: { resource, fields, variantHash, name, bytes: found.size }, modifiedMs: (await stat(path)).mtimeMs };
  }

  // ---- writing

  #writeNext(): void {
    while (this.#writers < WRITERS) {
      const next = this.#waiting.entries().next().value;
      if (next === undefined) return;
      const [id, writing] = next;
      this.#waiting.delete(id);
      this.#writers += 1;
      this.#active.set(id, writing);
      const work = this.#write(writing).catch((error: unknown) => this.#failed(error)).finally(() => {
        if (this.#active.get(id) === writing) this.#active.delete(id);
        this.#waitingBytes -= writing.body.byteLength;
        this.#writers -= 1;
        this.#work.delete(work);
        this.#writeNext();
      });
      this.#work.add(work);
    }
  }

  async #write(writing: Writing): Promise<void> {
    const { entry, body } = writing;
    const { resource, fields, variant } = entry.head;
    const head = encodeHead(entry, body);
    const bytes = head.length + body.byteLength;
    const random = randomBytes(8).toString("hex");
    const name = fileName(entryId(resource.key, variant), random);
    const record: DiskRecord = { resource, fields, variantHash: hashOf(variant), name: join(name.slice(0, 2), name), bytes };
    const temporary = join(this.settings.directory, `tmp-${random}`);
    this.#writingBytes += sizeOnDisk(bytes);
    try {
      for (const gone of this.#index.makeRoom(this.#writingBytes)) await this.#unlink(gone.name);
      await writeDurably(temporary, head, body);
      await mkdir(dirname(this.#path(record.name)), { recursive: true, mode: 0o700 });
      if (!writing.isVoid) await rename(temporary, this.#path(record.name));
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {}); // The first failure is the one to tell.
      throw error;
    } finally {
      this.#writingBytes -= sizeOnDisk(bytes);
    }
    this.#isReported = false;
    if (writing.isVoid) await Promise.all([rm(temporary, { force: true }), this.#unlink(record.name)]);
    else this.#put(record);
  }

  #put(record: DiskRecord): void {
    this.scopes.add(record.resource.scope);
    for (const gone of this.#index.put(record)) this.#later(this.#unlink(gone.name));
  }

  #remove(record: DiskRecord): void {
    if (this.#index.delete(record)) this.#later(this.#unlink(record.name));
  }

  #forgetWaiting(id: string): void {
    const waiting = this.#waiting.get(id);
    if (waiting !== undefined) this.#waitingBytes -= waiting.body.byteLength;
    this.#waiting.delete(id);
    const active = this.#active.get(id);
    if (active !== undefined) active.isVoid = true;
  }

  #later(work: Promise<void>): void {
    const tracked = work.finally(() => this.#work.delete(tracked));
    this.#work.add(tracked);
  }

  /** Never rejects: a file that cannot be removed is broken or found again at the next start. */
  async #unlink(name: string): Promise<void> {
    await rm(this.#path(name), { force: true }).catch((error: unknown) => this.#report("a file of the cache on disk cannot be removed", error));
  }

  #failed(error: unknown): void {
    this.#pausedUntilMs = this.now() + PAUSE_MS;
    this.#report("the cache on disk cannot be written, and is left alone for a while", error);
  }

  #report(message: string, error: unknown): void {
    if (this.#isReported) return;
    this.#isReported = true;
    this.log?.warn(message, { directory: this.settings.directory, reason: error instanceof Error ? error.message : String(error) });
  }

  #path(name: string): string {
    return join(this.settings.directory, name);
  }
}

async function readHead(path: string): Promise<{ head: FileHead; prefix: FilePrefix; size: number } | null> {
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    const start = Buffer.alloc(4096);
    const { bytesRead } = await file.read(start, 0, start.length, 0);
    const prefix = parsePrefix(start.subarray(0, bytesRead), size);
    if (prefix === null) return null;
    const bytes = Buffer.alloc(PREFIX_BYTES + prefix.headBytes);
    // Most heads are in what was read already.
    if (start.copy(bytes, 0, 0, bytesRead) < bytes.length) await file.read(bytes, 0, bytes.length, 0);
    const head = parseHead(bytes, prefix);
    return head === null ? null : { head, prefix, size };
  } finally {
    await file.close();
  }
}

async function writeDurably(path: string, head: Uint8Array, body: Uint8Array): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    const { bytesWritten } = await file.writev([head, body]);
    if (bytesWritten < head.byteLength + body.byteLength) throw new Error("the disk took only a part");
    await file.sync();
  } finally {
    await file.close();
  }
}
