// What a client sees of an error: one line for programs, a small page for browsers, the same words for every reason behind
// one status. The reason itself is in the log, under the request id that both carry.

import type { RouteError } from "../errors.ts";
import type { HeaderPairs } from "./response-headers.ts";

/** The response and the length of its body, for the log. */
export function errorResponse(error: RouteError, accept: string | undefined, requestId: string, own: HeaderPairs): { response: Response; bytes: number } {
  const headers: [string, string][] = own.map(([name, value]) => [name, value]);
  // The page's own address may have a token in it, and a browser names it to whatever it asks for next (a favicon).
  headers.push(["x-request-id", requestId], ["cache-control", "no-store"], ["referrer-policy", "no-referrer"]);
  if (error.code === "upgrade_required") headers.push(["upgrade", "websocket"], ["sec-websocket-version", "13"]);
  if (error.retryAfterS !== null) headers.push(["retry-after", String(error.retryAfterS)]);
  // RFC 9110 section 15.5.9: nobody waits for the rest. What was malformed may go on so (RFC 9112 section 6.3). Bun.serve closes then, and leaves the field out of HTTP/2.
  if (error.code === "request_timeout" || error.code === "bad_request") headers.push(["connection", "close"]);
  if (error.location !== null) headers.push(["location", error.location]);
  if (error.code === "method_not_allowed") headers.push(["allow", error.allow ?? "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"]);
  const wantsPage = accept !== undefined && accept.includes("text/html");
  headers.push(["content-type", wantsPage ? "text/html; charset=utf-8" : "text/plain; charset=utf-8"]);
  const body = Buffer.from(wantsPage ? page(error, requestId) : `${error.publicText}\n`);
  return { response: new Response(body, { status: error.status, headers }), bytes: body.length };
}

const HINTS: Readonly<Record<number, string>> = {
  401: "Your session or this link may have ended. Please log in again, or ask for a new link.",
  403: "You may not go there.",
  404: "There is nothing at this address.",
  429: "That was too much at a time. Please wait a moment and try again.",
  502: "The desktop or service did not answer. It may still be starting: please try again in a moment.",
  503: "The service is not ready. Please try again in a moment.",
  504: "The desktop or service took too long to answer. Please try again.",
};

// No script, no style sheet, nothing from the request but our own id (checked when it came from outside).
function page(error: RouteError, requestId: string): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark"><meta name="viewport" content="width=device-width"><title>${error.status} ${error.publicText}</title></head>
<body><h1>${error.status} ${error.publicText}</h1><p>${HINTS[error.status] ?? "The request could not be served."}</p><p><small>Request ${requestId}</small></p></body></html>
`;
}
