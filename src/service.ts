// A service is a named destination. What kind it is decides how a request gets an address: a fixed one stands in the
// configuration, a target one comes out of the request's token, a console is a virtual machine of the token behind the
// Kubernetes API, a built-in one is answered by this process, a gateway one was registered at run time.

import type { Gateway } from "./gateway.ts";
import { hostForUrl } from "./lib/address.ts";

/** Which Host header goes upstream: the one the client sent, or the upstream's own `host:port`. */
export type HostHeader = "client" | "upstream";

/** How a server is reached. */
export type ServerAddress =
  /** Host name or IP literal (IPv6 without brackets), resolved by the system's resolver. */
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** One of the servers of a service. */
export type ServiceServer = {
  readonly address: ServerAddress;
  /** TLS towards the server; its certificate must be good for it unless the service says otherwise. */
  readonly isSecure: boolean;
  /** Share of the requests, 1 to 1000. */
  readonly weight: number;
};

/** As the configuration file writes it. */
export function serverUrlOf(address: ServerAddress, isSecure: boolean): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  return `${isSecure ? "https" : "http"}://${hostForUrl(address.host)}:${address.port}`;
}

/** How TLS servers of a service are checked. */
export type ServerTrust = {
  /** PEM file with the CA that their certificates must come from; null: the well-known ones. */
  readonly caFile: string | null;
  /** What their certificates must be for, and what is sent as the server name; null: the host of the server. */
  readonly serverName: string | null;
  /** Any certificate will do. */
  readonly skipsVerify: boolean;
};

/** What a hash policy tells requests apart by. */
export type HashKey =
  | { readonly kind: "client" }
  | { readonly kind: "header"; readonly name: string }
  | { readonly kind: "cookie"; readonly name: string };

export type BalancePolicy =
  /** In turn, smoothly by weight. */
  | { readonly kind: "round-robin" }
  /** Fewest requests under way, by weight. */
  | { readonly kind: "least-connections" }
  /** The less busy of two picked at random. */
  | { readonly kind: "random-two" }
  /** The same server for the same key, by consistent hashing. Names in lower case for headers. */
  | { readonly kind: "hash"; readonly by: HashKey }
  /** The server that a signed cookie names; new clients go in turn. `secret` null: one of this process's own. */
  | { readonly kind: "sticky"; readonly cookie: string; readonly secret: string | null };

/** Passive health: a server that fails requests is left alone for a time that grows. */
export type EjectionSettings = {
  /** So many failures within `windowMs` eject; 0: never. */
  readonly failures: number;
  readonly windowMs: number;
  /** For how long the first time; doubled each time in a row, up to `longestMs`. */
  readonly timeMs: number;
  readonly longestMs: number;
  /** Answers that count as failures; connections that fail and time-outs always do. */
  readonly statuses: readonly number[];
};

/** Active health: servers are asked. */
export type HealthSettings = {
  readonly path: string;
  /** Host header; null: the server's own. */
  readonly host: string | null;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** So many good answers in a row make a server healthy, so many bad ones unhealthy. */
  readonly healthyAfter: number;
  readonly unhealthyAfter: number;
  /** Good answers, as ranges with both ends. */
  readonly statuses: ReadonlyArray<readonly [from: number, to: number]>;
};

/** Bounds of a service, all its servers together. */
export type ServiceLimits = {
  /** Requests and sessions under way at a time; 0: no bound. */
  readonly maxConnections: number;
  /** How many more may wait for one of them to end, and for how long. */
  readonly queue: number;
  readonly queueTimeoutMs: number;
};

export type FixedService = {
  readonly kind: "fixed";
  readonly name: string;
  /** At least one. */
  readonly servers: readonly ServiceServer[];
  /** Each address of a server's name is a server. */
  readonly resolveAll: boolean;
  readonly policy: BalancePolicy;
  readonly trust: ServerTrust;
  readonly ejection: EjectionSettings;
  /** null: nobody asks. */
  readonly health: HealthSettings | null;
  /** Further servers that a failed request is tried at, 0 to 10; and what retries may add to the load, in percent. */
  readonly retries: number;
  readonly retryBudgetPercent: number;
  readonly limits: ServiceLimits;
};

export type TargetService = {
  readonly kind: "target";
  readonly name: string;
  /** A port number (1-65535), or "path": the route's `{port}` segment, which the port guard checks. */
  readonly port: number | "path";
  /** Of each desktop. */
  readonly limits: ServiceLimits;
};

/** KubeVirt's console WebSocket of a virtual machine, at the Kubernetes API. */
export type ConsoleService = {
  readonly kind: "console";
  readonly name: string;
  /** Host name or IP literal of the Kubernetes API (IPv6 without brackets). */
  readonly host: string;
  readonly port: number;
  /** Path at the API, with `{namespace}` and `{vmi_name}` in it. */
  readonly apiPath: string;
  /** Files of the service account; null: plain ws without credentials, for `kubectl proxy`. */
  readonly credentials: CredentialFiles | null;
  /** A second viewer of one machine takes the first one's place, or is refused. */
  readonly policy: "takeover" | "preserve";
};

/** Read again for each connection, because the kubelet rotates them. */
export type CredentialFiles = {
  /** PEM with the CA that the API's certificate must come from. */
  readonly caFile: string;
  /** The bearer token. */
  readonly tokenFile: string;
};

export type BuiltinService = {
  readonly kind: "builtin";
  readonly name: string;
  readonly answer:
    | { readonly kind: "text"; readonly text: string }
    /** Files below `root` (absolute or relative to the working directory); null answers 404 to everything. */
    | { readonly kind: "files"; readonly root: string | null; /** Served with 200 for paths that name no file (single-page sites); null: 404. */ readonly fallback: string | null }
    /** The embedded console viewer's files; the route's `{name*}` says which. */
    | { readonly kind: "viewer" }
    /** 404; to a WebSocket of a route that closes after the upgrade, a close frame with this reason. */
    | { readonly kind: "nothing"; readonly closeReason: string };
};

/** A service that was registered at run time; its backends take turns. */
export type GatewayService = {
  readonly kind: "gateway";
  /** What metrics call it. */
  readonly name: string;
  readonly gateway: Gateway;
};

export type Service = FixedService | TargetService | ConsoleService | BuiltinService | GatewayService;
