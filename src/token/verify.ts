// Is this text a desktop token that the platform signed, and what does it say? Pure; the clock comes in.

import { constants, type KeyObject, verify } from "node:crypto";
import type { JwtAlgorithm } from "../settings.ts";
import { checkHeader, checkTimes, type Jws, own, parseClaims, parseToken, refused } from "./jws.ts";

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
  const algorithm = checkHeader(jws, rules.algorithms);
  if (!keys.some((key) => hasSigned(key, algorithm, jws))) throw refused("bad signature");
  const claims = parseClaims(jws);
  const expiresAtMs = checkTimes(claims, rules.requireExp, nowMs);
  return { hash: readHash(own(claims, "hash")), expiresAtMs };
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

function readHash(hash: unknown): Uint8Array {
  if (hash === undefined) throw refused("token has no hash");
  const bytes = typeof hash === "string" ? Buffer.from(hash, "base64") : null;
  if (bytes !== null && bytes.length > 0 && bytes.toString("base64") === hash) return bytes;
  throw refused("token hash is not base64");
}
