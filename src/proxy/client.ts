// Who the client is: the peer's address, or what trusted proxies in front of us say. X-Forwarded-* from strangers means
// nothing and is replaced.

import { canonicalAddress, type CidrSet, plainAddress } from "../lib/address.ts";

export type Client = {
  /** The client's own address, for the log, `allowedClients` and X-Real-IP. */
  readonly address: string;
  /** What goes upstream as X-Forwarded-For. */
  readonly forwardedFor: string;
  /** The peer is a trusted proxy: its X-Forwarded-Proto, X-Forwarded-Host, Forwarded and X-Request-Id are kept. */
  readonly isTrustedPeer: boolean;
  /** How the peer speaks to us: what X-Forwarded-Proto says unless a trusted proxy said otherwise. */
  readonly scheme: Scheme;
};

export type Scheme = "http" | "https";

export function identifyClient(peerAddress: string, forwardedFor: string | undefined, trusted: CidrSet, scheme: Scheme = "http"): Client {
  const peer = plainAddress(peerAddress);
  if (trusted.isEmpty || !trusted.has(peer)) return { address: peer, forwardedFor: peer, isTrustedPeer: false, scheme };
  const chain = (forwardedFor ?? "").split(",").map((hop) => hop.trim()).filter((hop) => hop !== "");
  // The nearest hop that is not one of ours is the client; an unreadable hop ends the walk at the hop before it.
  let address = peer;
  for (const hop of chain.toReversed()) {
    const named = hopAddress(hop);
    if (named === null) break;
    address = named;
    if (!trusted.has(address)) break;
  }
  return { address, forwardedFor: [...chain, peer].join(", "), isTrustedPeer: true, scheme };
}

/** `9.9.9.9:1234`, `[2001:db8::1]:99`: some proxies write the port as well, and nginx's real_ip reads it. */
function hopAddress(hop: string): string | null {
  const plain = canonicalAddress(hop);
  if (plain !== null) return plain;
  const [, six, four] = /^(?:\[([^\]]*:[^\]]*)\]|([\d.]+))(?::\d{1,5})?$/.exec(hop) ?? [];
  return canonicalAddress(six ?? four ?? "");
}
