// What a client's response carries: the upstream's end-to-end headers, ours on top. Bun.serve adds Date and the framing.

/** Set by Bun.serve itself, or nobody's business. */
const DROPPED = new Set(["date", "server", "x-powered-by", "x-request-id"]);

export type HeaderPairs = ReadonlyArray<readonly [string, string]>;

/**
 * @param upstream names in lower case, hop-by-hop fields already gone
 * @param own names in lower case; they replace the upstream's
 */
export function responseHeaders(upstream: HeaderPairs, own: HeaderPairs, ownNames: ReadonlySet<string>, requestId: string): [string, string][] {
  const headers: [string, string][] = [];
  for (const pair of upstream) {
    if (!DROPPED.has(pair[0]) && !ownNames.has(pair[0])) headers.push(pair as [string, string]);
  }
  for (const pair of own) headers.push(pair as [string, string]);
  headers.push(["x-request-id", requestId]);
  return headers;
}
