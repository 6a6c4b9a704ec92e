// A shared HTTP cache (RFC 9111) between the proxy and its upstreams. It knows neither: requests come in as values, and
// the upstream is a function. Read `answer` first; a fresh entry in memory is answered at once, without a promise.
//
// Invariants: what may not be stored or shared is in no store and reaches nobody but who asked; nothing is used stale
// unless the upstream or the client allowed it; a body that did not come whole is never an entry.

import { notCached } from "./answering.ts";
import { forwarded, hit } from "./cache-status.ts";
import { CONDITIONS } from "./conditions.ts";
import { DiskStore, type DiskStoreSettings } from "./disk-store.ts";
import type { Entry } from "./entry.ts";
import type { CachedResponse, CacheRequest, HeaderPairs, Origin } from "./exchange.ts";
import { Fetching, type Job } from "./fetching.ts";
import { FileBody } from "./file-body.ts";
import { invalidated } from "./invalidation.ts";
import { keyOf, type Selector } from "./resource.ts";
import { demands, reuse } from "./reuse.ts";
import { Shelf } from "./shelf.ts";

export type { CachedResponse, CacheRequest, HeaderPairs, Origin, OriginResponse } from "./exchange.ts";
export type { DiskStoreSettings } from "./disk-store.ts";
export type { Selector } from "./resource.ts";

export type HttpCacheOptions = {
  /** Of this cache in Cache-Status; a token. */
  readonly name: string;
  /** Bound of everything in memory: entries, and bodies on their way. */
  readonly memoryBytes: number;
  /** The largest body that is stored; never more than an eighth of the memory. */
  readonly objectBytes: number;
  readonly disk: DiskStoreSettings | null;
  /** How long others wait for the end of a body of unknown length, after its head; ms. */
  readonly patienceMs?: number;
  /** Unix time in ms. */
  readonly now?: () => number;
  /** Told once about each thing that is wrong with the disk. */
  readonly log?: { warn(message: string, fields?: Readonly<Record<string, string | number>>): void };
};

export type CacheStats = {
  readonly entries: number;
  /** By estimate, bodies on their way included. */
  readonly bytes: number;
  readonly hits: number;
  readonly misses: number;
  /** Answers that were stale, with permission. */
  readonly stale: number;
  /** Entries that the upstream said are still right. */
  readonly validated: number;
  /** Requests that shared another one's fetch. */
  readonly collapsed: number;
  readonly stored: number;
  readonly evicted: number;
  readonly disk: { readonly entries: number; readonly bytes: number } | null;
};

/** What is waited for of a body of unknown length, which may turn out too large to be shared. */
const PATIENCE_MS = 5_000;
/** No object takes more of the memory than this. */
const OBJECT_SHARE = 1 / 8;
/**
 * Fields by which some frameworks answer to another method, path or host than those that we store under: what they answer
 * then is not stored.
 */
const OVERRIDES = ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url", "x-forwarded-scheme", "x-host"];

export class HttpCache {
  readonly #name: string;
  readonly #now: () => number;
  readonly #shelf: Shelf;
  readonly #fetching: Fetching;
  #hits = 0;
  #misses = 0;

  constructor({ name, memoryBytes, objectBytes, disk, patienceMs = PATIENCE_MS, now = Date.now, log }: HttpCacheOptions) {
    this.#name = name;
    this.#now = now;
    this.#shelf = new Shelf(memoryBytes, disk === null ? null : new DiskStore(disk, name, log ?? null, now), now);
    const settings = { name, objectBytes: Math.min(objectBytes, Math.floor(memoryBytes * OBJECT_SHARE)), patienceMs, now };
    this.#fetching = new Fetching(settings, this.#shelf, ({ request, key, origin, waits }) => this.#consider(request, key, this.#shelf.find(key, request.headers), origin, waits));
  }

  /** Reads what the disk holds; until then there is only memory. Never rejects: without its disk the cache goes on. */
  async open(): Promise<void> {
    await this.#shelf.open();
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    this.#fetching.close();
    await this.#shelf.close();
  }

  /**
   * The answer to a request: at once from memory, or when the disk or the upstream brings it.
   * Rejects with what `origin` rejects with, when there is nothing else to say; a body that is cut errors its stream.
   */
  answer(request: CacheRequest, origin: Origin): CachedResponse | Promise<CachedResponse> {
    const key = keyOf(request);
    const nowMs = this.#now();
    const entry = this.#shelf.find(key, request.headers);
    if (entry === undefined || nowMs >= entry.freshUntilMs || entry.body instanceof FileBody || !isPlain(request)) {
      return this.#consider(request, key, entry, origin, 0);
    }
    this.#hits += 1;
    this.#shelf.touch(entry, nowMs);
    return request.method === "GET" ? entry.hit(nowMs) : entry.headHit(nowMs);
  }

  /** To be told of every answer to another method: what a successful unsafe one changed is forgotten (RFC 9111 section 4.4). */
  invalidate(request: CacheRequest, status: number, responseHeaders: HeaderPairs): void {
    for (const target of invalidated(request, status, responseHeaders)) {
      // Another service may answer to GET at the same URL.
      for (const scope of new Set([...this.#shelf.scopes, request.scope])) {
        const key = keyOf({ ...request, target, scope });
        this.#shelf.forget(key);
        this.#fetching.void(key);
      }
    }
  }

  /** @returns how many entries there were, those in memory and on disk counted once */
  purge(selector: Selector): number {
    this.#fetching.void(null);
    return this.#shelf.purge(selector);
  }

  stats(): CacheStats {
    const { size, bytes, evicted, diskStats } = this.#shelf;
    return { ...this.#fetching.count, hits: this.#hits, misses: this.#misses, entries: size, bytes, evicted, disk: diskStats };
  }

  /** @param waits how often it has waited for others already */
  #consider(request: CacheRequest, key: string, entry: Entry | undefined, origin: Origin, waits: number): CachedResponse | Promise<CachedResponse> {
    const { method, headers } = request;
    const asked = demands(headers);
    if (method !== "GET" && method !== "HEAD") return this.#fetching.pass(request, origin, { forward: "method" });
    // RFC 9110 sections 13.1.1 and 13.1.4: these are the upstream's to evaluate.
    if (headers["if-match"] !== undefined || headers["if-unmodified-since"] !== undefined) return this.#fetching.pass(request, origin, { forward: "bypass", detail: "precondition" });
    if (asked.has("no-store")) return this.#fetching.pass(request, origin, { forward: "request", detail: "no-store" });
    const loading = entry === undefined ? this.#shelf.load(key, headers) : null;
    if (loading !== null) return loading.then((found) => this.#decide({ request, key, asked, entry: found, origin, waits }));
    return this.#decide({ request, key, asked, entry, origin, waits });
  }

  #decide(given: Omit<Job, "forward" | "isBackground">): CachedResponse | Promise<CachedResponse> {
    const { request, key, asked, entry, origin } = given;
    const nowMs = this.#now();
    const verdict = entry === undefined ? null : reuse(entry.head.policy, asked, nowMs);
    const forward = verdict === null ? (this.#shelf.fieldsOf(key) === null ? "uri-miss" : "vary-miss") : verdict === "refused" ? "request" : "stale";
    const job: Job = { ...given, forward, isBackground: false };
    if (entry !== undefined && (verdict === "fresh" || verdict === "stale" || verdict === "while-revalidate")) return this.#use(job, entry, verdict, nowMs);
    if (asked.has("only-if-cached")) return notCached(forwarded(this.#name, { forward, detail: "only-if-cached" }));
    this.#misses += 1;
    if (OVERRIDES.some((name) => request.headers[name] !== undefined)) return this.#fetching.pass(request, origin, { forward, detail: "override" });
    // A part is not stored; with something to validate, the whole is asked for.
    if (request.headers["range"] !== undefined && entry?.hasValidator !== true) return this.#fetching.pass(request, origin, { forward, detail: "range" });
    return this.#fetching.fetch(job);
  }

  /** The stored answer, as it is. */
  #use(job: Job, entry: Entry, verdict: "fresh" | "stale" | "while-revalidate", nowMs: number): CachedResponse | Promise<CachedResponse> {
    this.#hits += 1;
    if (verdict !== "fresh") this.#fetching.count.stale += 1;
    if (verdict === "while-revalidate") this.#fetching.refresh(job, entry, nowMs);
    this.#shelf.touch(entry, nowMs);
    const detail = verdict === "fresh" ? undefined : verdict === "stale" ? "max-stale" : "stale-while-revalidate";
    return this.#fetching.reply(job, entry, hit(this.#name, entry, nowMs, detail));
  }
}

/** Asks for no more than the answer itself. */
function isPlain({ method, headers }: CacheRequest): boolean {
  if (method !== "GET" && method !== "HEAD") return false;
  if (headers["cache-control"] !== undefined || headers["pragma"] !== undefined) return false;
  for (const name of CONDITIONS) if (headers[name] !== undefined) return false;
  return true;
}
