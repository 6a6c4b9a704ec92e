// What compressing changes in the head of an answer. Framing is not here: whoever sends the body derives it from the body
// in hand, so Content-Length only ever leaves.
//
// Invariant: caches are told that the answer depends on Accept-Encoding whether or not this one is compressed, and a strong
// ETag never stands on bytes that it was not made for.

import type { Encoding } from "./encoding.ts";

type Pairs = ReadonlyArray<readonly [name: string, value: string]>;

/** True of the plain bytes only: their length, ranges of them, sums over them. */
const OF_PLAIN_BYTES = new Set(["content-length", "accept-ranges", "content-md5", "digest", "content-digest", "content-encoding"]);

/** The head of an answer that goes out compressed. @param headers names in lower case */
export function compressedHeaders(headers: Pairs, encoding: Encoding): [string, string][] {
  const kept = headers.filter(([name]) => !OF_PLAIN_BYTES.has(name)).map(([name, value]): [string, string] => [name, name === "etag" ? weak(value) : value]);
  return [...withVary(kept), ["content-encoding", encoding]];
}

/** The head of an answer that could have gone out compressed but does not, for this client or for now. */
export function plainHeaders(headers: Pairs): [string, string][] {
  return withVary(headers);
}

/**
 * The head of a 304. Its ETag must be the one that the client has (RFC 9111 section 4.3.4), which is the weak one if we
 * compressed what it has; a 304 seldom has a Content-Type by which to tell, but the client says what it asked with.
 * @param ifNoneMatch of the request
 */
export function notModifiedHeaders(headers: Pairs, ifNoneMatch: string | undefined): [string, string][] {
  const etag = headers.find(([name]) => name === "etag")?.[1];
  if (etag === undefined || ifNoneMatch === undefined || isWeak(etag) || !ifNoneMatch.includes(weak(etag))) return headers.map(([name, value]) => [name, value]);
  return withVary(headers.map(([name, value]) => [name, name === "etag" ? weak(value) : value]));
}

// RFC 9110 section 8.8.1: a weak validator may stay the same where the bytes differ and the meaning does not.
function weak(etag: string): string {
  return isWeak(etag) ? etag : `W/${etag}`;
}

function isWeak(etag: string): boolean {
  return etag.startsWith("W/");
}

/** All Vary fields as one, with Accept-Encoding in it; a `*` says it all already. */
function withVary(headers: Pairs): [string, string][] {
  const fields = headers.filter(([name]) => name === "vary").flatMap(([, value]) => value.split(",")).map((field) => field.trim()).filter((field) => field !== "");
  const others = headers.filter(([name]) => name !== "vary").map(([name, value]): [string, string] => [name, value]);
  if (fields.includes("*")) return [...others, ["vary", "*"]];
  if (!fields.some((field) => field.toLowerCase() === "accept-encoding")) fields.push("Accept-Encoding");
  return [...others, ["vary", fields.join(", ")]];
}
