// An entry's answer to one request: 304 to who has it, a part to who asks for one, the head alone to HEAD.

import { headersOf304, isUnmodified } from "./conditions.ts";
import type { Entry } from "./entry.ts";
import type { Body, CachedResponse, CacheRequest, HeaderPairs } from "./exchange.ts";
import { FileBody } from "./file-body.ts";
import { rangeOf } from "./range.ts";

/**
 * @param cacheStatus our member of Cache-Status
 * @returns null when its file is gone
 */
export function answerFrom(entry: Entry, request: CacheRequest, nowMs: number, cacheStatus: string): CachedResponse | Promise<CachedResponse | null> {
  const { head, body } = entry;
  const headers = entry.headersAt(nowMs, cacheStatus);
  if (isUnmodified(request.headers, head, nowMs)) return notModified(headers, cacheStatus);
  const { status, contentLength } = head;
  if (request.method === "HEAD" || body === null) return { status, headers, body: null, contentLength, cacheStatus };
  const length = body instanceof FileBody ? body.length : body.byteLength;
  const range = rangeOf(request.headers, status, head.headers, length, nowMs);
  if (range === "unsatisfiable") return outside(headers, length, cacheStatus);
  if (range === "whole") return withBody({ status, headers, contentLength: length, cacheStatus }, body, 0, length - 1);
  // RFC 9110 section 15.3.7.
  const partHeaders: HeaderPairs = [...headers, ["content-range", `bytes ${range.first}-${range.last}/${length}`]];
  return withBody({ status: 206, headers: partHeaders, contentLength: range.last + 1 - range.first, cacheStatus }, body, range.first, range.last);
}

/** @param headers those that a 200 would have */
export function notModified(headers: HeaderPairs, cacheStatus: string): CachedResponse {
  return { status: 304, headers: headersOf304(headers), body: null, contentLength: null, cacheStatus };
}

/** RFC 9111 section 5.2.1.7: nothing was asked, as the client wished. */
export function notCached(cacheStatus: string): CachedResponse {
  return { status: 504, headers: [["cache-status", cacheStatus]], body: null, contentLength: 0, cacheStatus };
}

/** RFC 9110 section 15.5.17. */
function outside(headers: HeaderPairs, length: number, cacheStatus: string): CachedResponse {
  const kept: HeaderPairs = headers.filter(([name]) => name === "date" || name === "age" || name === "cache-status");
  return { status: 416, headers: [...kept, ["content-range", `bytes */${length}`]], body: null, contentLength: 0, cacheStatus };
}

function withBody(answer: Omit<CachedResponse, "body">, body: Uint8Array | FileBody, from: number, to: number): CachedResponse | Promise<CachedResponse | null> {
  const given = (bytes: Body): CachedResponse => ({ ...answer, body: bytes });
  if (!(body instanceof FileBody)) return given(body.subarray(from, to + 1));
  return body.stream(from, to).then((stream) => stream === null ? null : given(stream));
}
