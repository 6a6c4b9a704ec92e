// A refusal after the upgrade: a WebSocket that opens only to be closed with a reason. A browser's script sees no HTTP status
// of a failed handshake; the original console proxy told it this way, and its clients look at the reason.

import type { ServerWebSocket } from "bun";
import type { RouteError } from "../errors.ts";
import type { ClientLeg } from "./session.ts";

/** RFC 6455 section 7.4.1. The original closes with its library's default, "normal closure". */
const NORMAL = 1000;
const INTERNAL = 1011;

export class Closing implements ClientLeg {
  constructor(readonly code: number, readonly reason: string) {}

  opened(ws: ServerWebSocket<ClientLeg>): void {
    ws.close(this.code, this.reason);
  }

  clientMessage(): void {}
  clientAlive(): void {}
  clientDrained(): void {}
  clientClosed(): void {}
}

/** The original's three reasons, byte for byte; failures behind us, of which it said nothing, get their public text. */
export function closingFor(error: RouteError): Closing {
  if (error.closeReason !== null) return new Closing(NORMAL, error.closeReason);
  if (error.code === "unauthorized" || error.code === "forbidden") return new Closing(NORMAL, "invalid token");
  return new Closing(INTERNAL, error.publicText);
}
