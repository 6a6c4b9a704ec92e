// Everything a configuration file can say, parsed: units are in the names, names are resolved, nothing needs checking again.
// One Settings object is one immutable snapshot; a changed file makes a new one.

import type { Route } from "./route.ts";

export type JwtAlgorithm = "RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512";

export type DesktopTokenSettings = {
  /** Files with RSA public keys (SPKI or PKCS#1 PEM), each tried in turn. */
  readonly signingPublicKeys: readonly string[];
  /** File with the RSA private key (PKCS#1 or PKCS#8 PEM) that opens `hash`. */
  readonly payloadPrivateKey: string;
  readonly algorithms: readonly JwtAlgorithm[];
  /** RSA below 2048 bits is accepted, with a warning. */
  readonly allowWeakRsaKeys: boolean;
  /** A token without `exp` is refused. */
  readonly requireExp: boolean;
  /** false: start without loadable keys and answer 503 on token routes until they can be read. */
  readonly requireKeysAtStart: boolean;
  readonly cache: {
    readonly ttlMs: number;
    readonly entries: number;
    readonly bytes: number;
    readonly failureTtlMs: number;
  };
};

export type HmacAlgorithm = "HS256" | "HS384" | "HS512";

export type VmTokenSettings = {
  /** The shared key itself, or the file that holds it. */
  readonly secret: { readonly kind: "text"; readonly text: string } | { readonly kind: "file"; readonly path: string };
  readonly algorithms: readonly HmacAlgorithm[];
  /** A key below 32 bytes is accepted, with a warning. */
  readonly allowWeakSecret: boolean;
};

export type GuardSettings = {
  /** `*` (all but the denied classes), CIDRs (also lift the denied classes), DNS suffixes. */
  readonly allowedTargets: readonly string[];
  readonly allowedPorts: readonly number[];
};

export type DnsSettings = {
  /** `ip[:port]` of the server that resolves targets; null: the system's resolver. */
  readonly nameserver: string | null;
  readonly timeoutMs: number;
};

export type LimitSettings = {
  /** Request target (path and query), bytes. */
  readonly requestTargetBytes: number;
  /** All header names and values, bytes. */
  readonly headerBytes: number;
  readonly headerCount: number;
  /** A response body up to this size is collected and sent with its Content-Length. */
  readonly responseBufferBytes: number;
  /** All collected response bodies together; above it, bodies are streamed. */
  readonly responseBufferTotalBytes: number;
};

export type UpstreamSettings = {
  readonly connectTimeoutMs: number;
  /** No progress while a request is being written, ms. */
  readonly writeTimeoutMs: number;
  /** Kept idle per address / in total / for how long. */
  readonly idleConnectionsPerTarget: number;
  readonly idleConnections: number;
  readonly idleTimeoutMs: number;
};

export type WebSocketSettings = {
  readonly pingIntervalMs: number;
  /** A peer that missed this many pongs in a row is closed. */
  readonly missedPongs: number;
  readonly messageLimitBytes: number;
};

export type Settings = {
  /** File name for messages; "routes.yaml (built in)" for the shipped one. */
  readonly source: string;
  /** `host` empty: all addresses. Port 0: the kernel chooses. */
  readonly http: { readonly host: string; readonly port: number };
  readonly nodeName: string;
  /** null when no route asks for a desktop token. */
  readonly desktopToken: DesktopTokenSettings | null;
  /** null when no route asks for a console token. */
  readonly vmToken: VmTokenSettings | null;
  readonly guard: GuardSettings;
  readonly dns: DnsSettings;
  readonly limits: LimitSettings;
  readonly upstream: UpstreamSettings;
  readonly websocket: WebSocketSettings;
  /** CIDRs of proxies whose X-Forwarded-* headers are believed. */
  readonly trustedProxies: readonly string[];
  /** Set on every response, replacing what the upstream sent. Names in lower case. */
  readonly responseHeaders: ReadonlyArray<readonly [name: string, value: string]>;
  /** How long running requests may take after SIGTERM, ms. */
  readonly drainTimeoutMs: number;
  readonly logFormat: "json" | "pretty";
  readonly routes: readonly Route[];
};
