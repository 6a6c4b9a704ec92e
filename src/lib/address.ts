// IP addresses as text: one spelling for each, and membership in lists of CIDR blocks.

import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";

/** `::ffff:1.2.3.4`, as a dual-stack listener reports IPv4 peers, becomes `1.2.3.4`; everything else stays. */
export function plainAddress(address: string): string {
  // Nothing but dots may follow: `::ffff:0:1.2.3.4` is another thing.
  return address.startsWith("::ffff:") && address.includes(".") && address.indexOf(":", 7) < 0 ? address.slice(7) : address;
}

/** The one spelling of an IP literal without brackets (RFC 5952; an IPv4-mapped one as IPv4); null for anything else. */
export function canonicalAddress(text: string): string | null {
  if (isIPv4(text)) return text;
  // A zone (`fe80::1%eth0`) is an interface of whoever wrote it.
  if (!isIPv6(text) || text.includes("%")) return null;
  const address = new URL(`http://[${withoutDots(text)}]/`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(address);
  if (mapped === null) return address;
  const [high, low] = [Number.parseInt(mapped[1] ?? "", 16), Number.parseInt(mapped[2] ?? "", 16)];
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}

/** `1::2:1.2.3.4` → `1::2:102:304`: the runtime's URL (Bun 1.4.5) refuses some of the former, which are addresses all the same. */
function withoutDots(text: string): string {
  return text.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, a, b, c, d) => {
    return `${(Number(a) * 256 + Number(b)).toString(16)}:${(Number(c) * 256 + Number(d)).toString(16)}`;
  });
}

/** An address for a URL or a Host header: IPv6 in brackets, also where it has them already. */
export function hostForUrl(host: string): string {
  return host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
}

/** Of an address to listen on: 127.0.0.0/8 and ::1, as addresses; a name such as 127.example.org can be anything. */
export function isLoopbackHost(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(?:\.\d{1,3}){3}$/.test(host);
}

/** The link, where clouds answer what only this machine should know, its credentials among it; and where they do so beside it: AWS over IPv6, Alibaba, Azure, Oracle. */
export const CLOUD_METADATA: readonly string[] = [
  "169.254.0.0/16", "fe80::/10", "fec0::/10", "fd00:ec2::254/128", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32",
];

/** True for `10.0.0.0/8`, `10.1.2.3`, `fd00::/8`, `::1`. */
export function isCidr(text: string): boolean {
  const [address = "", prefix, ...rest] = text.split("/");
  const family = isIP(address);
  if (family === 0 || rest.length > 0 || address.includes("%")) return false;
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128));
}

/** A set of CIDR blocks; an IPv4-mapped IPv6 address counts as the IPv4 address that it carries. */
export class CidrSet {
  readonly #list = new BlockList();
  readonly isEmpty: boolean;

  /** @throws Error when an entry is not a CIDR (see {@link isCidr}). */
  constructor(entries: readonly string[]) {
    this.isEmpty = entries.length === 0;
    for (const entry of entries) {
      if (!isCidr(entry)) throw new Error(`not an address or CIDR: "${entry}"`);
      const [address = "", prefix] = entry.split("/");
      const family = isIPv4(address) ? "ipv4" : "ipv6";
      this.#list.addSubnet(address, prefix === undefined ? (family === "ipv4" ? 32 : 128) : Number(prefix), family);
    }
  }

  has(address: string): boolean {
    if (this.isEmpty) return false;
    const plain = plainAddress(address);
    const family = isIP(plain);
    return family !== 0 && this.#list.check(plain, family === 4 ? "ipv4" : "ipv6");
  }
}
