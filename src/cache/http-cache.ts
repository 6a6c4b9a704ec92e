// A shared HTTP cache (RFC 9111) between the proxy and its upstreams. It knows neither: requests come in as values, and
// the upstream is a function. Read `answer` first; a fresh entry in memory is answered at once, without a promise.
//
// Invariants: what may not be stored or shared is in no store and reaches nobody but who asked; nothing is used stale
// unless the upstream or the client allowed it; a body that did not come whole is never an entry.

import { TtlCache } from "../lib/ttl-cache.ts";
import { answerFrom, notCached, notModified } from "./answering.ts";
import { type Forward, forwarded, hit, type Outcome } from "./cache-status.ts";
import { CONDITIONS, clientConditions, confirms, isUnmodified, updated, validators } from "./conditions.ts";
import type { Directives } from "./directives.ts";
import { entryId } from "./disk-file.ts";
import { DiskStore, type DiskStoreSettings } from "./disk-store.ts";
import { Entry, type StoredHead, storedHeaders } from "./entry.ts";
import type { CachedResponse, CacheRequest, HeaderPairs, Origin, OriginResponse } from "./exchange.ts";
import { FileBody } from "./file-body.ts";
import { CutError, Filling } from "./filling.ts";
import { Flight } from "./flight.ts";
import { first } from "./fields.ts";
import { invalidated } from "./invalidation.ts";
import { MemoryStore } from "./memory-store.ts";
import { judge, type Times } from "./policy.ts";
import { isSelected, keyOf, resourceOf, type Selector } from "./resource.ts";
import { demands, mayReplaceError, reuse } from "./reuse.ts";
import { variantOf, varyOf } from "./vary.ts";

export type { CachedResponse, CacheRequest, HeaderPairs, Origin, OriginResponse } from "./exchange.ts";
export type { Selector } from "./resource.ts";

export type HttpCacheOptions = {
  /** Of this cache in Cache-Status; a token. */
  readonly name: string;
  /** Bound of everything in memory: entries, and bodies on their way. */
  readonly memoryBytes: number;
  /** The largest body that is stored; never more than an eighth of the memory. */
  readonly objectBytes: number;
  readonly disk: DiskStoreSettings | null;
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

/** After an answer that cannot be shared, requests for its URL don't wait for each other, and keep their conditions. */
const UNSHARED_MS = 10_000;
const UNSHARED_ENTRIES = 10_000;
/** What an upstream's answers to a URL depend on is remembered while there is none of them in the store. */
const FIELDS_MS = 3_600_000;
const MEMO_BYTES = 4 * 1024 * 1024;
/** A refresh in the background that failed is not tried again at once. */
const REFRESH_PAUSE_MS = 1_000;
/** How often a request may wait for others before it goes alone. */
const WAITS = 3;
/** No object takes more of the memory than this. */
const OBJECT_SHARE = 1 / 8;

/** One request on its way to an answer. */
type Job = {
  readonly request: CacheRequest;
  readonly key: string;
  readonly asked: Directives;
  /** The stored answer that will not do as it is. */
  readonly entry: Entry | undefined;
  readonly forward: Forward;
  readonly origin: Origin;
  readonly isBackground: boolean;
};

export class HttpCache {
  readonly #name: string;
  readonly #now: () => number;
  readonly #objectBytes: number;
  readonly #memory: MemoryStore;
  readonly #disk: DiskStore | null;
  /** To be joined, by key and variant; and all there are. */
  readonly #joinable = new Map<string, Flight>();
  readonly #flights = new Set<Flight>();
  readonly #unshared: TtlCache<true>;
  readonly #fields: TtlCache<readonly string[]>;
  /** Of services whose answers were stored, to find all entries of one URL. */
  readonly #scopes = new Set<string>();
  readonly #count = { hits: 0, misses: 0, stale: 0, validated: 0, collapsed: 0, stored: 0 };

  constructor({ name, memoryBytes, objectBytes, disk, now = Date.now, log }: HttpCacheOptions) {
    this.#name = name;
    this.#now = now;
    this.#objectBytes = Math.min(objectBytes, Math.floor(memoryBytes * OBJECT_SHARE));
    this.#memory = new MemoryStore(memoryBytes);
    this.#disk = disk === null ? null : new DiskStore(disk, name, log ?? null, now);
    this.#unshared = new TtlCache({ entries: UNSHARED_ENTRIES, bytes: MEMO_BYTES, now });
    this.#fields = new TtlCache({ entries: UNSHARED_ENTRIES, bytes: MEMO_BYTES, now });
  }

  /** Reads what the disk holds. Never rejects: without the disk the cache goes on in memory. */
  async open(): Promise<void> {
    await this.#disk?.open();
    for (const scope of this.#disk?.scopes ?? []) this.#scopes.add(scope);
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    this.#unshared.close();
    this.#fields.close();
    this.#memory.clear();
    await this.#disk?.close();
  }

  /**
   * The answer to a request: at once from memory, or when the disk or the upstream brings it.
   * Rejects with what `origin` rejects with, when there is nothing else to say; a body that is cut errors its stream.
   */
  answer(request: CacheRequest, origin: Origin): CachedResponse | Promise<CachedResponse> {
    const key = keyOf(request);
    const nowMs = this.#now();
    const entry = this.#memory.find(key, request.headers);
    if (entry === undefined || nowMs >= entry.freshUntilMs || !isPlain(request) || entry.body instanceof FileBody) {
      return this.#consider(request, key, entry, origin, 0);
    }
    this.#count.hits += 1;
    this.#memory.touch(entry, nowMs);
    return request.method === "GET" ? entry.hit(nowMs) : entry.headHit(nowMs);
  }

  /** To be told of every answer to another method: what a successful unsafe one changed is forgotten (RFC 9111 section 4.4). */
  invalidate(request: CacheRequest, status: number, responseHeaders: HeaderPairs): void {
    for (const target of invalidated(request, status, responseHeaders)) {
      for (const scope of new Set([...this.#scopes, request.scope])) this.#forget(keyOf({ ...request, target, scope }));
    }
  }

  /** @returns how many entries there were, those in memory and on disk counted once */
  purge(selector: Selector): number {
    for (const flight of this.#flights) flight.isVoid = true;
    this.#joinable.clear();
    const removed = new Set(this.#memory.purge(selector).map(({ head }) => entryId(head.resource.key, head.variant)));
    for (const id of this.#disk?.purge((resource) => isSelected(selector, resource)) ?? []) removed.add(id);
    return removed.size;
  }

  stats(): CacheStats {
    const { size, bytes, reserved, evicted } = this.#memory;
    return { ...this.#count, entries: size, bytes: bytes + reserved, evicted, disk: this.#disk?.stats() ?? null };
  }

  // ---- what to do about a request

  /** @param waits how often it has waited for others already */
  #consider(request: CacheRequest, key: string, entry: Entry | undefined, origin: Origin, waits: number): CachedResponse | Promise<CachedResponse> {
    const { method, headers } = request;
    const asked = demands(headers);
    if (method !== "GET" && method !== "HEAD") return this.#pass(request, origin, { forward: "method" });
    // RFC 9111 section 4.3.2: these are the upstream's to evaluate.
    if (headers["if-match"] !== undefined || headers["if-unmodified-since"] !== undefined) return this.#pass(request, origin, { forward: "bypass", detail: "precondition" });
    if (asked.has("no-store")) return this.#pass(request, origin, { forward: "request", detail: "no-store" });
    if (entry === undefined && this.#disk !== null) {
      const loading = this.#disk.load(key, headers);
      if (loading !== null) return this.#loaded(loading, request, key, origin, waits);
    }
    const nowMs = this.#now();
    const verdict = entry === undefined ? "missing" : reuse(entry.head.policy, asked, nowMs);
    const forward = verdict === "missing" ? (this.#memory.fieldsOf(key) === null ? "uri-miss" : "vary-miss") : verdict === "refused" ? "request" : "stale";
    const job: Job = { request, key, asked, entry, forward, origin, isBackground: false };
    if (entry !== undefined && (verdict === "fresh" || verdict === "stale" || verdict === "while-revalidate")) return this.#use(job, entry, verdict, nowMs);
    if (asked.has("only-if-cached")) return notCached(forwarded(this.#name, { forward, detail: "only-if-cached" }));
    this.#count.misses += 1;
    if (method === "HEAD") return this.#lead(job, null);
    // A part is not stored; with something to validate, the whole is asked for.
    if (headers["range"] !== undefined && entry?.hasValidator !== true) return this.#pass(request, origin, { forward, detail: "range" });
    return this.#share(job, waits);
  }

  async #loaded(loading: Promise<Entry | null>, request: CacheRequest, key: string, origin: Origin, waits: number): Promise<CachedResponse> {
    const entry = await loading;
    // It may have been replaced meanwhile, and is not put over what is newer.
    const newer = this.#memory.find(key, request.headers);
    if (entry !== null && newer === undefined) this.#memory.put(entry, this.#now());
    return this.#consider(request, key, newer ?? entry ?? undefined, origin, waits);
  }

  /** The stored answer, as it is. */
  #use(job: Job, entry: Entry, verdict: "fresh" | "stale" | "while-revalidate", nowMs: number): CachedResponse | Promise<CachedResponse> {
    this.#count.hits += 1;
    if (verdict !== "fresh") this.#count.stale += 1;
    if (verdict === "while-revalidate") this.#refresh({ ...job, isBackground: true }, entry, nowMs);
    this.#memory.touch(entry, nowMs);
    const detail = verdict === "fresh" ? undefined : verdict === "stale" ? "max-stale" : "stale-while-revalidate";
    return this.#reply(job, entry, hit(this.#name, entry, nowMs, detail));
  }

  #reply(job: Job, entry: Entry, cacheStatus: string): CachedResponse | Promise<CachedResponse> {
    if (job.isBackground) return NOBODYS;
    const answer = answerFrom(entry, job.request, this.#now(), cacheStatus);
    if (!(answer instanceof Promise)) return answer;
    return answer.then((found) => {
      if (found !== null) return found;
      // Its file is gone: it is as if it had never been stored.
      this.#remove(entry);
      return this.#consider(job.request, job.key, undefined, job.origin, 0);
    });
  }

  /** One at a time, and its outcome is nobody's but the store's. */
  #refresh(job: Job, entry: Entry, nowMs: number): void {
    const id = this.#flightId(job);
    if (this.#joinable.has(id) || nowMs < entry.refreshAfterMs) return;
    entry.refreshAfterMs = nowMs + REFRESH_PAUSE_MS;
    this.#lead(job, id).catch(() => {}); // The entry stays as it was, and the next request tries again.
  }

  // ---- the way to the upstream

  /** Joins who asks for the same already, or goes first. */
  #share(job: Job, waits: number): Promise<CachedResponse> {
    // Who refuses what is stored wants an answer from after the question.
    if (job.forward === "request" || waits >= WAITS || this.#unshared.get(job.key) !== undefined) return this.#lead(job, null);
    const id = this.#flightId(job);
    const flight = this.#joinable.get(id);
    return flight === undefined ? this.#lead(job, id) : this.#follow(job, flight, waits);
  }

  #flightId({ key, request }: Job): string {
    const fields = this.#memory.fieldsOf(key) ?? this.#disk?.fieldsOf(key) ?? this.#fields.get(key) ?? [];
    return fields.length === 0 ? key : `${key}\n${variantOf(fields, request.headers)}`;
  }

  async #follow(job: Job, flight: Flight, waits: number): Promise<CachedResponse> {
    const landed = await flight.landed.catch((error: unknown) => this.#orStale(job, error));
    if (!("kind" in landed)) return landed;
    const { request, asked } = job;
    const nowMs = this.#now();
    const head = landed.kind === "growing" ? landed.head : landed.kind === "entry" ? landed.entry.head : null;
    const isOurs = head !== null && variantOf(head.fields, request.headers) === head.variant && reuse(head.policy, asked, nowMs) === "fresh";
    if (!isOurs) return this.#consider(request, job.key, this.#memory.find(job.key, request.headers), job.origin, waits + 1);
    this.#count.collapsed += 1;
    const cacheStatus = forwarded(this.#name, { forward: job.forward, isCollapsed: true });
    if (landed.kind === "entry") return this.#reply(job, landed.entry, cacheStatus);
    return this.#growing(request, head, (landed as { filling: Filling }).filling, head.headers, cacheStatus);
  }

  /** Asks the upstream. @param id under which others may join; null for none */
  async #lead(job: Job, id: string | null): Promise<CachedResponse> {
    const flight = new Flight(job.key, (over) => {
      this.#flights.delete(over);
      if (id !== null && this.#joinable.get(id) === over) this.#joinable.delete(id);
    });
    this.#flights.add(flight);
    if (id !== null) this.#joinable.set(id, flight);
    try {
      return await this.#ask(job, flight);
    } catch (error) {
      flight.fail(error);
      return this.#orStale(job, error);
    }
  }

  async #ask(job: Job, flight: Flight): Promise<CachedResponse> {
    const { request, entry, origin, isBackground } = job;
    const asked = entry !== undefined ? validators(entry) : {};
    const isAsIs = entry === undefined && (request.method === "HEAD" || this.#unshared.get(job.key) !== undefined);
    const requestMs = this.#now();
    const response = await origin(isAsIs ? clientConditions(request.headers) : asked, isBackground);
    const times = { requestMs, responseMs: this.#now() };
    if (response.status === 304 && entry !== undefined && entry.hasValidator) {
      if (confirms(entry, response.headers, times.responseMs)) return this.#validated(job, flight, entry, response, times);
      // It speaks of an answer that we don't have (RFC 9111 section 4.3.4).
      return this.#received({ ...job, entry: undefined }, flight, await origin({}, isBackground), times);
    }
    return request.method === "HEAD" ? this.#headReceived(job, flight, response, times) : this.#received(job, flight, response, times);
  }

  /** As it is, both ways. */
  async #pass(request: CacheRequest, origin: Origin, outcome: Outcome): Promise<CachedResponse> {
    return this.#given(await origin(clientConditions(request.headers), false), outcome);
  }

  /** What is stored in place of an error, where that is allowed. @throws error otherwise */
  #orStale(job: Job, error: unknown): CachedResponse | Promise<CachedResponse> {
    const { entry, forward } = job;
    if (entry === undefined || job.isBackground || !mayReplaceError(entry.head.policy, this.#now())) throw error;
    this.#count.stale += 1;
    return this.#reply(job, entry, forwarded(this.#name, { forward, detail: "stale-if-error" }));
  }

  // ---- what the upstream answered

  /** RFC 9111 section 4.3.3: a whole answer. */
  #received(job: Job, flight: Flight, response: OriginResponse, times: Times): CachedResponse | Promise<CachedResponse> {
    const { request, entry, forward } = job;
    const { status, headers, body, contentLength } = response;
    if (isFailure(status) && entry !== undefined && (job.isBackground || mayReplaceError(entry.head.policy, times.responseMs))) {
      drop(response);
      flight.land({ kind: "nothing" });
      this.#count.stale += 1;
      return this.#reply(job, entry, forwarded(this.#name, { forward, status, detail: "stale-if-error" }));
    }
    const judgement = judge(request.headers, status, headers, times);
    if (judgement.policy === null) return this.#unstored(job, flight, response, judgement.reason);
    const fields = varyOf(headers);
    if (fields === null) return this.#unstored(job, flight, response, "vary");
    if (fields.length > 0) this.#fields.set(job.key, fields, times.responseMs + FIELDS_MS, job.key.length + 100);
    const head: StoredHead = {
      resource: resourceOf(request), fields, variant: variantOf(fields, request.headers), status, policy: judgement.policy,
      headers: storedHeaders(headers, judgement.hidden, times.responseMs), contentLength: body instanceof ReadableStream ? contentLength : body?.byteLength ?? null,
    };
    if (body instanceof ReadableStream) return this.#fill(job, flight, head, response, body);
    if (contentLength !== null && (body?.byteLength ?? 0) !== contentLength) throw new CutError("the upstream cut its answer");
    if ((body?.byteLength ?? 0) > this.#objectBytes) return this.#unstored(job, flight, response, "too-large");
    const isStored = this.#store(flight, new Entry(head, body === null ? null : owned(body), this.#name));
    return this.#first(job, head, response, { forward, isStored });
  }

  #fill(job: Job, flight: Flight, head: StoredHead, response: OriginResponse, body: ReadableStream<Uint8Array>): CachedResponse {
    const { contentLength } = response;
    if (contentLength !== null && contentLength > this.#objectBytes) return this.#unstored(job, flight, response, "too-large");
    if (contentLength !== null && !this.#memory.reserve(contentLength)) return this.#unstored(job, flight, response, "no-room");
    const filling = new Filling(body, contentLength, this.#objectBytes, this.#memory, (filled) => {
      if (filled.kind === "cut") flight.fail(filled.error);
      else if (filled.kind === "whole") this.#store(flight, new Entry({ ...head, contentLength: filled.bytes.byteLength }, filled.bytes, this.#name));
      else this.#landWithout(flight);
    });
    // Nobody waits for what they could not use.
    if (filling.isShared && reuse(head.policy, job.asked, this.#now()) === "fresh") flight.land({ kind: "growing", head, filling });
    else flight.awaitBody();
    const answer = job.isBackground ? NOBODYS : this.#growing(job.request, head, filling, response.headers, forwarded(this.#name, { forward: job.forward, isStored: true }));
    void filling.read();
    return answer;
  }

  /** An answer with a body on its way. @param headers the upstream's for who asked first, those to be stored for others */
  #growing(request: CacheRequest, head: StoredHead, filling: Filling, headers: HeaderPairs, cacheStatus: string): CachedResponse {
    const own: HeaderPairs = [...headers, ["cache-status", cacheStatus]];
    if (isUnmodified(request.headers, head, this.#now())) return notModified(own, cacheStatus);
    return { status: head.status, headers: own, body: filling.join(), contentLength: head.contentLength, cacheStatus };
  }

  #store(flight: Flight, entry: Entry): boolean {
    const nowMs = this.#now();
    const isStored = !flight.isVoid && this.#memory.put(entry, nowMs);
    if (isStored) {
      this.#count.stored += 1;
      this.#scopes.add(entry.head.resource.scope);
      this.#disk?.store(entry);
    }
    // What each has to validate for itself is not worth waiting for.
    if (nowMs < entry.freshUntilMs) this.#unshared.delete(flight.key);
    else this.#unshare(flight.key);
    flight.land({ kind: "entry", entry });
    return isStored;
  }

  #unshare(key: string): void {
    this.#unshared.set(key, true, this.#now() + UNSHARED_MS, key.length + 50);
  }

  #landWithout(flight: Flight): void {
    this.#unshare(flight.key);
    flight.land({ kind: "nothing" });
  }

  /** It is for who asked, and for nobody else. */
  #unstored(job: Job, flight: Flight, response: OriginResponse, reason: string): CachedResponse {
    this.#landWithout(flight);
    // RFC 9111 section 4.3.3: the new answer counts; an error is none about the old one.
    if (job.entry !== undefined && response.status < 500) this.#remove(job.entry);
    if (job.isBackground) drop(response);
    return this.#given(response, { forward: job.forward, detail: reason });
  }

  /** To who asked first. */
  #first(job: Job, head: StoredHead, response: OriginResponse, outcome: Outcome): CachedResponse {
    const answer = this.#given(response, outcome);
    return isUnmodified(job.request.headers, head, this.#now()) ? notModified(answer.headers, answer.cacheStatus) : answer;
  }

  #given({ status, headers, body, contentLength }: OriginResponse, outcome: Outcome): CachedResponse {
    const cacheStatus = forwarded(this.#name, outcome);
    return { status, headers: [...headers, ["cache-status", cacheStatus]], body, contentLength: body instanceof Uint8Array ? body.byteLength : contentLength, cacheStatus };
  }

  /** RFC 9111 section 4.3.4: the stored answer is still right, and gets the fields of the 304. */
  #validated(job: Job, flight: Flight, entry: Entry, response: OriginResponse, times: Times): CachedResponse | Promise<CachedResponse> {
    this.#count.validated += 1;
    const outcome = { forward: job.forward, status: 304 };
    const renewed = this.#renewed(job, entry, response, times);
    if (renewed === null) {
      this.#landWithout(flight);
      const headers = updated(entry.head.headers, response.headers);
      return this.#reply(job, new Entry({ ...entry.head, headers }, entry.body, this.#name), forwarded(this.#name, outcome));
    }
    const isStored = this.#store(flight, renewed);
    return this.#reply(job, renewed, forwarded(this.#name, { ...outcome, isStored }));
  }

  /** The entry with the newer fields; null when those say that it must not be stored, and then it is not any more. */
  #renewed(job: Job, entry: Entry, response: OriginResponse, times: Times): Entry | null {
    const { head } = entry;
    const dated = first(response.headers, "date") === undefined ? [...response.headers, ["date", new Date(times.responseMs).toUTCString()] as const] : response.headers;
    const headers = updated(head.headers, dated);
    const { policy, hidden } = { hidden: [], ...judge(job.request.headers, head.status, headers, times) };
    if (policy !== null) return new Entry({ ...head, policy, headers: storedHeaders(headers, hidden, times.responseMs) }, entry.body, this.#name);
    // Unless it is only this client that it must not be stored for.
    if (job.request.headers["authorization"] === undefined && first(response.headers, "set-cookie") === undefined) this.#remove(entry);
    return null;
  }

  /** RFC 9111 section 4.3.5: what the answer to HEAD says about the stored answer to GET. */
  #headReceived(job: Job, flight: Flight, response: OriginResponse, times: Times): CachedResponse {
    const { entry, forward } = job;
    if (entry !== undefined && response.status === 200 && entry.head.status === 200) {
      const length = entry.body instanceof FileBody ? entry.body.length : entry.body?.byteLength ?? 0;
      const isSame = confirms(entry, response.headers, times.responseMs) && (response.contentLength ?? length) === length;
      const renewed = isSame ? this.#renewed(job, entry, response, times) : null;
      if (renewed !== null) this.#store(flight, renewed);
      else this.#remove(entry);
    }
    flight.land({ kind: "nothing" });
    return this.#given(response, { forward });
  }

  // ---- forgetting

  #remove(entry: Entry): void {
    this.#memory.delete(entry);
    this.#disk?.delete(entry.head.resource.key, entry.head.variant);
  }

  /** All variants, and what is on its way. */
  #forget(key: string): void {
    this.#memory.deleteKey(key);
    this.#disk?.deleteKey(key);
    for (const flight of this.#flights) if (flight.key === key) flight.isVoid = true;
    for (const [id, flight] of this.#joinable) if (flight.isVoid) this.#joinable.delete(id);
  }
}

/** The answer to a refresh in the background. */
const NOBODYS: CachedResponse = { status: 204, headers: [], body: null, contentLength: null, cacheStatus: "" };

/** Asks for no more than the answer itself. */
function isPlain({ method, headers }: CacheRequest): boolean {
  if (method !== "GET" && method !== "HEAD") return false;
  if (headers["cache-control"] !== undefined || headers["pragma"] !== undefined) return false;
  for (const name of CONDITIONS) if (headers[name] !== undefined) return false;
  return true;
}

/** RFC 5861 section 4. */
function isFailure(status: number): boolean {
  return status === 500 || status === 502 || status === 503 || status === 504;
}

/** Nobody reads it. */
function drop({ body }: OriginResponse): void {
  if (body instanceof ReadableStream) void body.cancel().catch(() => {}); // It may have failed by itself.
}

/** Bytes of their own: a view would keep the whole buffer that it looks into. */
function owned(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes);
}
