// The registered gateways: files in a directory (format.ts), which this class reads, follows and writes. Readers see an
// immutable snapshot that is replaced as a whole; a gateway whose file did not change is the same object in the next one.
//
// Invariant: what is served is always what was read back from the directory, never what somebody asked to be written.
// Readings happen in passes, one after the other: all that was touched during one pass is read in the next.

import { access, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Gateway } from "../gateway.ts";
import { PUBLIC, putBack, removeAbandoned, removeDurably, setAside, writeAtomically } from "../lib/atomic-file.ts";
import { type Claim, conflictOf, settle, type Settlement } from "./claims.ts";
import { changedFiles, FILE_LIMIT_BYTES, fileNameOf, isRegistered, listFiles, readFiles, type Reading, workloadIdOf } from "./directory.ts";
import { DirectoryWatch, type DirectoryWatchOptions } from "./directory-watch.ts";
import { quoted, RegistryError } from "./errors.ts";
import { formatGateway, type Mistake, parseGateway, type Parsed } from "./format.ts";
import { NO_RULES, type Rules } from "./rules.ts";
import { Turns } from "./turns.ts";
import { workloadIdFault } from "./validate.ts";

/** Between two passes, ms: 200 changes a second cost 100 snapshots at most. */
const PASS_GAP_MS = 10;
/** Files parsed before requests have their turn: a few milliseconds at most. */
const TAKEN_AT_ONCE = 20;

/** What the log is told. A file may also be the directory itself. */
export type RegistryEvents = {
  /** `message` is what {@link Registry.problems} has. */
  problem(file: string, message: string): void;
  solved(file: string): void;
  /** A file with a problem was removed. */
  removed(file: string): void;
};

export type RegistryOptions = {
  /** Made when it is not there. */
  readonly directory: string;
  /** The gateway's own, lower case; null for none. */
  readonly domain: string | null;
  /** For what is written and for what is read; none unless told. */
  readonly rules?: Rules;
  readonly log: RegistryEvents;
  readonly watch?: DirectoryWatchOptions;
};

type Entry = Claim & {
  readonly signature: string;
  /** When its domain was claimed, as far as the file said so then: Unix ms. The order of claims after a restart. */
  readonly claimedMs: number;
};

export class Registry {
  /** By file name, in the order in which their domains were claimed. */
  readonly #entries = new Map<string, Entry>();
  #settled: Settlement = { gateways: new Map(), byId: new Map(), problems: new Map() };
  readonly #listeners = new Set<(gateways: ReadonlyMap<string, Gateway>) => void>();
  readonly #turns = new Turns();
  /** Domains that are being written, with their workload's id. */
  readonly #reserved = new Map<string, string>();
  readonly #touched = new Set<string>();
  #isAllTouched = false;
  #pass: Promise<void> = Promise.resolve();
  #nextPass: Promise<void> | null = null;
  #passEndedMs = -Infinity;
  #directoryFault: string | null = null;
  #watch: DirectoryWatch | null = null;
  #isClosed = false;

  private constructor(private readonly options: RegistryOptions) {}

  /**
   * Resolves when all files were read; bad ones are {@link problems}.
   * @throws Error when the directory can be neither made nor read
   */
  static async open(options: RegistryOptions): Promise<Registry> {
    const { directory } = options;
    await mkdir(directory, { recursive: true });
    await listFiles(directory);
    await removeAbandoned(directory);
    const registry = new Registry(options);
    // Before the first reading, so that nothing falls between them.
    registry.#watch = new DirectoryWatch(directory, (names) => registry.#look(names), options.watch);
    await registry.#look("all");
    return registry;
  }

  /** By domain. Never changes: it is replaced. */
  get gateways(): ReadonlyMap<string, Gateway> {
    return this.#settled.gateways;
  }

  /** By file name; each says what is wrong, with lines and columns. */
  get problems(): ReadonlyMap<string, string> {
    return this.#settled.problems;
  }

  get rules(): Rules {
    return this.options.rules ?? NO_RULES;
  }

  list(): Gateway[] {
    return [...this.#settled.byId.values()];
  }

  /** By workload id. */
  get(id: string): Gateway | undefined {
    return this.#settled.byId.get(id);
  }

  /** @returns what ends it. A listener that throws is a bug of its owner and is not caught. */
  onChange(listener: (gateways: ReadonlyMap<string, Gateway>) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * Registers or updates. Resolves when it is on disk and in {@link gateways}.
   * @throws RegistryError invalid, conflict, storage; what was registered before then still is.
   */
  async set(gateway: Gateway): Promise<void> {
    const text = this.#textOf(gateway);
    const { id, fqdn } = gateway;
    await this.#turns.take(id, async () => {
      this.assertFree(id, fqdn);
      this.#reserved.set(fqdn, id);
      try {
        if (this.get(id)?.fqdn === fqdn) await this.#store(id, "write", (path) => writeAtomically(path, text, PUBLIC, this.#claimedMs(id, fqdn)));
        else await this.#claim(id, fqdn, text);
      } finally {
        this.#reserved.delete(fqdn);
      }
    });
  }

  /** Another program's file may have come first, unseen until now: then nothing was written, or it is undone. */
  async #claim(id: string, fqdn: string, text: string): Promise<void> {
    const unseen = await this.#unseen();
    if (unseen.length > 0) await this.#look(unseen);
    this.assertFree(id, fqdn);
    const undo: { aside: string | null } = { aside: null };
    try {
      await this.#store(id, "write", async (path) => {
        undo.aside = await setAside(path);
        await writeAtomically(path, text);
      }, () => this.#unseen());
      const conflict = this.get(id)?.fqdn === fqdn || this.#isClosed ? null : this.#conflict(id, fqdn);
      if (conflict === null) return;
      await this.#store(id, "write", (path) => putBack(path, undo.aside));
      throw conflict;
    } finally {
      if (undo.aside !== null) await rm(undo.aside, { force: true }).catch(() => {}); // The next start removes it.
    }
  }

  /** @returns false when there was none. @throws RegistryError invalid, storage */
  async delete(id: string): Promise<boolean> {
    const fault = workloadIdFault(id);
    if (fault !== null) throw new RegistryError("invalid", [fault]);
    return await this.#turns.take(id, () => this.#store(id, "remove", async (path) => {
      const wasThere = await removeDurably(path);
      // Of a directory that went away nobody knows what was in it: it may come back, with this file.
      if (!wasThere) await access(this.options.directory);
      return wasThere;
    }));
  }

  /** @throws RegistryError conflict, when the domain is another workload's */
  assertFree(id: string, fqdn: string): void {
    const conflict = this.#conflict(id, fqdn);
    if (conflict !== null) throw conflict;
  }

  #conflict(id: string, fqdn: string): RegistryError | null {
    const owner = this.gateways.get(fqdn)?.id ?? this.#reserved.get(fqdn) ?? id;
    return owner === id ? null : new RegistryError("conflict", [conflictOf(fqdn, owner, id)]);
  }

  close(): void {
    this.#isClosed = true;
    this.#watch?.close();
    this.#listeners.clear();
  }

  /** Of a domain that the workload has already: its file must not become younger than those that wait for it. null: it is claimed now. */
  #claimedMs(id: string, fqdn: string): number | null {
    const entry = this.#entries.get(fileNameOf(id));
    return entry?.gateway?.fqdn === fqdn ? entry.claimedMs : null;
  }

  /** What is written must be readable, and mean the same. */
  #textOf(gateway: Gateway): string {
    const wrong = workloadIdFault(gateway.id);
    if (wrong !== null) throw new RegistryError("invalid", [wrong]);
    const text = formatGateway(gateway);
    if (Buffer.byteLength(text) > FILE_LIMIT_BYTES) throw new RegistryError("invalid", [`the file would have more than ${FILE_LIMIT_BYTES} bytes (${gateway.backends.length} backends)`]);
    const parsed = this.#parse(text, gateway.id);
    if ("mistakes" in parsed) throw new RegistryError("invalid", parsed.mistakes.map(({ message }) => message));
    return text;
  }

  #parse(text: string, id: string): Parsed {
    return parseGateway(text, { id, domain: this.options.domain, rules: this.rules });
  }

  /** @param others files that are read together with it: the older of two is served */
  async #store<T>(id: string, verb: "write" | "remove", action: (path: string) => Promise<T>, others: () => Promise<string[]> = async () => []): Promise<T> {
    if (this.#isClosed) throw new RegistryError("storage", ["the registry is closed"]);
    try {
      return await action(this.#pathOf(id));
    } catch (cause) {
      const { code = "the file system failed" } = cause as NodeJS.ErrnoException;
      const reason = code === "ENOENT" ? "the registry's directory is gone, and what was registered is served on until it is back" : code;
      // The cause names paths of this machine: that is for the log.
      throw new RegistryError("storage", [`cannot ${verb} the file of workload ${quoted(id)}: ${reason}`], { cause });
    } finally {
      // Also after a failure: it may have come when the file was in place already.
      await this.#look([...await others(), fileNameOf(id)]);
    }
  }

  /** Files that nobody has told of yet. By name only: looking at each of ten thousand takes 80 ms, and at their names 5. */
  async #unseen(): Promise<string[]> {
    const names = await listFiles(this.options.directory).catch(() => []); // Whoever writes there next is told.
    return names.filter((name) => !this.#entries.has(name));
  }

  #pathOf(id: string): string {
    return join(this.options.directory, fileNameOf(id));
  }

  /** Resolves after a pass that began later than now. */
  #look(names: readonly string[] | "all"): Promise<void> {
    if (names === "all") this.#isAllTouched = true;
    else for (const name of names) if (isRegistered(name)) this.#touched.add(name);
    this.#nextPass ??= this.#afterThePass();
    return this.#nextPass;
  }

  async #afterThePass(): Promise<void> {
    await this.#pass.catch(() => {}); // Whoever waited for that one was told.
    const waitMs = this.#passEndedMs + PASS_GAP_MS - performance.now();
    if (waitMs > 0) await Bun.sleep(waitMs);
    this.#nextPass = null;
    this.#pass = this.#read().finally(() => { this.#passEndedMs = performance.now(); });
    await this.#pass;
  }

  async #read(): Promise<void> {
    if (this.#isClosed) return;
    const names = new Set(this.#touched);
    const isAll = this.#isAllTouched;
    this.#touched.clear();
    this.#isAllTouched = false;
    const { directory } = this.options;
    try {
      if (isAll) for (const name of await changedFiles(directory, this.#entries)) names.add(name);
      const readings = await readFiles(directory, [...names]);
      // When the directory went away its files were not deleted one by one: nothing is known about them.
      if (readings.some(({ content }) => content.kind === "absent")) await listFiles(directory);
      for (const [index, reading] of readings.entries()) {
        this.#take(reading);
        if (index % TAKEN_AT_ONCE === TAKEN_AT_ONCE - 1) await new Promise<void>((resolve) => { setImmediate(resolve); });
      }
      this.#directoryFault = null;
    } catch (error) {
      this.#directoryFault = `cannot read the directory: ${(error as Error).message} (the last good state stays in use)`;
    }
    this.#publish();
  }

  #take({ name, signature, mtimeNs, content }: Reading): void {
    const before = this.#entries.get(name);
    const modifiedMs = Math.round(Number(mtimeNs) / 1e6);
    if (content.kind === "absent") return void this.#entries.delete(name);
    const parsed = content.kind === "text" ? this.#parse(content.text, workloadIdOf(name)) : null;
    if (content.kind === "unusable" || parsed === null || "mistakes" in parsed) {
      const fault = content.kind === "unusable" ? content.reason : lines(parsed);
      this.#entries.set(name, { name, signature, claimedMs: before?.claimedMs ?? modifiedMs, gateway: before?.gateway ?? null, fault });
      return;
    }
    const last = before?.gateway ?? null;
    // Another domain is a claim of its own time, behind those that were made before it.
    const isSameClaim = last?.fqdn === parsed.gateway.fqdn;
    if (!isSameClaim) this.#entries.delete(name);
    const claimedMs = isSameClaim ? before?.claimedMs ?? modifiedMs : modifiedMs;
    const gateway = last !== null && isDeepStrictEqual(last, parsed.gateway) ? last : parsed.gateway;
    this.#entries.set(name, { name, signature, claimedMs, gateway, fault: null });
  }

  #publish(): void {
    if (this.#isClosed) return;
    const before = this.#settled;
    const now = settle(this.#entries.values(), before.byId);
    const problems = new Map(now.problems);
    if (this.#directoryFault !== null) problems.set(this.options.directory, this.#directoryFault);
    const isSame = areSame(before.gateways, now.gateways);
    this.#settled = { gateways: isSame ? before.gateways : now.gateways, byId: isSame ? before.byId : now.byId, problems };
    for (const [file, message] of problems) if (before.problems.get(file) !== message) this.options.log.problem(file, message);
    for (const file of before.problems.keys()) if (!problems.has(file)) this.#tellEnd(file);
    if (!isSame) for (const listener of [...this.#listeners]) listener(now.gateways);
  }

  /** Of a file's problem: what is not there cannot be used again. */
  #tellEnd(file: string): void {
    const { log, directory } = this.options;
    if (file === directory || this.#entries.has(file)) log.solved(file);
    else log.removed(file);
  }
}

function lines(parsed: { readonly mistakes: readonly Mistake[] } | { readonly gateway: Gateway } | null): string {
  const mistakes = parsed !== null && "mistakes" in parsed ? parsed.mistakes : [];
  return mistakes.map(({ line, column, message }) => `${line}:${column}: ${message}`).join("; ");
}

function areSame(a: ReadonlyMap<string, Gateway>, b: ReadonlyMap<string, Gateway>): boolean {
  if (a.size !== b.size) return false;
  for (const [fqdn, gateway] of a) if (b.get(fqdn) !== gateway) return false;
  return true;
}
