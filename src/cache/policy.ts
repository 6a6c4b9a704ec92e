// What may be done with an answer, decided once when it arrives (RFC 9111 sections 3 and 4.2). http-cache-semantics says
// whether it may be stored and for how long it is fresh; it is told what it would misread (directives in capitals or in
// quotes, repeated ones, dates, status codes that it does not list), and is not asked what it answers otherwise than RFC
// 9111 does: the age, must-revalidate, and everything about a stored answer from then on, which `reuse.ts` decides.

import CachePolicy from "http-cache-semantics";
import { type Directives, fieldNames, LONGEST_S, parseDirectives, seconds } from "./directives.ts";
import type { HeaderPairs } from "./exchange.ts";
import { first, joined } from "./fields.ts";
import { parseHttpDate } from "../lib/http-date.ts";

export type Policy = {
  /** Its age at any time is the time since then. Unix time in ms; what comes with an Age was born before it arrived. */
  readonly bornMs: number;
  /** For how long it is fresh from then on, ms. */
  readonly lifetimeMs: number;
  /** Not to be used without asking the upstream, fresh or not (no-cache). */
  readonly mustValidate: boolean;
  /** Not to be used stale, whoever allows it (must-revalidate, proxy-revalidate, s-maxage). */
  readonly mustBeFresh: boolean;
  /** For how long after its lifetime it may be used: while it is fetched anew, and when that fails (RFC 5861). ms */
  readonly staleWhileRevalidateMs: number;
  readonly staleIfErrorMs: number;
};

/** Storable, and without which fields; or not, and why. */
export type Judgement =
  | { readonly policy: Policy; readonly hidden: readonly string[]; readonly reason: null }
  | { readonly policy: null; readonly reason: string };

/** When the request left and its answer came, Unix time in ms. */
export type Times = { readonly requestMs: number; readonly responseMs: number };

/** Of the time since Last-Modified, where the answer says nothing else (RFC 9111 section 4.2.2), and what is the most of it. */
const HEURISTIC = 0.1;
const HEURISTIC_LIMIT_MS = 24 * 3600 * 1000;

/** RFC 9110 section 15: final status codes whose meaning for a cache is known here. */
const UNDERSTOOD = new Set([
  200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 307, 308,
  400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 426, 500, 501, 502, 503, 504, 505,
]);
/** RFC 9110 section 15.1: cacheable without being told so. */
const CACHEABLE = new Set([200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501]);

/** @param request fields of the request; Authorization and Cache-Control matter */
export function judge(request: Readonly<Record<string, string | undefined>>, status: number, headers: HeaderPairs, times: Times): Judgement {
  // 206 is a part and 304 a word about another answer.
  if (status < 200 || status === 206 || status === 304) return refused("status");
  const directives = effectiveDirectives(headers, status);
  if (directives.has("must-understand") && !UNDERSTOOD.has(status)) return refused("must-understand");
  // Who gets a cookie that was meant for another one has their session: only for those who say that they mean all.
  if (first(headers, "set-cookie") !== undefined && !directives.has("public") && seconds(directives, "s-maxage") === null) return refused("set-cookie");
  const dateMs = dateOf(headers, times.responseMs);
  const lifetimeMs = freshnessLifetime(request, status, headers, directives, dateMs);
  if (lifetimeMs === null) return refused("not-storable");
  const mustValidate = directives.has("no-cache") && fieldNames(directives, "no-cache") === null;
  const hasValidator = first(headers, "etag") !== undefined || first(headers, "last-modified") !== undefined;
  const policy: Policy = {
    bornMs: times.responseMs - initialAge(headers, dateMs, times, lifetimeMs), lifetimeMs, mustValidate,
    mustBeFresh: mustValidate || directives.has("must-revalidate") || directives.has("proxy-revalidate") || directives.has("s-maxage"),
    staleWhileRevalidateMs: allowance(directives, "stale-while-revalidate"), staleIfErrorMs: allowance(directives, "stale-if-error"),
  };
  // Neither good now, nor to be made good, nor allowed to be used all the same.
  const mayBeStale = !policy.mustBeFresh && Math.max(policy.staleWhileRevalidateMs, policy.staleIfErrorMs) > 0;
  if (!hasValidator && !mayBeStale && (lifetimeMs === 0 || mustValidate)) return refused("no-freshness");
  return { policy, hidden: [...fieldNames(directives, "no-cache") ?? [], ...fieldNames(directives, "private") ?? []], reason: null };
}

function refused(reason: string): Judgement {
  return { policy: null, reason };
}

function allowance(directives: Directives, name: string): number {
  return (seconds(directives, name) || 0) * 1000;
}

/** RFC 9213 section 2.2: what is said to gateways stands in place of what is said to all, Expires included. */
function effectiveDirectives(headers: HeaderPairs, status: number): Directives {
  const targeted = parseDirectives(joined(headers, "cdn-cache-control"));
  const directives = new Map(targeted.size > 0 ? targeted : parseDirectives(joined(headers, "cache-control")));
  // RFC 9111 section 5.2.2.3: a cache that understands the status does not mind the no-store beside it.
  if (directives.has("must-understand") && UNDERSTOOD.has(status)) directives.delete("no-store");
  // Pragma stands for Cache-Control where there is none.
  if (directives.size === 0 && /(?:^|,)\s*no-cache\s*(?:,|$)/i.test(joined(headers, "pragma") ?? "")) directives.set("no-cache", null);
  return directives;
}

/** In ms; null when it must not be stored. */
function freshnessLifetime(request: Readonly<Record<string, string | undefined>>, status: number, headers: HeaderPairs, directives: Directives, dateMs: number): number | null {
  const isTargeted = parseDirectives(joined(headers, "cdn-cache-control")).size > 0;
  const told: Record<string, string> = { "cache-control": toldDirectives(directives), date: new Date(dateMs).toUTCString() };
  const expires = isTargeted ? undefined : first(headers, "expires");
  // RFC 9111 section 5.3: no valid date means expired.
  if (expires !== undefined) told["expires"] = new Date(parseHttpDate(expires, dateMs) ?? 0).toUTCString();
  const modifiedMs = parseHttpDate(first(headers, "last-modified") ?? "", dateMs);
  if (modifiedMs !== null) told["last-modified"] = new Date(modifiedMs).toUTCString();
  const asked: Record<string, string> = {};
  if (request["authorization"] !== undefined) asked["authorization"] = "given";
  if (parseDirectives(request["cache-control"]).has("no-store")) asked["cache-control"] = "no-store";
  // 302 stands for all that is cacheable when it says so: the library knows only some of them (RFC 9111 section 3).
  const policy = new CachePolicy({ method: "GET", headers: asked }, { status: CACHEABLE.has(status) ? status : 302, headers: told },
    { shared: true, cacheHeuristic: HEURISTIC, immutableMinTimeToLive: 0 });
  if (!policy.storable()) return null;
  const lifetimeMs = policy.maxAge() * 1000;
  const isExplicit = expires !== undefined || directives.has("max-age") || directives.has("s-maxage");
  return isExplicit ? lifetimeMs : Math.min(lifetimeMs, HEURISTIC_LIMIT_MS);
}

/** As http-cache-semantics reads them: lower case, no quotes, no repetition, and numbers where numbers belong. */
function toldDirectives(directives: Directives): string {
  const told: string[] = [];
  for (const name of ["no-store", "public", "must-revalidate"]) if (directives.has(name)) told.push(name);
  // With names of fields it is those fields that are not stored, or not without asking.
  for (const name of ["private", "no-cache"]) if (directives.has(name) && fieldNames(directives, name) === null) told.push(name);
  for (const name of ["max-age", "s-maxage"]) {
    const value = seconds(directives, name);
    // RFC 9111 section 4.2.1: invalid freshness information means stale.
    if (value !== null) told.push(`${name}=${value || 0}`);
  }
  return told.join(", ");
}

/** RFC 9110 section 6.6.1: without a Date it is when the answer came. */
function dateOf(headers: HeaderPairs, responseMs: number): number {
  return parseHttpDate(first(headers, "date") ?? "", responseMs) ?? responseMs;
}

/** RFC 9111 section 4.2.3, in ms. */
function initialAge(headers: HeaderPairs, dateMs: number, { requestMs, responseMs }: Times, lifetimeMs: number): number {
  // Dates have no fractions: within their second nothing is old.
  const apparentMs = Math.max(0, Math.floor(responseMs / 1000) * 1000 - dateMs);
  const given = joined(headers, "age");
  // An Age that cannot be read, or two of them, come from a cache that is broken or from two that do not know of each
  // other. Section 5.1 would use the first or none; here it is taken for stale (section 4.2.1), which is never wrong.
  const ageMs = given === undefined ? 0 : /^\d+$/.test(given) ? Math.min(Number(given), LONGEST_S) * 1000 : lifetimeMs;
  return Math.max(apparentMs, ageMs + responseMs - requestMs);
}
