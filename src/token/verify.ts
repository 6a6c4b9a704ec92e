// Is this text a token that the platform signed, and what does it say? RFC 7515 compact form, read strictly: one token
// has one spelling. Pure; the clock comes in. Keys and algorithms are ours: nothing in the token chooses them.
//
// Not jose: it refuses RSA below 2048 bits (the platform's documented keys have 1024), and it lets spaces and padding
// pass inside base64url, so that one token could fill a cache with its variants.

import { constants, type KeyObject, verify } from "node:crypto";
import { RouteError } from "../errors.ts";
import type { JwtAlgorithm } from "../settings.ts";

/** The platform's tokens have 910 characters with 2048-bit keys, 1700 with 4096. */
export const TOKEN_LIMIT = 8192;

export type VerifyRules = {
  readonly algorithms: readonly JwtAlgorithm[];
  readonly requireExp: boolean;
};

/** What is left of a token after it was believed. */
export type Claims = {
  /** Still encrypted. */
  readonly hash: Uint8Array;
  /** Unix time in ms; Infinity without `exp`. */
  readonly expiresAtMs: number;
};

/**
 * @param keys RSA public keys, each tried in turn
 * @param nowMs Unix time; there is no leeway: a token is dead from the moment `exp` on
 * @throws RouteError unauthorized; the message is the reason, for the log only
 */
export function verifyToken(token: string, keys: readonly KeyObject[], rules: VerifyRules, nowMs: number): Claims {
  const jws = parseToken(token);
  const algorithm = checkHeader(jws.header, rules.algorithms);
  if (!keys.some((key) => hasSigned(key, algorithm, jws))) throw refused("bad signature");
  return readClaims(jws.payload, rules, nowMs);
}

/** True when the text has the one spelling that a token may have: the only text that is fit to be a cache key. */
export function isWellFormed(token: string): boolean {
  return token.length <= TOKEN_LIMIT && splitToken(token) !== null;
}

type Jws = {
  readonly header: Buffer;
  readonly payload: Buffer;
  readonly signature: Buffer;
  readonly signed: Buffer;
};

type Json = Readonly<Record<string, unknown>>;

function parseToken(token: string): Jws {
  if (token.length > TOKEN_LIMIT) throw refused(`token longer than ${TOKEN_LIMIT} characters`);
  const parts = splitToken(token);
  if (parts === null) throw refused("malformed token");
  const [header, payload, signature] = parts;
  return { header, payload, signature, signed: Buffer.from(token.slice(0, token.lastIndexOf(".")), "latin1") };
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

function checkHeader(bytes: Buffer, algorithms: readonly JwtAlgorithm[]): JwtAlgorithm {
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

function hasSigned(key: KeyObject, algorithm: JwtAlgorithm, { signed, signature }: Jws): boolean {
  // RFC 7518 section 3.5: the salt of PS* is as long as the digest.
  const scheme = algorithm.startsWith("PS")
    ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
    : { padding: constants.RSA_PKCS1_PADDING };
  try {
    return verify(`sha${algorithm.slice(2)}`, signed, { key, ...scheme }, signature);
  } catch {
    return false; // A key too short for the digest (PS512 with 1024 bits): it cannot have signed this.
  }
}

function readClaims(bytes: Buffer, rules: VerifyRules, nowMs: number): Claims {
  const payload = parseObject(bytes);
  if (payload === null) throw refused("token payload is not a JSON object");
  const expiresAtMs = readExpiry(own(payload, "exp"), rules.requireExp);
  if (nowMs >= expiresAtMs) throw refused("token has expired");
  // `nfb`, the platform's misspelt twin of `nbf`, was never checked by anyone and may hold anything.
  const notBefore = own(payload, "nbf");
  if (notBefore !== undefined && !isTime(notBefore)) throw refused("token nbf is not a number");
  if (notBefore !== undefined && nowMs < notBefore * 1000) throw refused("token is not valid yet");
  return { hash: readHash(own(payload, "hash")), expiresAtMs };
}

function readExpiry(exp: unknown, required: boolean): number {
  if (exp === undefined && !required) return Infinity;
  if (exp === undefined) throw refused("token has no exp");
  if (!isTime(exp)) throw refused("token exp is not a number");
  return exp * 1000;
}

function readHash(hash: unknown): Uint8Array {
  if (hash === undefined) throw refused("token has no hash");
  const bytes = typeof hash === "string" ? Buffer.from(hash, "base64") : null;
  if (bytes !== null && bytes.length > 0 && bytes.toString("base64") === hash) return bytes;
  throw refused("token hash is not base64");
}

function parseObject(bytes: Buffer): Json | null {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value as Json : null;
  } catch {
    return null; // Not UTF-8 or not JSON.
  }
}

function own(object: Json, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

/** RFC 7519 section 2, NumericDate: seconds, perhaps with a fraction. `1e999` parses as Infinity and is none. */
function isTime(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

function refused(reason: string): RouteError {
  return new RouteError("unauthorized", reason);
}
