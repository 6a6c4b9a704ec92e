// One request with everything that was decided about it, and the head that follows from that. The proxy forwards by it and
// `explain` prints it, so that the two cannot disagree.

import type { Match } from "../router/router.ts";
import type { Target } from "../target.ts";
import { type FoundToken, withoutToken } from "../token/source.ts";
import type { Client } from "./client.ts";
import { buildRequestHead } from "./request-head.ts";
import type { ClientRequest } from "./request.ts";
import type { HeaderPairs } from "./response-headers.ts";
import { clientLocation, upstreamTarget } from "./rewrite.ts";
import type { Snapshot } from "./snapshot.ts";

export type Passage = {
  readonly snapshot: Snapshot;
  readonly requestId: string;
  readonly request: ClientRequest;
  readonly client: Client;
  readonly match: Match;
  /** The token and where it stood; null on a route that asks for none. */
  readonly found: FoundToken | null;
};

const NONE: readonly string[] = [];

/** @param framing lines of their own, each ending in CRLF */
export function upstreamHead(passage: Passage, target: Target, framing: string): string {
  const { request, client, match, found, requestId } = passage;
  const route = match.route;
  const strips = found !== null && !route.forwardToken;
  const query = strips ? withoutToken(request.query, found) : request.query;
  return buildRequestHead({
    request, client, requestId,
    target: upstreamTarget(match, request.path, query),
    host: route.host === "client" ? request.host : target.authority,
    withoutHeaders: strips ? passage.snapshot.tokenHeaders(request, found) : NONE,
    forwardsToken: route.forwardToken,
  }, framing);
}

/** The upstream's headers as they stand, or with a redirect to its own address turned back into the client's path. */
export function locatedHeaders(passage: Passage, target: Target, headers: HeaderPairs): HeaderPairs {
  return hasLocation(headers) ? headersAsSeen(passage, target, headers) : headers;
}

function hasLocation(headers: HeaderPairs): boolean {
  for (const header of headers) {
    if (header[0] === "location") return true;
  }
  return false;
}

function headersAsSeen({ match, client, request }: Passage, target: Target, headers: HeaderPairs): HeaderPairs {
  const scheme = target.tls === null ? client.scheme : "https";
  return headers.map(([name, value]) => [name, name === "location" ? clientLocation(match, request.path, target.authority, value, scheme) : value]);
}
