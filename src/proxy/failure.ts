// What went wrong on the way of a request: what of it the client hears, and what the log says.

import { RouteError } from "../errors.ts";
import { TooManyFilesError } from "../lib/descriptors.ts";
import { BodyTooLargeError, ClientGoneError, ClientStalledError, ConnectError, UpstreamClosedError, UpstreamTimeoutError } from "../upstream/exchange.ts";
import { ProtocolError } from "../upstream/response-head.ts";
import { HandshakeRefusedError } from "../upstream/websocket.ts";

/** Whatever came of an upstream, as what the client may hear of it; anything else as it is. */
export function upstreamError(thrown: unknown): unknown {
  if (!(thrown instanceof Error)) return thrown;
  const options = { cause: thrown };
  if (thrown instanceof BodyTooLargeError) return new RouteError("body_too_large", thrown.message, options);
  if (thrown instanceof ClientStalledError) return new RouteError("request_timeout", thrown.message, options);
  if (thrown instanceof UpstreamTimeoutError) return new RouteError("gateway_timeout", thrown.message, options);
  if (thrown instanceof TooManyFilesError) return new RouteError("unavailable", thrown.message, { ...options, retryAfterS: 1 });
  if (thrown instanceof ClientGoneError) return new RouteError("bad_request", thrown.message, options);
  if (thrown instanceof HandshakeRefusedError) return new RouteError(refusalOf(thrown.status), thrown.message, options);
  if (thrown instanceof ConnectError || thrown instanceof UpstreamClosedError || thrown instanceof ProtocolError) {
    return new RouteError("bad_gateway", thrown.message, options);
  }
  return thrown;
}

/** What a refused handshake becomes for the client: the pod's own verdict where it is about the client, else our 502 or 504. */
function refusalOf(status: number): "unauthorized" | "forbidden" | "not_found" | "bad_gateway" | "gateway_timeout" {
  if (status === 401) return "unauthorized";
  if (status === 403) return "forbidden";
  if (status === 404) return "not_found";
  return status === 504 ? "gateway_timeout" : "bad_gateway";
}

/** The message, and those of its causes that it does not repeat; with the system's name for a failure (ECONNREFUSED). */
export function reasonOf(error: Error): string {
  let reason = error.message;
  for (let { cause } = error; cause instanceof Error; { cause } = cause) {
    if (!reason.includes(cause.message)) reason += `: ${cause.message}`;
    const { code } = cause as NodeJS.ErrnoException;
    if (typeof code === "string" && /^E[A-Z]+$/.test(code) && !reason.includes(code)) reason += ` (${code})`;
  }
  return reason;
}

export function stackOf(error: Error): string {
  const source = error.cause instanceof Error ? error.cause : error;
  return source.stack ?? source.message;
}
