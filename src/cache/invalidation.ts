// What a successful unsafe request makes invalid (RFC 9111 section 4.4): its own URL, and those that its answer names in
// Location and Content-Location when they are of the same origin. Another origin could name anything.

import type { CacheRequest, HeaderPairs } from "./exchange.ts";

/** RFC 9110 section 9.2.1, RFC 4918, RFC 5323 and RFC 3253: methods that change nothing. */
const SAFE = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "SEARCH", "REPORT", "QUERY"]);

/** The targets, as path and query; empty when nothing is to be done. */
export function invalidated(request: CacheRequest, status: number, headers: HeaderPairs): string[] {
  if (SAFE.has(request.method) || status < 200 || status > 399) return [];
  const base = URL.parse(`${request.scheme}://${request.host}${request.target}`);
  const targets = new Set([request.target]);
  for (const [name, value] of headers) {
    if (name !== "location" && name !== "content-location") continue;
    const named = base === null ? null : URL.parse(value, base.href);
    if (named !== null && named.origin === base?.origin) targets.add(named.pathname + named.search);
  }
  return [...targets];
}
