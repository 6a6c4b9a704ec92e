// A signed token as text: RFC 7515 compact form, read strictly, so that one token has one spelling. Pure. What every kind
// of token shares stands here: the three parts, the header's rules, `exp` and `nbf`. Keys and algorithms are ours: nothing
// in the token chooses them.
//
// Not jose: it refuses RSA below 2048 bits (the platform's documented keys have 1024), and it lets spaces and padding
// pass inside base64url, so that one token could fill a cache with its variants.

import { RouteError } from "../errors.ts";

/** The platform's tokens have 910 characters with 2048-bit keys, 1700 with 4096. */
export const TOKEN_LIMIT = 8192;

export type Jws = {
  readonly header: Buffer;
  readonly payload: Buffer;
  readonly signature: Buffer;
  /** What the signature is over. */
  readonly signed: Buffer;
};

export type Json = Readonly<Record<string, unknown>>;

/** @throws RouteError unauthorized; the message is the reason, for the log only */
export function parseToken(token: string): Jws {
  if (token.length > TOKEN_LIMIT) throw refused(`token longer than ${TOKEN_LIMIT} characters`);
  const parts = splitToken(token);
  if (parts === null) throw refused("malformed token");
  const [header, payload, signature] = parts;
  return { header, payload, signature, signed: Buffer.from(token.slice(0, token.lastIndexOf(".")), "latin1") };
}

/** True when the text has the one spelling that a token may have: the only text that is fit to be a cache key. */
export function isWellFormed(token: string): boolean {
  return token.length <= TOKEN_LIMIT && splitToken(token) !== null;
}

/** The header's algorithm, which must be one of ours. @throws RouteError unauthorized */
export function checkHeader<A extends string>({ header: bytes }: Jws, algorithms: readonly A[]): A {
  const header = parseObject(bytes);
  if (header === null) throw refused("token header is not a JSON object");
  // RFC 7515 section 4.1.11: extensions that we don't understand; we understand none.
  if (own(header, "crit") !== undefined) throw refused("token header has crit");
  // A token that brings its own key asks to be believed by itself.
  for (const name of ["jwk", "jku", "x5u", "x5c"]) {
    if (own(header, name) !== undefined) throw refused(`token header has ${name}`);
  }
  const algorithm = algorithms.find((known) => known === own(header, "alg"));
  if (algorithm === undefined) throw refused(`token algorithm is not ${algorithms.join(" or ")}`);
  return algorithm;
}

/** The claims of a token whose signature was good. @throws RouteError unauthorized */
export function parseClaims({ payload }: Jws): Json {
  const claims = parseObject(payload);
  if (claims === null) throw refused("token payload is not a JSON object");
  return claims;
}

/**
 * When a token that is good now ends: Unix time in ms, Infinity without `exp`.
 * @param nowMs Unix time; there is no leeway: a token is dead from the moment `exp` on
 * @throws RouteError unauthorized
 */
export function checkTimes(claims: Json, requireExp: boolean, nowMs: number): number {
  const expiresAtMs = readExpiry(own(claims, "exp"), requireExp);
  if (nowMs >= expiresAtMs) throw refused("token has expired");
  // `nfb`, the platform's misspelt twin of `nbf`, was never checked by anyone and may hold anything.
  const notBefore = own(claims, "nbf");
  if (notBefore !== undefined && !isTime(notBefore)) throw refused("token nbf is not a number");
  if (notBefore !== undefined && nowMs < notBefore * 1000) throw refused("token is not valid yet");
  return expiresAtMs;
}

/** A claim of the token itself, never one of a prototype. */
export function own(object: Json, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

export function refused(reason: string): RouteError {
  return new RouteError("unauthorized", reason);
}

function splitToken(token: string): [Buffer, Buffer, Buffer] | null {
  const [header, payload, signature, ...rest] = token.split(".", 4).map(decodeBase64url);
  if (!header || !payload || !signature || rest.length > 0) return null;
  return [header, payload, signature];
}

/** Null unless `text` is what encoding the result gives: no padding, spaces, other alphabet, or stray last bits. */
function decodeBase64url(text: string): Buffer | null {
  const bytes = Buffer.from(text, "base64url");
  return bytes.length > 0 && bytes.toString("base64url") === text ? bytes : null;
}

function readExpiry(exp: unknown, required: boolean): number {
  if (exp === undefined && !required) return Infinity;
  if (exp === undefined) throw refused("token has no exp");
  if (!isTime(exp)) throw refused("token exp is not a number");
  return exp * 1000;
}

function parseObject(bytes: Buffer): Json | null {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value as Json : null;
  } catch {
    return null; // Not UTF-8 or not JSON.
  }
}

/** RFC 7519 section 2, NumericDate: seconds, perhaps with a fraction. `1e999` parses as Infinity and is none. */
function isTime(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}
