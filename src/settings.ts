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

/** RFC 7518 section 3.2: as long as the digest of HS256; below it only with `allowWeakSecret`. */
export const STRONG_SECRET_BYTES = 32;

export type VmTokenSettings = {
  /** The shared key itself, or the file that holds it. */
  readonly secret: { readonly kind: "text"; readonly text: string } | { readonly kind: "file"; readonly path: string };
  readonly algorithms: readonly HmacAlgorithm[];
  /** A key below that is accepted, with a warning. */
  readonly allowWeakSecret: boolean;
};

export type GuardSettings = {
  /** `*` (all but the denied classes), CIDRs (also lift the denied classes), DNS suffixes. */
  readonly allowedTargets: readonly string[];
  readonly allowedPorts: readonly number[];
};

export type DnsSettings = {
  /** `ip[:port]` or `name[:port]` of the servers that resolve targets, asked in turn; null: the system's resolver. */
  readonly nameservers: readonly string[] | null;
  /** Parameters of nginx's `resolver` that stand among them and have no effect. */
  readonly ignored: readonly string[];
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
  /** Client connections, in all and of one address; 0: no bound. */
  readonly connections: number;
  readonly connectionsPerAddress: number;
  /** null: no bound. */
  readonly requestsPerAddress: RequestRate | null;
  readonly requestsPerToken: RequestRate | null;
  /** Bytes a second that a client must send or take at least; 0: any. */
  readonly minimumRate: number;
};

/** A token bucket. */
export type RequestRate = { readonly perSecond: number; readonly burst: number };

export type UpstreamSettings = {
  readonly connectTimeoutMs: number;
  /** No progress while a request is being written, ms. */
  readonly writeTimeoutMs: number;
  /** Kept idle per address / in total / for how long. */
  readonly idleConnectionsPerTarget: number;
  readonly idleConnections: number;
  readonly idleTimeoutMs: number;
  /** How long a desktop that refuses connections, or whose name is unknown, is tried again; 0: not at all. */
  readonly dialTimeoutMs: number;
};

export type CacheSettings = {
  readonly memoryBytes: number;
  /** The largest body that is kept. */
  readonly objectBytes: number;
  /** null: memory only. */
  readonly disk: { readonly directory: string; readonly bytes: number } | null;
};

export type Encoding = "zstd" | "br" | "gzip";

export type CompressionSettings = {
  /** In the order of preference. */
  readonly encodings: readonly Encoding[];
  readonly minimumBytes: number;
  /** Of gzip, 1 to 9. */
  readonly level: number;
};

export type WebSocketSettings = {
  readonly pingIntervalMs: number;
  /** A peer that missed this many pongs in a row is closed. */
  readonly missedPongs: number;
  readonly messageLimitBytes: number;
};

export type ListenAddress = { readonly host: string; readonly port: number };

export type AcmeSettings = {
  /** Directory URL (RFC 8555 section 7.1.1). */
  readonly directoryUrl: string;
  readonly email: string | null;
  /** PEM file with the root that the CA's own server is trusted by; null: the well-known ones. */
  readonly caFile: string | null;
  readonly keyType: "ecdsa-p256" | "rsa-2048";
  /** Directory of accounts and certificates. */
  readonly storage: string;
};

export type TlsSettings = {
  readonly https: ListenAddress;
  /** Certificates from files, followed while they are renewed. */
  readonly files: ReadonlyArray<{ readonly certFile: string; readonly keyFile: string }>;
  /** Names of our own routes that certificates are obtained for. */
  readonly names: readonly string[];
  /** Whose certificate a client gets that asks for an unknown name, or for none; null: it is refused. */
  readonly defaultName: string | null;
  readonly acme: AcmeSettings | null;
  /** Directory of a certificate authority of our own, for trying things out; null: there is none. */
  readonly localAuthority: string | null;
  /** Plain requests for hosts with a certificate are redirected. */
  readonly redirect: boolean;
  /** Strict-Transport-Security, s; 0: not sent. */
  readonly hstsS: number;
};

export type GatewaySettings = {
  /** The registry is `<root>/proxy`. */
  readonly root: string;
  /** What named proxies are put below; null: there are none. */
  readonly domain: string | null;
  /** Our own addresses: what domains must resolve to, and what no backend may be. */
  readonly publicAddresses: readonly string[];
  readonly checkDomains: boolean;
  readonly allowLoopbackBackends: boolean;
  /** Redis, `unix:///path` or `tcp://[:password@]host:port`; null: no zbus. */
  readonly broker: string | null;
  /** Where DNS-01 challenges are answered; null: nowhere. */
  readonly dns: ListenAddress | null;
  /** A program that publishes DNS-01 challenges in our stead; null: none. */
  readonly challengeProgram: string | null;
};

export type AdminSettings = {
  readonly listen: ListenAddress;
  /** File with the bearer token; null: none is asked for, which is for loopback only. */
  readonly tokenFile: string | null;
};

export type Settings = {
  /** File name for messages; "routes.yaml (built in)" for the shipped one. */
  readonly source: string;
  /** `host` empty: all addresses. Port 0: the kernel chooses. */
  readonly http: ListenAddress;
  /** null: plain HTTP only. */
  readonly tls: TlsSettings | null;
  /** null: nothing is registered at run time. */
  readonly gateway: GatewaySettings | null;
  /** null: there is no admin listener. */
  readonly admin: AdminSettings | null;
  readonly nodeName: string;
  /** null when no route asks for a desktop token. */
  readonly desktopToken: DesktopTokenSettings | null;
  /** null when no route asks for a console token. */
  readonly vmToken: VmTokenSettings | null;
  readonly guard: GuardSettings;
  readonly dns: DnsSettings;
  readonly limits: LimitSettings;
  readonly cache: CacheSettings;
  readonly compression: CompressionSettings;
  readonly upstream: UpstreamSettings;
  readonly websocket: WebSocketSettings;
  /** CIDRs of proxies whose X-Forwarded-* headers are believed. */
  readonly trustedProxies: readonly string[];
  /** CIDRs of peers whose connections begin with a PROXY protocol header. */
  readonly proxyProtocol: readonly string[];
  /** Set on every response, replacing what the upstream sent. Names in lower case. */
  readonly responseHeaders: ReadonlyArray<readonly [name: string, value: string]>;
  /** How long running requests may take after SIGTERM, ms. */
  readonly drainTimeoutMs: number;
  readonly logFormat: "json" | "pretty";
  readonly routes: readonly Route[];
};
