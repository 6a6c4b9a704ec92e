// What a client sent, checked once: one normalised path and query that decide and travel, one valid Host, bounded headers.
// Bun.serve has parsed the head already and refused what is malformed (test/runtime proves what it refuses); this closes
// what it lets through.

import type { LimitSettings } from "../settings.ts";
import { RouteError } from "../errors.ts";

export type ClientRequest = {
  readonly method: string;
  /** Starts with `/`; percent-encoding as it came. */
  readonly path: string;
  /** Without `?`; "" for none. */
  readonly query: string;
  readonly host: string;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
};

// hostname[:port] with a DNS-like name (hyphens anywhere: registered names may have them, seed 003), IPv4, or [IPv6]. Anything else (empty, two joined by a comma, user@, a path) is refused.
const HOST = /^(?:[A-Za-z0-9_-](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9_.-])?|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$/;
// A dot segment that only shows after decoding, or before a path parameter, also an encoded one; an encoded NUL; a raw or encoded backslash beside dots.
const AMBIGUOUS = /%00|(?:^|\/|\\|%2f|%5c)(?:\.|%2e){1,2}(?:$|\/|\\|%2f|%5c|;|%3b)/i;

/** More than ten thousand services have; of 260 bytes at most. */
const knownHosts = new Set<string>();
const KNOWN_HOSTS = 20_000;

/** @throws RouteError bad_request, method_not_allowed, target_too_long, headers_too_large */
export function readRequest(request: Request, limits: LimitSettings): ClientRequest {
  const url = request.url;
  // Without a valid Host, Bun hands out a bare path that it did not normalise.
  const start = url.charCodeAt(0) === 104 /* h */ ? url.indexOf("/", 8) : -1;
  const headers = request.headers.toJSON() as Record<string, string>;
  const host = headers["host"] ?? "";
  const method = request.method;
  // First, because the target of CONNECT is no path (RFC 9112 section 3.2.3).
  if (method === "CONNECT" || method === "TRACE") throw new RouteError("method_not_allowed", `${method} is not offered`);
  if (start < 0 || !isHost(host)) throw new RouteError("bad_request", "missing or malformed Host");
  if (url.length - start > limits.requestTargetBytes) throw new RouteError("target_too_long", "request target over the limit");
  checkHeaders(headers, limits);
  if (url.includes("#", start)) throw new RouteError("bad_request", "fragment in the request target");
  const mark = url.indexOf("?", start);
  const path = mark < 0 ? url.slice(start) : url.slice(start, mark);
  // Plain dot segments are gone already: only what is encoded or follows a `;` can still be one.
  if ((path.includes("%") || path.includes(";")) && AMBIGUOUS.test(path)) throw new RouteError("bad_request", "ambiguous path");
  return { method, path, query: mark < 0 ? "" : url.slice(mark + 1), host, headers };
}

function checkHeaders(headers: Readonly<Record<string, string>>, limits: LimitSettings): void {
  let bytes = 0;
  let count = 0;
  for (const name in headers) {
    bytes += name.length + (headers[name] as string).length + 4;
    count += 1;
  }
  if (bytes > limits.headerBytes || count > limits.headerCount) throw new RouteError("headers_too_large", "request headers over the limit");
}

function isHost(host: string): boolean {
  if (knownHosts.has(host)) return true;
  if (!HOST.test(host) || host.includes("..")) return false;
  const port = /:(\d+)$/.exec(host);
  if (port !== null && Number(port[1]) > 65535) return false;
  if (knownHosts.size >= KNOWN_HOSTS) knownHosts.clear();
  knownHosts.add(host);
  return true;
}
