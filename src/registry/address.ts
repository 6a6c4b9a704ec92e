// IP addresses as backends are written with: one spelling for each, and which of them are no backends.

import { isIPv4, isIPv6 } from "node:net";
import { CidrSet, plainAddress } from "../lib/address.ts";

const LOOPBACK = new CidrSet(["127.0.0.0/8", "::1"]);
/** "This host" (Linux connects it to loopback), multicast and broadcast: nothing listens there. */
const UNUSABLE = new CidrSet(["0.0.0.0/8", "::", "224.0.0.0/4", "255.255.255.255", "ff00::/8"]);

/** The one spelling of an IP literal without brackets (RFC 5952; an IPv4-mapped one as IPv4); null for anything else. */
export function canonicalAddress(text: string): string | null {
  if (isIPv4(text)) return text;
  // A zone (`fe80::1%eth0`) is an interface of whoever wrote it.
  if (!isIPv6(text) || text.includes("%")) return null;
  const address = new URL(`http://[${withoutDots(text)}]/`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(address);
  if (mapped === null) return plainAddress(address);
  const [high, low] = [Number.parseInt(mapped[1] ?? "", 16), Number.parseInt(mapped[2] ?? "", 16)];
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}

/** `1::2:1.2.3.4` → `1::2:102:304`: the runtime's URL (Bun 1.4.5) refuses some of the former, which are addresses all the same. */
function withoutDots(text: string): string {
  return text.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, a, b, c, d) => {
    return `${(Number(a) * 256 + Number(b)).toString(16)}:${(Number(c) * 256 + Number(d)).toString(16)}`;
  });
}

export function isLoopback(address: string): boolean {
  return LOOPBACK.has(address);
}

/** False for what nothing can be reached at: unspecified, multicast, broadcast. */
export function isConnectable(address: string): boolean {
  return !UNUSABLE.has(address);
}
