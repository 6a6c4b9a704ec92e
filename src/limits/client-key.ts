// Whom a bound of clients counts as one: an IPv4 address, and of IPv6 the /64, which is the least that a customer is given
// (RFC 6177): whoever has one address there has 2^64 of them. Loopback and private addresses are nothing special.

import { plainAddress } from "../lib/address.ts";

/** `::ffff:192.0.2.7` → `192.0.2.7`, `2001:db8:0:12::1` → `2001:db8:0:12`. @param address as text; what is none comes back as it is */
export function clientKey(address: string): string {
  const plain = plainAddress(address);
  if (!plain.includes(":")) return plain;
  const [head = "", tail] = plain.split("::") as [string, string | undefined];
  const groups = head === "" ? [] : head.split(":");
  if (groups.length >= 4) return network(groups);
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  // The last 32 bits may be written as an IPv4 address (RFC 4291 section 2.2).
  const length = after.length + (tail?.includes(".") === true ? 1 : 0);
  while (groups.length + length < 8) groups.push("0");
  return network([...groups, ...after]);
}

function network(groups: readonly string[]): string {
  return groups.slice(0, 4).map((group) => group.toLowerCase().replace(/^0+(?=.)/, "")).join(":");
}
