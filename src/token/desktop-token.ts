// Token in, identity out: the cache in front of verify.ts and decrypt.ts. Nearly every request is a hit and gets its
// answer at once, without a promise.
//
// Invariants: an identity is never given out past its token's `exp`, nor one that was found with keys which are no
// longer in use; one token is resolved once, however many requests bring it; only well-formed text ever becomes a key
// of a cache.

import type { KeyObject } from "node:crypto";
import { RouteError } from "../errors.ts";
import type { DesktopIdentity } from "../identity.ts";
import { TtlCache } from "../lib/ttl-cache.ts";
import type { DesktopTokenSettings } from "../settings.ts";
import { DecryptPool } from "./decrypt-pool.ts";
import { isWellFormed } from "./jws.ts";
import { tokenHash } from "./token-hash.ts";
import { type Claims, verifyToken } from "./verify.ts";

/** An entry beside its token and host: the objects, the Map's slot (measured on 50,000: 780 to 900 bytes). */
const ENTRY_BYTES = 900;
/** An identity that would live no longer is not worth its place. */
const MIN_TTL_MS = 1_000;
const FAILURES = 10_000;
const FAILURE_BYTES = 16 * 1024 * 1024;

/** What is asked of a key store; `version` grows when other keys come into use. */
export type DesktopKeySource = {
  readonly signing: readonly KeyObject[];
  readonly payload: KeyObject | null;
  readonly version: number;
};

export type DesktopTokenRules = Pick<DesktopTokenSettings, "algorithms" | "requireExp" | "cache">;

/** Opens `hash`: the host, or null for anything else. */
export type OpenHash = (key: KeyObject, ciphertext: Uint8Array) => Promise<string | null>;

export type DesktopTokensOptions = {
  /** Unix time in ms. */
  readonly now?: () => number;
  readonly decrypt?: OpenHash;
};

export class DesktopTokens {
  readonly #identities: TtlCache<DesktopIdentity>;
  readonly #failures: TtlCache<RouteError>;
  readonly #running = new Map<string, Promise<DesktopIdentity>>();
  readonly #pool: DecryptPool | null;
  readonly #decrypt: OpenHash;
  readonly #now: () => number;
  #version: number;

  constructor(
    private readonly rules: DesktopTokenRules,
    private readonly keys: DesktopKeySource,
    { now = Date.now, decrypt }: DesktopTokensOptions = {},
  ) {
    const { entries, bytes } = rules.cache;
    this.#now = now;
    this.#identities = new TtlCache({ entries, bytes, now });
    this.#failures = new TtlCache({ entries: FAILURES, bytes: FAILURE_BYTES, now });
    const pool = decrypt === undefined ? new DecryptPool() : null;
    this.#pool = pool;
    this.#decrypt = decrypt ?? ((key, ciphertext) => (pool as DecryptPool).open(key, ciphertext));
    this.#version = keys.version;
  }

  /**
   * The identity itself when the token is known, else a promise of it.
   * @throws RouteError (or rejects with one): unauthorized, the same for every reason; unavailable without keys, or
   * when too many tokens wait to be opened
   */
  identify(token: string): DesktopIdentity | Promise<DesktopIdentity> {
    if (this.keys.version !== this.#version) this.clear();
    return this.#identities.get(token) ?? this.#running.get(token) ?? this.#resolve(token);
  }

  /** Forgets everything. What is under way ends as it began and is not remembered. */
  clear(): void {
    this.#version = this.keys.version;
    this.#identities.clear();
    this.#failures.clear();
    this.#running.clear();
  }

  /** Identities held. */
  get size(): number {
    return this.#identities.size;
  }

  close(): void {
    this.clear();
    this.#pool?.close();
  }

  #resolve(token: string): Promise<DesktopIdentity> {
    const failure = this.#failures.get(token);
    if (failure !== undefined) throw failure;
    const { signing, payload } = this.keys;
    if (signing.length === 0 || payload === null) throw new RouteError("unavailable", "keys not loadable");
    const claims = this.#verify(token, signing);
    const promise = this.#open(token, payload, claims).finally(() => {
      // After a change of keys, what runs under this token may be somebody else's.
      if (this.#running.get(token) === promise) this.#running.delete(token);
    });
    this.#running.set(token, promise);
    return promise;
  }

  #verify(token: string, signing: readonly KeyObject[]): Claims {
    try {
      return verifyToken(token, signing, this.rules, this.#now());
    } catch (error) {
      this.#rememberFailure(token, error);
      throw error;
    }
  }

  async #open(token: string, payload: KeyObject, { hash, expiresAtMs }: Claims): Promise<DesktopIdentity> {
    const version = this.#version;
    try {
      const host = await this.#decrypt(payload, hash);
      if (host === null) throw new RouteError("unauthorized", "token hash does not open to a host");
      if (this.#now() >= expiresAtMs) throw new RouteError("unauthorized", "token has expired");
      const identity: DesktopIdentity = { kind: "desktop", host, tokenHash: tokenHash(token), expiresAtMs };
      if (version === this.#version) this.#remember(token, identity);
      return identity;
    } catch (error) {
      if (version === this.#version) this.#rememberFailure(token, error);
      throw error;
    }
  }

  #remember(token: string, identity: DesktopIdentity): void {
    const now = this.#now();
    const ttlMs = Math.min(identity.expiresAtMs - now, this.rules.cache.ttlMs);
    if (ttlMs <= MIN_TTL_MS) return;
    this.#identities.set(token, identity, now + ttlMs, token.length + identity.host.length + ENTRY_BYTES);
  }

  /** Refusals only: `unavailable` may be over the next moment. */
  #rememberFailure(token: string, error: unknown): void {
    if (!(error instanceof RouteError) || error.code !== "unauthorized" || !isWellFormed(token)) return;
    this.#failures.set(token, error, this.#now() + this.rules.cache.failureTtlMs, token.length + ENTRY_BYTES);
  }
}
