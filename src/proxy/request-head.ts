// The request head that goes upstream. Pure: what the client sent, what was decided, and a string comes out. Nothing is
// invented for the client (no User-Agent, Accept or Accept-Encoding that it did not send), hop-by-hop fields end here, and
// what we say about the client is appended after everything of his was filtered, so no `Connection:` option can reach it.

import type { Client } from "./client.ts";
import type { ClientRequest } from "./request.ts";

/** Hop-by-hop (RFC 9110 section 7.6.1), framing (ours), and the fields that we set ourselves. */
const OURS = new Set([
  "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer",
  "transfer-encoding", "upgrade", "http2-settings", "host", "content-length", "expect",
  "sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-protocol", "sec-websocket-accept",
  "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id",
]);
/** Believed from trusted proxies only. `x-forwarded-*` and `forwarded` that we do not set: prefix, port, server ... */
const FORWARDING = /^(?:forwarded$|x-forwarded(?:-|$))/;

/** The address of a page that had a token in it: such pages link to everything, also where no token is asked for. */
const REFERS_TOKEN = /[?&]jwt_token=|\/container\/[^/]+\/|eyJ[\w-]*\.|[/?=]e[wy][\w-]{14,}\.|\?[\w-]+\.[\w-]+\.[\w-]+$/;

export type UpstreamHead = {
  readonly request: ClientRequest;
  readonly client: Client;
  /** Path and query as they go upstream. */
  readonly target: string;
  readonly host: string;
  readonly requestId: string;
  /** Lower-case names of headers that carried the token. */
  readonly withoutHeaders: readonly string[];
  /** Otherwise no token may travel in a Referer either. */
  readonly forwardsToken: boolean;
};

/** @param framing lines of their own, each ending in CRLF: Content-Length, Transfer-Encoding or an upgrade's fields */
export function buildRequestHead(head: UpstreamHead, framing: string): string {
  const { request, client } = head;
  const headers = request.headers;
  let text = `${request.method} ${head.target} HTTP/1.1\r\nHost: ${head.host}\r\n`;
  const named = connectionOptions(headers["connection"]);
  for (const name in headers) {
    const passage = passages.get(name) ?? classify(name);
    if (passage === "never" || (passage === "trusted" && !client.isTrustedPeer) || (named !== null && named.has(name))) continue;
    if (head.withoutHeaders.length > 0 && head.withoutHeaders.includes(name)) continue;
    const value = headers[name] as string;
    if (name === "referer" && !head.forwardsToken && REFERS_TOKEN.test(value)) continue;
    text += `${name}: ${value}\r\n`;
  }
  return `${text}X-Real-IP: ${client.address}\r\nX-Forwarded-For: ${client.forwardedFor}\r\nX-Forwarded-Host: ${forwardedHost(request, client)}\r\n`
    + `X-Forwarded-Proto: ${forwardedProto(request, client)}\r\nX-Request-Id: ${head.requestId}\r\n${framing}\r\n`;
}

/** How the client was told to reach us, as the upstream hears it: a trusted proxy knows better. */
export function forwardedProto({ headers }: ClientRequest, client: Client): string {
  return (client.isTrustedPeer && headers["x-forwarded-proto"]) || client.scheme;
}

/** By which host; as above. */
export function forwardedHost({ headers, host }: ClientRequest, client: Client): string {
  return (client.isTrustedPeer && headers["x-forwarded-host"]) || host;
}

/** Names that `Connection` lists beyond the usual ones; null for none. */
function connectionOptions(value: string | undefined): ReadonlySet<string> | null {
  if (value === undefined || value === "keep-alive" || value === "close" || value === "Upgrade") return null;
  return new Set(value.toLowerCase().split(",").map((option) => option.trim()));
}

/** Which headers pass: those of everybody, those of trusted proxies, none. */
type HeaderPassage = "all" | "trusted" | "never";

/** Worked out once for each name; real traffic has few, and short ones: what strangers make up is not kept for long, or at all. */
const passages = new Map<string, HeaderPassage>();
const PASSAGES = 1000;
const PASSAGE_NAME = 64;

function classify(name: string): HeaderPassage {
  if (name.length > PASSAGE_NAME) return passageOf(name);
  if (passages.size >= PASSAGES) passages.clear();
  const passage = passageOf(name);
  passages.set(name, passage);
  return passage;
}

function passageOf(name: string): HeaderPassage {
  // As nginx does with underscores: a backend that reads headers as CGI variables cannot tell X_Real_IP from X-Real-IP.
  if (OURS.has(name) || name.includes("_")) return "never";
  // Such a variable has letters, digits and underscores, and there are servers that make an underscore of every other character.
  const plain = name.replaceAll(/[^a-z0-9]/g, "-");
  if (plain !== name && OURS.has(plain)) return "never";
  if (!FORWARDING.test(plain)) return "all";
  return plain === name ? "trusted" : "never";
}
