// One stored answer: its head, its body in memory or in a file, and what may be done with it. Never changed: an answer
// that was validated is a new entry with the same body.

import type { BodyForms, CachedResponse, HeaderPairs } from "./exchange.ts";
import { first } from "./fields.ts";
import type { FileBody } from "./file-body.ts";
import { parseHttpDate } from "../lib/http-date.ts";
import type { Policy } from "./policy.ts";
import type { Resource } from "./resource.ts";

/** Fields that belong to one connection or one hop, whatever sent them (RFC 9111 section 3.1, RFC 9110 section 7.6.1). */
const NOT_STORED = new Set([
  "age", "connection", "content-length", "keep-alive", "proxy-authenticate", "proxy-authentication-info", "proxy-authorization",
  "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
]);

/** What an entry takes beside its texts and its body: objects, places in maps, the head made for clients. Measured (`test/cache/memory-store.test.ts`). */
const ENTRY_BYTES = 2800;
const FIELD_BYTES = 200;

/** What is kept of an answer apart from its body. */
export type StoredHead = {
  readonly resource: Resource;
  /** The fields that Vary named, and the values that the request had in them. */
  readonly fields: readonly string[];
  readonly variant: string;
  readonly status: number;
  readonly headers: HeaderPairs;
  /** Null for what has no body at all (204). */
  readonly contentLength: number | null;
  readonly policy: Policy;
};

/** A head to be given out, and until when it is right. */
type Made = { readonly response: CachedResponse; readonly untilMs: number };

export class Entry implements BodyForms {
  /** Unix time in ms; before it the entry answers any request that does not ask for more. */
  readonly freshUntilMs: number;
  /** What it takes in memory without the forms of its body, by estimate. */
  readonly ownBytes: number;
  readonly etag: string | null;
  readonly modifiedMs: number | null;
  /** When it was last used, to within a second. */
  touchedMs = 0;
  /** When it may be fetched anew in the background again. */
  refreshAfterMs = 0;
  /** Makes room in the store for so many bytes more of this entry; null: it is in none. */
  room: ((bytes: number) => boolean) | null = null;
  #formBytes = 0;
  #forms: Map<string, Uint8Array> | null = null;
  /** By the bytes that they have, of which no more is kept for that; null: these were given out once. */
  #shared: WeakMap<Uint8Array, Blob | null> | null = null;
  #made: Made | null = null;
  #madeForHead: Made | null = null;

  /** @param name of this cache in Cache-Status */
  constructor(readonly head: StoredHead, readonly body: Uint8Array | FileBody | null, private readonly name: string) {
    const { policy, headers, resource, variant } = head;
    this.freshUntilMs = policy.mustValidate ? Number.NEGATIVE_INFINITY : policy.bornMs + policy.lifetimeMs;
    this.etag = first(headers, "etag") ?? null;
    this.modifiedMs = parseHttpDate(first(headers, "last-modified") ?? "", policy.bornMs);
    let texts = resource.key.length * 2 + variant.length;
    for (const [field, value] of headers) texts += field.length + value.length + FIELD_BYTES;
    this.ownBytes = ENTRY_BYTES + texts + (body instanceof Uint8Array ? body.byteLength : 0);
  }

  /** What it takes in memory, by estimate. */
  get bytes(): number {
    return this.ownBytes + this.#formBytes;
  }

  form(name: string): Uint8Array | undefined {
    return this.#forms?.get(name);
  }

  keepForm(name: string, bytes: Uint8Array): void {
    const size = bytes.byteLength + FIELD_BYTES;
    if (this.#forms?.has(name) === true || this.room?.(size) !== true) return;
    this.#forms ??= new Map();
    // Compressors give views of larger buffers.
    this.#forms.set(name, bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice());
    this.#formBytes += size;
  }

  /** Without it each answer is sent from a copy of its own, which is a tenth of what a short one costs, and all of what one costs that nobody reads. */
  shared(bytes: Uint8Array): Blob | null {
    this.#shared ??= new WeakMap();
    const shared = this.#shared.get(bytes);
    if (shared instanceof Blob) return shared;
    const made = shared === null && this.room?.(bytes.byteLength) === true ? new Blob([bytes as Uint8Array<ArrayBuffer>]) : null;
    if (made !== null) this.#formBytes += bytes.byteLength;
    this.#shared.set(bytes, made);
    return made;
  }

  get hasValidator(): boolean {
    return this.etag !== null || first(this.head.headers, "last-modified") !== undefined;
  }

  /** For a hit. Within one second of its Age the same object: whoever makes something of it can keep that with it. */
  hit(nowMs: number): CachedResponse {
    if (this.#made === null || nowMs >= this.#made.untilMs) this.#made = this.#make(nowMs, this.body as Uint8Array | null);
    return this.#made.response;
  }

  /** The same for HEAD. */
  headHit(nowMs: number): CachedResponse {
    if (this.#madeForHead === null || nowMs >= this.#madeForHead.untilMs) this.#madeForHead = this.#make(nowMs, null);
    return this.#madeForHead.response;
  }

  /** All fields of an answer given out now. @param cacheStatus our member of Cache-Status */
  headersAt(nowMs: number, cacheStatus: string): HeaderPairs {
    // RFC 9111 section 5.1: whole seconds. RFC 9211 section 2: ours comes after those nearer to the origin.
    return [...this.head.headers, ["age", String(this.ageAt(nowMs))], ["cache-status", cacheStatus]];
  }

  ageAt(nowMs: number): number {
    return Math.max(0, Math.floor((nowMs - this.head.policy.bornMs) / 1000));
  }

  /** Seconds that it stays fresh; negative when it is stale. */
  ttlAt(nowMs: number): number {
    const { bornMs, lifetimeMs } = this.head.policy;
    return Math.floor((bornMs + lifetimeMs - nowMs) / 1000);
  }

  #make(nowMs: number, body: Uint8Array | null): Made {
    const cacheStatus = `${this.name}; hit; ttl=${this.ttlAt(nowMs)}`;
    const { status, contentLength, policy } = this.head;
    const response = { status, headers: this.headersAt(nowMs, cacheStatus), body, contentLength, cacheStatus, forms: this };
    return { response, untilMs: policy.bornMs + (this.ageAt(nowMs) + 1) * 1000 };
  }
}

/**
 * The fields to keep of an answer.
 * @param hidden fields that the answer's own directives keep from being stored
 */
export function storedHeaders(headers: HeaderPairs, hidden: readonly string[], responseMs: number): HeaderPairs {
  const kept = headers.filter(([name]) => !NOT_STORED.has(name) && !hidden.includes(name));
  if (parseHttpDate(first(kept, "date") ?? "", responseMs) !== null) return kept;
  // RFC 9110 section 6.6.1: who stores an answer without a Date writes down when it came.
  return [...kept.filter(([name]) => name !== "date"), ["date", new Date(responseMs).toUTCString()]];
}
