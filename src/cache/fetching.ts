// The way to the upstream: one fetch for all who ask for the same at a time, and what becomes of its answer.

import { TtlCache } from "../lib/ttl-cache.ts";
import { answerFrom, notModified } from "./answering.ts";
import { type Forward, forwarded, type Outcome } from "./cache-status.ts";
import { clientConditions, confirms, isUnmodified, updated, validators } from "./conditions.ts";
import type { Directives } from "./directives.ts";
import { Entry, type StoredHead } from "./entry.ts";
import type { CachedResponse, CacheRequest, HeaderPairs, Origin, OriginResponse } from "./exchange.ts";
import { FileBody } from "./file-body.ts";
import { CutError, Filling } from "./filling.ts";
import { Flight, type FlightOwner, type Landed } from "./flight.ts";
import type { Times } from "./policy.ts";
import { mayReplaceError, NOTHING_ASKED, reuse } from "./reuse.ts";
import type { Shelf } from "./shelf.ts";
import { headToStore, isFailure, isPersonal, renewed } from "./upstream-answer.ts";
import { variantOf } from "./vary.ts";

/** One request on its way to an answer. */
export type Job = {
  readonly request: CacheRequest;
  readonly key: string;
  readonly asked: Directives;
  /** The stored answer that will not do as it is. */
  readonly entry: Entry | undefined;
  readonly forward: Forward;
  readonly origin: Origin;
  /** Its client has an answer already. */
  readonly isBackground: boolean;
  /** How often it has waited for others. */
  readonly waits: number;
};

type Answer = CachedResponse | Promise<CachedResponse>;

export type FetchingSettings = {
  readonly name: string;
  readonly objectBytes: number;
  readonly patienceMs: number;
  readonly now: () => number;
};

/** After an answer that cannot be shared, requests for its URL don't wait for each other, and keep their conditions. */
const UNSHARED_MS = 10_000;
/** What an upstream's answers to a URL depend on is remembered while there is none of them in the store. */
const FIELDS_MS = 3_600_000;
const MEMO = { entries: 10_000, bytes: 4 * 1024 * 1024 };
/** A refresh in the background that failed is not tried again at once. */
const REFRESH_PAUSE_MS = 1_000;
/** How often a request may wait for others before it goes alone. */
const WAITS = 3;

/** The answer to a refresh in the background. */
const NOBODYS: CachedResponse = { status: 204, headers: [], body: null, contentLength: null, cacheStatus: "" };

export class Fetching implements FlightOwner {
  readonly count = { stale: 0, validated: 0, collapsed: 0, stored: 0 };
  /** To be joined, by key and variant; and all there are. */
  readonly #joinable = new Map<string, Flight>();
  readonly #flights = new Set<Flight>();
  readonly #unshared: TtlCache<true>;
  readonly #fields: TtlCache<readonly string[]>;

  /** @param again considers a request anew */
  constructor(private readonly settings: FetchingSettings, private readonly shelf: Shelf, private readonly again: (job: Job) => Answer) {
    this.#unshared = new TtlCache({ ...MEMO, now: settings.now });
    this.#fields = new TtlCache({ ...MEMO, now: settings.now });
  }

  close(): void {
    this.#unshared.close();
    this.#fields.close();
  }

  /** What is on its way for a key, or for any, may be from before: it is not stored, and nobody joins it any more. */
  void(key: string | null): void {
    for (const flight of this.#flights) {
      if (key !== null && flight.key !== key) continue;
      flight.isVoid = true;
      this.landedWithout(flight);
    }
  }

  /** As it is, both ways. */
  async pass(request: CacheRequest, origin: Origin, outcome: Outcome): Promise<CachedResponse> {
    const asking = new Flight("", null, this);
    asking.wait(request.left);
    const response = await origin(clientConditions(request.headers), false, (abort) => asking.whenUnwanted(abort));
    asking.land({ kind: "nothing" });
    return this.#given(response, outcome);
  }

  /** Joins who asks for the same already, or goes first. */
  fetch(job: Job): Promise<CachedResponse> {
    // A head is for who asked; and who refuses what is stored wants an answer from after the question.
    const isAlone = job.request.method === "HEAD" || job.forward === "request" || job.waits >= WAITS || this.#unshared.get(job.key) !== undefined;
    if (isAlone) return this.#lead(job, null);
    const id = this.#flightId(job);
    const flight = this.#joinable.get(id);
    return flight === undefined ? this.#lead(job, id) : this.#follow(job, flight);
  }

  /** One at a time, and its outcome is nobody's but the store's. */
  refresh(job: Job, entry: Entry, nowMs: number): void {
    const id = this.#flightId(job);
    if (this.#joinable.has(id) || nowMs < entry.refreshAfterMs) return;
    entry.refreshAfterMs = nowMs + REFRESH_PAUSE_MS;
    this.#lead({ ...job, entry, isBackground: true }, id).catch(() => {}); // The entry stays as it was, and a later request tries again.
  }

  /** A stored answer. */
  reply(job: Job, entry: Entry, cacheStatus: string): Answer {
    if (job.isBackground) return NOBODYS;
    const answer = answerFrom(entry, job.request, this.settings.now(), cacheStatus);
    if (!(answer instanceof Promise)) return answer;
    return answer.then((found) => {
      if (found !== null) return found;
      // Its file is gone: it is as if it had never been stored.
      this.shelf.remove(entry);
      return this.again(job);
    });
  }

  // ---- FlightOwner

  landedWithout(flight: Flight): void {
    if (flight.id !== null && this.#joinable.get(flight.id) === flight) this.#joinable.delete(flight.id);
  }

  ended(flight: Flight): void {
    this.#flights.delete(flight);
    this.landedWithout(flight);
  }

  // ---- together

  #flightId({ key, request }: Job): string {
    const fields = this.shelf.fieldsOf(key) ?? this.#fields.get(key) ?? [];
    return fields.length === 0 ? key : `${key}\n${variantOf(fields, request.headers)}`;
  }

  async #follow(job: Job, flight: Flight): Promise<CachedResponse> {
    let landed: Landed;
    flight.wait(job.request.left);
    try {
      landed = await flight.landed;
    } catch (error) {
      return this.#orStale(job, error);
    }
    const head = landed.kind === "growing" ? landed.head : landed.kind === "entry" ? landed.entry.head : null;
    if (head === null || landed.kind === "nothing" || !this.#isFor(job, head)) return this.again({ ...job, waits: job.waits + 1 });
    this.count.collapsed += 1;
    const cacheStatus = forwarded(this.settings.name, { forward: job.forward, isCollapsed: true });
    if (landed.kind === "entry") return this.reply(job, landed.entry, cacheStatus);
    return this.#growing(job.request, head, landed.filling, head.headers, cacheStatus);
  }

  /** RFC 9111 section 4: only where it could have been answered from the store. */
  #isFor({ request, asked }: Job, { fields, variant, policy }: StoredHead): boolean {
    return variantOf(fields, request.headers) === variant && reuse(policy, asked, this.settings.now()) === "fresh";
  }

  // ---- alone, or first

  /** Asks the upstream. @param id under which others may join; null for none */
  async #lead(job: Job, id: string | null): Promise<CachedResponse> {
    const flight = new Flight(job.key, id, this);
    this.#flights.add(flight);
    if (id !== null) this.#joinable.set(id, flight);
    flight.wait(job.isBackground ? undefined : job.request.left);
    try {
      return await this.#ask(job, flight);
    } catch (error) {
      flight.fail(error);
      return this.#orStale(job, error);
    } finally {
      if (!flight.isFilling) flight.end();
    }
  }

  async #ask(job: Job, flight: Flight): Promise<CachedResponse> {
    const { request, entry, origin, isBackground } = job;
    // With nothing stored the whole answer is asked for, unless it would not be stored anyway.
    const isAsIs = entry === undefined && (request.method === "HEAD" || this.#unshared.get(job.key) !== undefined);
    const conditions = isAsIs ? clientConditions(request.headers) : entry === undefined ? {} : validators(entry);
    const { response, times } = await this.#send(origin, conditions, isBackground, flight);
    if (response.status === 304 && entry?.hasValidator === true) {
      if (confirms(entry, response.headers, times.responseMs)) return this.#validated(job, flight, entry, response, times);
      // RFC 9111 section 4.3.4: it speaks of an answer that we don't have.
      const whole = await this.#send(origin, {}, isBackground, flight);
      return this.#received({ ...job, entry: undefined }, flight, whole.response, whole.times);
    }
    return request.method === "HEAD" ? this.#headReceived(job, flight, response, times) : this.#received(job, flight, response, times);
  }

  async #send(origin: Origin, conditions: Record<string, string>, isBackground: boolean, flight: Flight): Promise<{ response: OriginResponse; times: Times }> {
    const requestMs = this.settings.now();
    const response = await origin(conditions, isBackground, (abort) => flight.whenUnwanted(abort));
    return { response, times: { requestMs, responseMs: this.settings.now() } };
  }

  /** What is stored in place of an error, where that is allowed. @throws error otherwise */
  #orStale(job: Job, error: unknown): Answer {
    const { entry, forward } = job;
    if (entry === undefined || job.isBackground || !mayReplaceError(entry.head.policy, this.settings.now())) throw error;
    this.count.stale += 1;
    return this.reply(job, entry, forwarded(this.settings.name, { forward, detail: "stale-if-error" }));
  }

  // ---- what the upstream answered

  /** RFC 9111 section 4.3.3: a whole answer. */
  #received(job: Job, flight: Flight, response: OriginResponse, times: Times): Answer {
    const { request, entry, forward } = job;
    const { status, body, contentLength } = response;
    if (isFailure(status) && entry !== undefined && (job.isBackground || mayReplaceError(entry.head.policy, times.responseMs))) {
      drop(response);
      flight.land({ kind: "nothing" });
      if (!job.isBackground) this.count.stale += 1;
      return this.reply(job, entry, forwarded(this.settings.name, { forward, status, detail: "stale-if-error" }));
    }
    const { head, reason } = headToStore(request, response, times);
    if (head === null) return this.#unstored(job, flight, response, reason);
    const { fields } = head;
    if (fields.length > 0) this.#fields.set(job.key, fields, times.responseMs + FIELDS_MS, job.key.length + 100);
    if ((body instanceof Uint8Array ? body.byteLength : contentLength ?? 0) > this.settings.objectBytes) return this.#unstored(job, flight, response, "too-large");
    if (body instanceof ReadableStream) return this.#fill(job, flight, head, response, body);
    if (contentLength !== null && (body?.byteLength ?? 0) !== contentLength) throw new CutError("the upstream cut its answer");
    const isStored = this.#store(flight, new Entry(head, body === null ? null : owned(body), this.settings.name), null);
    const answer = this.#given(response, { forward, isStored });
    return isUnmodified(request.headers, head, times.responseMs) ? notModified(answer.headers, answer.cacheStatus) : answer;
  }

  #fill(job: Job, flight: Flight, head: StoredHead, response: OriginResponse, body: ReadableStream<Uint8Array>): CachedResponse {
    const { contentLength } = response;
    if (contentLength !== null && !this.shelf.reserve(contentLength)) return this.#unstored(job, flight, response, "no-room");
    const { name, objectBytes, patienceMs } = this.settings;
    const filling = new Filling(body, contentLength, objectBytes, this.shelf, (filled) => {
      if (filled.kind === "cut") return flight.fail(filled.error);
      if (filled.kind === "whole") this.#store(flight, new Entry({ ...head, contentLength: filled.bytes.byteLength }, filled.bytes, name), null);
      else this.#landWithout(flight);
      flight.end();
    });
    flight.isFilling = true;
    // Nobody waits for what they could not use.
    if (reuse(head.policy, NOTHING_ASKED, this.settings.now()) !== "fresh") this.#landWithout(flight);
    else if (filling.isShared) flight.land({ kind: "growing", head, filling });
    else flight.awaitBody(patienceMs);
    const cacheStatus = forwarded(name, { forward: job.forward, isStored: true });
    const answer = job.isBackground ? NOBODYS : this.#growing(job.request, head, filling, response.headers, cacheStatus);
    void filling.read();
    return answer;
  }

  /** An answer with a body on its way. @param headers the upstream's for who asked first, those to be stored for others */
  #growing(request: CacheRequest, head: StoredHead, filling: Filling, headers: HeaderPairs, cacheStatus: string): CachedResponse {
    const own: HeaderPairs = [...headers, ["cache-status", cacheStatus]];
    if (isUnmodified(request.headers, head, this.settings.now())) return notModified(own, cacheStatus);
    return { status: head.status, headers: own, body: filling.join(), contentLength: head.contentLength, cacheStatus };
  }

  /** It is for who asked, and for nobody else. */
  #unstored(job: Job, flight: Flight, response: OriginResponse, reason: string): CachedResponse {
    this.#landWithout(flight);
    // RFC 9111 section 4.3.3: the new answer counts; an error is none about the old one.
    if (job.entry !== undefined && response.status < 500) this.shelf.remove(job.entry);
    if (job.isBackground) drop(response);
    return this.#given(response, { forward: job.forward, detail: reason });
  }

  /** RFC 9111 section 4.3.4: the stored answer is still right, and gets the fields of the 304. */
  #validated(job: Job, flight: Flight, entry: Entry, response: OriginResponse, times: Times): Answer {
    this.count.validated += 1;
    const { name } = this.settings;
    const outcome = { forward: job.forward, status: 304 };
    const newer = renewed(entry, job.request, response.headers, times, name);
    if (newer !== null) {
      const isStored = this.#store(flight, newer, entry);
      return this.reply(job, newer, forwarded(name, { ...outcome, isStored }));
    }
    if (!isPersonal(job.request, response.headers)) this.shelf.remove(entry);
    this.#landWithout(flight);
    const headers = updated(entry.head.headers, response.headers);
    return this.reply(job, new Entry({ ...entry.head, headers }, entry.body, name), forwarded(name, outcome));
  }

  /** RFC 9111 section 4.3.5: what the answer to HEAD says about the stored answer to GET. */
  #headReceived(job: Job, flight: Flight, response: OriginResponse, times: Times): CachedResponse {
    const { entry, request, forward } = job;
    if (entry !== undefined && response.status === 200 && entry.head.status === 200) {
      const length = entry.body instanceof FileBody ? entry.body.length : entry.body?.byteLength ?? 0;
      const isSame = confirms(entry, response.headers, times.responseMs) && (response.contentLength ?? length) === length;
      const newer = isSame ? renewed(entry, request, response.headers, times, this.settings.name) : null;
      if (newer !== null) this.#store(flight, newer, entry);
      else if (!isSame || !isPersonal(request, response.headers)) this.shelf.remove(entry);
    }
    flight.land({ kind: "nothing" });
    return this.#given(response, { forward });
  }

  // ---- the end of it

  /** @param renewed the entry whose body this is; null when all is new */
  #store(flight: Flight, entry: Entry, renewed: Entry | null): boolean {
    const isStored = !flight.isVoid && this.shelf.put(entry, renewed);
    if (isStored) this.count.stored += 1;
    // What each has to validate for itself is not worth waiting for.
    if (this.settings.now() < entry.freshUntilMs) this.#unshared.delete(flight.key);
    else this.#unshare(flight.key);
    flight.land({ kind: "entry", entry });
    return isStored;
  }

  #landWithout(flight: Flight): void {
    this.#unshare(flight.key);
    flight.land({ kind: "nothing" });
  }

  #unshare(key: string): void {
    this.#unshared.set(key, true, this.settings.now() + UNSHARED_MS, key.length + 50);
  }

  #given({ status, headers, body, contentLength }: OriginResponse, outcome: Outcome): CachedResponse {
    const cacheStatus = forwarded(this.settings.name, outcome);
    return { status, headers: [...headers, ["cache-status", cacheStatus]], body, contentLength: body instanceof Uint8Array ? body.byteLength : contentLength, cacheStatus };
  }
}

/** Nobody reads it. */
function drop({ body }: OriginResponse): void {
  if (body instanceof ReadableStream) void body.cancel().catch(() => {}); // It may have failed by itself.
}

/** Bytes of their own: a view would keep the whole buffer that it looks into. */
function owned(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes);
}
