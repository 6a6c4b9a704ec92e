// Which IP addresses are no backends.

import { CidrSet, CLOUD_METADATA } from "../lib/address.ts";

const LOOPBACK = new CidrSet(["127.0.0.0/8", "::1"]);
/** "This host" (Linux connects it to loopback), multicast and broadcast: nothing listens there. */
const UNUSABLE = new CidrSet(["0.0.0.0/8", "::", "224.0.0.0/4", "255.255.255.255", "ff00::/8"]);
/** Also as NAT64 spells the IPv4 ones of the link. */
const METADATA = new CidrSet([...CLOUD_METADATA, "64:ff9b::a9fe:0/112"]);

export function isLoopback(address: string): boolean {
  return LOOPBACK.has(address);
}

/** False for what nothing can be reached at: unspecified, multicast, broadcast. */
export function isConnectable(address: string): boolean {
  return !UNUSABLE.has(address);
}

/** Where a cloud tells a machine what only that machine should know. */
export function isCloudMetadata(address: string): boolean {
  return METADATA.has(address);
}
