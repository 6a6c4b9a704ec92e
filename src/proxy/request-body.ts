// The body of a request and its framing for the upstream, derived from what we hold, never copied from the client's head:
// Bun.serve drops the body of a GET and leaves its Content-Length.

import { RouteError } from "../errors.ts";
import type { Route } from "../route.ts";
import { ClientGoneError } from "../upstream/exchange.ts";
import type { ClientRequest } from "./request.ts";

/** Short bodies are read first: one write upstream, and the request can be sent again on a fresh connection. */
const COLLECT_BYTES = 64 * 1024;

export type RequestBody = {
  readonly content: Promise<Uint8Array> | ReadableStream<Uint8Array> | null;
  /** Header lines. A known length is always announced: origins on Python's http.server know no chunked requests. */
  readonly framing: string;
  readonly isChunked: boolean;
};

const NO_BODY: RequestBody = { content: null, framing: "", isChunked: false };

/** @throws RouteError body_too_large for an announced length over the limit, bad_request for a length that is none */
export function requestBody(raw: Request, request: ClientRequest, route: Pick<Route, "bodyLimitBytes" | "buffering">): RequestBody {
  if (request.method === "GET" || request.method === "HEAD") return NO_BODY;
  const announced = request.headers["content-length"];
  if (announced === undefined) {
    // Not told by Transfer-Encoding, which HTTP/2 does not know (RFC 9113 section 8.2.2).
    // A POST without a body says so (RFC 9110 section 8.6); other methods need not.
    if (raw.body === null) return request.method === "POST" || request.method === "PUT" ? { ...NO_BODY, framing: "Content-Length: 0\r\n" } : NO_BODY;
    return { content: raw.body, framing: "Transfer-Encoding: chunked\r\n", isChunked: true };
  }
  // Bun accepts the same length twice and joins it to "3, 3".
  if (!/^\d{1,15}$/.test(announced)) throw new RouteError("bad_request", "malformed Content-Length");
  const bytes = Number(announced);
  if (bytes > route.bodyLimitBytes) throw new RouteError("body_too_large", `announced body of ${bytes} bytes, the route allows ${route.bodyLimitBytes}`);
  const framing = `Content-Length: ${bytes}\r\n`;
  if (bytes === 0 || raw.body === null) return { content: null, framing: "Content-Length: 0\r\n", isChunked: false };
  if (route.buffering && bytes <= COLLECT_BYTES) return { content: collect(raw), framing, isChunked: false };
  return { content: raw.body, framing, isChunked: false };
}

async function collect(raw: Request): Promise<Uint8Array> {
  try {
    return await raw.bytes();
  } catch (error) {
    // The length was announced and is below the limit: only a client that leaves can end it early.
    throw new ClientGoneError("client went away while sending", { cause: error });
  }
}
