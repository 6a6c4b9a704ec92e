// What one gateway refuses beyond what is wrong by itself: asked for calls and for files alike.

import { canonicalAddress } from "../lib/address.ts";
import { isLoopback } from "./address.ts";

export type Rules = {
  /** The gateway's own, canonical: traffic to them would come back here. */
  readonly publicAddresses: readonly string[];
  /** For backends behind terminated TLS. */
  readonly allowLoopback: boolean;
};

/** Of a gateway whose flags nobody knows: `check DIR`. */
export const NO_RULES: Rules = { publicAddresses: [], allowLoopback: true };

/** @param publicAddresses IP literals in any spelling */
export function rulesOf({ publicAddresses, allowLoopbackBackends }: { readonly publicAddresses: readonly string[]; readonly allowLoopbackBackends: boolean }): Rules {
  return { publicAddresses: publicAddresses.map((address) => canonicalAddress(address) ?? address), allowLoopback: allowLoopbackBackends };
}

/** Why an address that one could connect to may be no backend here; null: it may. */
export function backendRefusal(address: string, isPassthrough: boolean, rules: Rules): string | null {
  if (rules.publicAddresses.includes(address)) return `${address} is this gateway's own address`;
  if (!isPassthrough && !rules.allowLoopback && isLoopback(address)) return `${address} is a loopback address, this gateway itself`;
  return null;
}
