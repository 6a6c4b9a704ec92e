// Which IP addresses are no backends.

import { CidrSet } from "../lib/address.ts";

const LOOPBACK = new CidrSet(["127.0.0.0/8", "::1"]);
/** "This host" (Linux connects it to loopback), multicast and broadcast: nothing listens there. */
const UNUSABLE = new CidrSet(["0.0.0.0/8", "::", "224.0.0.0/4", "255.255.255.255", "ff00::/8"]);

export function isLoopback(address: string): boolean {
  return LOOPBACK.has(address);
}

/** False for what nothing can be reached at: unspecified, multicast, broadcast. */
export function isConnectable(address: string): boolean {
  return !UNUSABLE.has(address);
}
