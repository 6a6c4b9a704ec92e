// A client's WebSocket handshake, checked before anything is dialled for it: what Bun's upgrade() would refuse afterwards,
// and who may open one from a browser (cross-site WebSocket hijacking).

import { RouteError } from "../errors.ts";
import type { Route } from "../route.ts";
import type { ClientRequest } from "./request.ts";

export function wantsUpgrade(request: ClientRequest): boolean {
  const upgrade = request.headers["upgrade"];
  return upgrade !== undefined && upgrade.toLowerCase().split(",").some((name) => name.trim() === "websocket");
}

/** What becomes of an upgrade on this route; where it is not bridged it is a plain request. @throws RouteError bad_request for one with a body */
export function isBridged(route: Route, { headers }: ClientRequest): boolean {
  if (route.websocket) return true;
  if ((headers["content-length"] ?? "0") !== "0") throw new RouteError("bad_request", "upgrade with a body");
  return false;
}

/** @throws RouteError bad_request, upgrade_required (an unknown version) (RFC 6455 section 4.2.1) */
export function checkHandshake(request: ClientRequest): void {
  const headers = request.headers;
  const options = (headers["connection"] ?? "").toLowerCase().split(",").map((option) => option.trim());
  if (request.method !== "GET" || !options.includes("upgrade")) throw new RouteError("bad_request", "malformed WebSocket handshake");
  if ((headers["content-length"] ?? "0") !== "0" || headers["transfer-encoding"] !== undefined) {
    throw new RouteError("bad_request", "WebSocket handshake with a body");
  }
  if (headers["sec-websocket-version"] !== "13") throw new RouteError("upgrade_required", "WebSocket version is not 13");
  if (!/^[A-Za-z0-9+/]{21}[AQgw]==$/.test(headers["sec-websocket-key"] ?? "")) throw new RouteError("bad_request", "malformed Sec-WebSocket-Key");
}

/** @throws RouteError forbidden; programs that send no Origin pass */
export function checkOrigin(request: ClientRequest, route: Route): void {
  const origin = request.headers["origin"];
  if (origin === undefined || route.origins.kind === "any") return;
  if (route.origins.kind === "list") {
    if (route.origins.origins.some((allowed) => allowed.toLowerCase() === origin.toLowerCase())) return;
  } else if (originHost(origin) === request.host.toLowerCase().replace(/:(?:80|443)$/, "")) return;
  throw new RouteError("forbidden", `origin refused: ${JSON.stringify(origin.slice(0, 200))}`);
}

/** `host[:port]` of an origin, default ports left out; null for `null` and everything else that is no http origin. */
function originHost(origin: string): string | null {
  const match = /^https?:\/\/([^/?#@]+)$/i.exec(origin);
  return match === null ? null : (match[1] as string).toLowerCase().replace(/:(?:80|443)$/, "");
}

/** The client's list of subprotocols, in its order. */
export function offeredProtocols(request: ClientRequest): string[] {
  return (request.headers["sec-websocket-protocol"] ?? "").split(",").map((name) => name.trim()).filter((name) => name !== "");
}

/** The handshake's own fields as the bridge sends them upstream; the key, which is random, is added when it dials. */
export function upgradeFields(request: ClientRequest): string {
  const protocols = offeredProtocols(request);
  const offer = protocols.length === 0 ? "" : `Sec-WebSocket-Protocol: ${protocols.join(", ")}\r\n`;
  return `Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n${offer}`;
}
