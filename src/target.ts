// A target is the one address of this request: where the bytes go.

import { hostForUrl } from "./lib/address.ts";

/** TLS towards an upstream. */
export type TargetTls = {
  /** PEM of the CA that its certificate must come from; null: the well-known ones. */
  readonly ca: string | null;
  /** What its certificate must be for. */
  readonly serverName: string;
  /** Any certificate will do. */
  readonly skipsVerify: boolean;
};

export type Target = {
  /** What is dialled: an IP literal that passed the guard, or a configured host name. */
  readonly address: string;
  readonly port: number;
  /** The upstream's own `host[:port]`, for a Host header that is not the client's. */
  readonly authority: string;
  /** `address:port`, the pool's key and what the log shows; `https://` and `unix:` stand before those that are such. */
  readonly key: string;
  /** null: plain TCP. */
  readonly tls: TargetTls | null;
  /** Tells the rules of `tls` from others that the same key had before a reload: what was trusted then may not be now. Absent without TLS. */
  readonly trust?: string;
  /** A Unix socket that is dialled in place of address and port; null: there is none. */
  readonly socketPath: string | null;
};

/** The addresses of one desktop, in the order in which they are tried. */
export type Targets = readonly [Target, ...Target[]];

/** @param host for the Host header; the address itself unless there is a name */
export function plainTarget(address: string, port: number, host: string = address): Target {
  const authority = port === 80 ? hostForUrl(host) : `${hostForUrl(host)}:${port}`;
  return { address, port, authority, key: `${hostForUrl(address)}:${port}`, tls: null, socketPath: null };
}
