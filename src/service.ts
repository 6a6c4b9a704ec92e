// A service is a named destination. What kind it is decides how a request gets an address: a fixed one stands in the
// configuration, a target one comes out of the request's token, a console is a virtual machine of the token behind the
// Kubernetes API, a built-in one is answered by this process, a gateway one was registered at run time.

import type { Gateway } from "./gateway.ts";

/** Which Host header goes upstream: the one the client sent, or the upstream's own `host:port`. */
export type HostHeader = "client" | "upstream";

export type FixedService = {
  readonly kind: "fixed";
  readonly name: string;
  /** Host name or IP literal (IPv6 without brackets), resolved by the system's resolver. */
  readonly host: string;
  readonly port: number;
};

export type TargetService = {
  readonly kind: "target";
  readonly name: string;
  /** A port number (1-65535), or "path": the route's `{port}` segment, which the port guard checks. */
  readonly port: number | "path";
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
    | { readonly kind: "files"; readonly root: string | null }
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
