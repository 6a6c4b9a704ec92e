// What one gateway refuses beyond what is wrong by itself: asked for calls and for files alike.

import type { Backend } from "../gateway.ts";
import { canonicalAddress, hostForUrl } from "../lib/address.ts";
import type { Route } from "../route.ts";
import type { GatewaySettings } from "../settings.ts";
import { isLoopback } from "./address.ts";
import { quoted } from "./errors.ts";

export type Rules = {
  /** The gateway's own, canonical: traffic to them would come back here. */
  readonly publicAddresses: readonly string[];
  /** For backends behind terminated TLS. */
  readonly allowLoopback: boolean;
  /** A host of the program's own routes: whoever registered it would be sent what is meant for them. In lower case. Absent: there are none. */
  readonly isReserved?: (fqdn: string) => boolean;
  /** What is sent there comes back here, and goes there again. Absent: nothing does. */
  readonly isOwnListener?: (backend: Backend) => boolean;
};

/** Of a gateway whose flags nobody knows: `check DIR`. */
export const NO_RULES: Rules = { publicAddresses: [], allowLoopback: true };

/** @param settings with IP literals in any spelling */
export function rulesOf(settings: Pick<GatewaySettings, "publicAddresses" | "allowLoopbackBackends">, more: Omit<Rules, "publicAddresses" | "allowLoopback"> = {}): Rules {
  return { publicAddresses: settings.publicAddresses.map((address) => canonicalAddress(address) ?? address), allowLoopback: settings.allowLoopbackBackends, ...more };
}

/** Whether routes carry anything that a workload could be after. A fixed text (`/healthz`) is nothing of the kind. */
export function leadSomewhere(routes: readonly Route[]): boolean {
  return routes.some(({ service }) => service.kind !== "builtin" || service.answer.kind !== "text");
}

/** Why a domain that is one may not be registered here; null: it may. @param fqdn in lower case */
export function domainRefusal(fqdn: string, { isReserved }: Rules): string | null {
  return isReserved?.(fqdn) === true ? `${quoted(fqdn)} is a host of this gateway's own, and no workload can have it` : null;
}

/** Why an address that one could connect to may be no backend here; null: it may. @param port null for one that is wrong anyway */
export function backendRefusal(address: string, port: number | null, isPassthrough: boolean, rules: Rules): string | null {
  if (rules.publicAddresses.includes(address)) return `${address} is this gateway's own address`;
  if (!isPassthrough && !rules.allowLoopback && isLoopback(address)) return `${address} is a loopback address, this gateway itself`;
  if (port !== null && rules.isOwnListener?.({ address, port }) === true) return `${hostForUrl(address)}:${port} is where this gateway itself listens`;
  return null;
}
