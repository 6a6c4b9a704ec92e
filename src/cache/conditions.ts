// Conditional requests, both ways (RFC 9110 section 13, RFC 9111 section 4.3): what we ask the upstream about an entry of
// ours, and what the entry answers to a client that has a copy of its own.

import type { Entry, StoredHead } from "./entry.ts";
import type { HeaderPairs } from "./exchange.ts";
import { first } from "./fields.ts";
import { parseHttpDate } from "../lib/http-date.ts";

type Headers = Readonly<Record<string, string | undefined>>;

/** Fields that a cache answers or replaces. */
export const CONDITIONS = ["if-none-match", "if-modified-since", "if-match", "if-unmodified-since", "if-range", "range"] as const;

/** RFC 9110 section 8.8.3, and the `W"..."`, `w/"..."` and `...` that some send: equal only to themselves. */
const TAG = /\s*((?:W\/)?"[^"]*"|[^,\s]+)\s*(?:,|$)/y;
/** RFC 9110 section 15.4.5: a 304 says nothing about the body that the client has. */
const NOT_IN_304 = /^content-(?!location$|security-policy)|^transfer-encoding$/;
/** What a 304 cannot change: it describes the body that we have (RFC 9111 section 3.2). */
const NOT_UPDATED = new Set(["content-encoding", "content-length", "content-md5", "content-range", "content-digest", "etag"]);

/** The client's own conditions. */
export function clientConditions(headers: Headers): Record<string, string> {
  const own: Record<string, string> = {};
  for (const name of CONDITIONS) {
    const value = headers[name];
    if (value !== undefined) own[name] = value;
  }
  return own;
}

/** RFC 9111 section 4.3.1: both validators, where there are both. Empty when there is nothing to ask with. */
export function validators({ head: { headers }, etag }: Entry): Record<string, string> {
  const modified = first(headers, "last-modified");
  return { ...(etag === null ? {} : { "if-none-match": etag }), ...(modified === undefined ? {} : { "if-modified-since": modified }) };
}

/** RFC 9111 section 4.3.2: whether the client's copy is the answer that we have. */
export function isUnmodified(headers: Headers, head: Pick<StoredHead, "headers" | "status">, nowMs: number): boolean {
  if (head.status !== 200) return false;
  const etag = first(head.headers, "etag");
  const asked = headers["if-none-match"];
  // RFC 9110 section 13.1.3: If-Modified-Since counts only without If-None-Match.
  if (asked !== undefined) return asked.trim() === "*" || (etag !== undefined && tags(asked).some((tag) => weakly(tag) === weakly(etag)));
  const sinceMs = parseHttpDate(headers["if-modified-since"] ?? "", nowMs);
  const modifiedMs = parseHttpDate(first(head.headers, "last-modified") ?? first(head.headers, "date") ?? "", nowMs);
  return sinceMs !== null && modifiedMs !== null && modifiedMs <= sinceMs;
}

/** RFC 9110 section 15.4.5. */
export function headersOf304(headers: HeaderPairs): HeaderPairs {
  const hasTag = first(headers, "etag") !== undefined;
  return headers.filter(([name]) => !NOT_IN_304.test(name) && !(hasTag && name === "last-modified"));
}

/** RFC 9111 section 4.3.4: whether a 304 speaks of what we have. It may leave the validators out. */
export function confirms(entry: Entry, answer: HeaderPairs, nowMs: number): boolean {
  const etag = first(answer, "etag");
  if (etag !== undefined && entry.etag !== null) return weakly(etag) === weakly(entry.etag);
  const modifiedMs = parseHttpDate(first(answer, "last-modified") ?? "", nowMs);
  return etag === undefined && (modifiedMs === null || entry.modifiedMs === null || modifiedMs === entry.modifiedMs);
}

/** RFC 9111 section 3.2: the stored fields, each replaced by the answer's lines of the same name. */
export function updated(stored: HeaderPairs, answer: HeaderPairs): HeaderPairs {
  const fresh = answer.filter(([name]) => !NOT_UPDATED.has(name));
  const replaced = new Set(fresh.map(([name]) => name));
  // RFC 9211 section 2: the way of this answer, not of the one before.
  return [...stored.filter(([name]) => !replaced.has(name) && name !== "cache-status"), ...fresh];
}

/** RFC 9110 section 8.8.3.2: weak comparison. */
function weakly(tag: string): string {
  return tag.startsWith("W/") ? tag.slice(2) : tag;
}

function tags(list: string): string[] {
  const found: string[] = [];
  TAG.lastIndex = 0;
  for (let match = TAG.exec(list); match !== null && found.length < 1000; match = TAG.exec(list)) found.push(match[1] ?? "");
  return found;
}
