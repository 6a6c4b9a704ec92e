// Whether a stored answer will do for a request, now (RFC 9111 sections 4.2.4 and 5.2.1). Pure: times come in.

import { type Directives, parseDirectives, seconds } from "./directives.ts";
import type { Policy } from "./policy.ts";

export type Reuse =
  | "fresh"
  /** Stale, and the client said that it may be. */
  | "stale"
  /** Stale, and the upstream said that it may be while it is fetched anew. */
  | "while-revalidate"
  /** Fresh, and the client wants it validated all the same. */
  | "refused"
  /** Stale. */
  | "expired";

/** Of a request that says nothing about caching. */
export const NOTHING_ASKED: Directives = new Map();

/** What the request says about caching. */
export function demands(headers: Readonly<Record<string, string | undefined>>): Directives {
  const field = headers["cache-control"];
  if (field !== undefined) return parseDirectives(field);
  // RFC 9111 section 5.4: Pragma stands for Cache-Control where there is none.
  return parseDirectives(headers["pragma"]?.toLowerCase().includes("no-cache") === true ? "no-cache" : undefined);
}

export function reuse(policy: Policy, asked: Directives, nowMs: number): Reuse {
  const ageMs = nowMs - policy.bornMs;
  const leftMs = policy.lifetimeMs - ageMs;
  if (policy.mustValidate) return "expired";
  const isRefused = refuses(asked, ageMs, leftMs);
  if (leftMs > 0) return isRefused ? "refused" : "fresh";
  if (isRefused || policy.mustBeFresh) return "expired";
  if (asked.has("max-stale") && -leftMs <= staleness(asked)) return "stale";
  return -leftMs < policy.staleWhileRevalidateMs ? "while-revalidate" : "expired";
}

/** Whether it may be used because the upstream fails (RFC 5861 section 4). */
export function mayReplaceError(policy: Policy, nowMs: number): boolean {
  return !policy.mustBeFresh && nowMs - policy.bornMs - policy.lifetimeMs < policy.staleIfErrorMs;
}

function refuses(asked: Directives, ageMs: number, leftMs: number): boolean {
  if (asked.size === 0) return false;
  if (asked.has("no-cache")) return true;
  const maxAge = seconds(asked, "max-age");
  const minFresh = seconds(asked, "min-fresh");
  // NaN, for what is no number, compares as false: it is as if it was not said.
  return (maxAge !== null && ageMs >= maxAge * 1000) || (minFresh !== null && leftMs < minFresh * 1000);
}

/** RFC 9111 section 5.2.1.2: without a value any staleness is accepted. ms */
function staleness(asked: Directives): number {
  return asked.get("max-stale") === null ? Number.POSITIVE_INFINITY : (seconds(asked, "max-stale") ?? 0) * 1000;
}
