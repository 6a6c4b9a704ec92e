// Whether a backend is this program itself: what went there would come back, and go there again.

import { networkInterfaces } from "node:os";
import type { Backend } from "../gateway.ts";
import { canonicalAddress } from "../lib/address.ts";
import type { ListenAddress } from "../settings.ts";
import { isConnectable, isLoopback } from "./address.ts";

/** @param listeners as they are bound, with the ports that the kernel chose */
export function isOwnListener({ address, port }: Backend, listeners: readonly ListenAddress[]): boolean {
  return listeners.some((listen) => listen.port === port && isBoundTo(address, listen.host));
}

/** A name may be bound to whatever it resolves to here: it counts as all addresses. */
function isBoundTo(address: string, host: string): boolean {
  const bound = canonicalAddress(host);
  if (bound !== null && isConnectable(bound)) return bound === address;
  return isLoopback(address) || interfaceAddresses().has(address);
}

/** Thousands of files may ask at once, on a machine with thousands of addresses. */
const KNOWN_MS = 1000;
let known: { readonly addresses: ReadonlySet<string>; readonly untilMs: number } = { addresses: new Set(), untilMs: -Infinity };

function interfaceAddresses(): ReadonlySet<string> {
  if (performance.now() >= known.untilMs) {
    const all = Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => canonicalAddress(address) ?? address));
    known = { addresses: new Set(all), untilMs: performance.now() + KNOWN_MS };
  }
  return known.addresses;
}
