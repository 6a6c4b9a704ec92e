// A service is a named destination. What kind it is decides how a request gets an address: a fixed one stands in the
// configuration, a target one comes out of the request's token, a built-in one is answered by this process.

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

export type BuiltinService = {
  readonly kind: "builtin";
  readonly name: string;
  readonly answer:
    | { readonly kind: "text"; readonly text: string }
    /** Files below `root` (absolute or relative to the working directory); null answers 404 to everything. */
    | { readonly kind: "files"; readonly root: string | null };
};

export type Service = FixedService | TargetService | BuiltinService;
