// A route is one rule of the router: which paths it takes, who may pass, where they go and what is changed on the way.

import type { IdentityKind } from "./identity.ts";
import type { HostHeader, Service } from "./service.ts";

export type PathMatch =
  /** The whole path, byte for byte. */
  | { readonly kind: "exact"; readonly path: string }
  /** The path itself or anything below it; ends at a segment: `/filer` takes `/filer/x`, never `/filerx`. */
  | { readonly kind: "prefix"; readonly path: string }
  /** `/container/{token}/{port}/{path*}`: a name takes one non-empty segment, `*` the rest (also empty). */
  | { readonly kind: "pattern"; readonly path: string };

/** Where a token may stand. `query` is the whole query string, `path` the segment that a pattern calls `{token}`. */
export type TokenSource =
  | { readonly kind: "header"; readonly name: string }
  | { readonly kind: "parameter"; readonly name: string }
  | { readonly kind: "query" }
  | { readonly kind: "path" };

/** What is sent upstream in place of the client's path and query. */
export type PathRewrite =
  | { readonly kind: "unchanged" }
  /** A fixed path and no query. */
  | { readonly kind: "replace"; readonly path: string }
  /** The route's own prefix is removed; what is left starts with exactly one slash. The query stays. */
  | { readonly kind: "strip"; readonly prefix: string }
  /** `/` and what the pattern's `{name*}` took; the query stays. */
  | { readonly kind: "rest" };

export type Route = {
  /** Shown in logs and by `explain`; the path of the rule unless the file names it. */
  readonly name: string;
  readonly match: PathMatch;
  /** Tried in order; the first one present is the token. Empty: no token is asked for. */
  readonly tokenSources: readonly TokenSource[];
  /** What the token must prove; without `tokenSources` it means nothing. */
  readonly identity: IdentityKind;
  readonly service: Service;
  readonly rewrite: PathRewrite;
  readonly host: HostHeader;
  /** WebSocket upgrades are bridged; otherwise an upgrade request is forwarded as the plain request that it also is. */
  readonly websocket: boolean;
  readonly forwardToken: boolean;
  /** Request body, bytes. */
  readonly bodyLimitBytes: number;
  /** From the end of the request to the response head, and between two reads of the body; ms. */
  readonly readTimeoutMs: number;
  /** A bridged session without a data frame in either direction for this long is closed; ms. 0: never. */
  readonly idleTimeoutMs: number;
  /** Short bodies are collected and sent whole, with a Content-Length; false: bytes are passed on as they come. */
  readonly buffering: boolean;
  /** Answers are kept in the shared HTTP cache where RFC 9111 allows it. */
  readonly cache: boolean;
  /** Text is compressed for clients that accept it. */
  readonly compress: boolean;
  /** CIDRs of the clients that may use the route; empty: everyone. */
  readonly allowedClients: readonly string[];
  /** CIDRs of clients that may not; they win. */
  readonly deniedClients: readonly string[];
  /** Check of `Origin` on upgrades: against Host (`same-host`), a list, or not at all. */
  readonly origins: { readonly kind: "same-host" } | { readonly kind: "list"; readonly origins: readonly string[] } | { readonly kind: "any" };
  /** Text frames towards the client may be compressed (permessage-deflate). Binary frames never are. */
  readonly compressText: boolean;
  /** A browser that opens a console's address as a page gets the embedded viewer. */
  readonly viewer: boolean;
  /**
   * Refusals of an upgrade come as a close frame after it (what the original console proxy did, and all that a browser's
   * script can see) instead of an HTTP status before it.
   */
  readonly closeAfterUpgrade: boolean;
};
