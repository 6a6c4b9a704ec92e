// The syntax of a host that somebody else named: an ASCII DNS name or one canonical kind of IP literal, and nothing
// that a resolver, a URL parser or inet_aton would read differently (`0x7f.1`, `2130706433`, `127.1`, zone ids, `a@b`,
// `a:80`). Says nothing about where the host is or whether it may be reached: that is the guard's question.

import { isIPv4, isIPv6 } from "node:net";

export type Host = {
  readonly kind: "ipv4" | "ipv6" | "name";
  /** A name in lower case without its trailing dot; an IPv6 literal without brackets. */
  readonly host: string;
};

/** RFC 1035 section 2.3.4. */
const NAME_LIMIT = 253;
/** The underscore is no host name by RFC 1123, but cluster names in the field have it. */
const LABEL = /^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/;
/** A last label that a resolver of the inet_aton kind takes for a number: decimal, or hexadecimal behind 0x. */
const NUMERIC_LABEL = /^(?:[0-9]+|0[xX][0-9A-Fa-f]*)$/;

/** What `text` names, or null when it is not exactly one host. */
export function parseHost(text: string): Host | null {
  if (text.startsWith("[")) return text.endsWith("]") ? parseIpv6(text.slice(1, -1)) : null;
  if (text.includes(":")) return parseIpv6(text);
  if (isIPv4(text)) return { kind: "ipv4", host: text };
  return parseName(text);
}

function parseIpv6(text: string): Host | null {
  // A zone (`fe80::1%eth0`) names an interface of this machine: not for others to choose.
  return isIPv6(text) && !text.includes("%") ? { kind: "ipv6", host: text.toLowerCase() } : null;
}

function parseName(text: string): Host | null {
  const name = text.endsWith(".") ? text.slice(0, -1) : text;
  if (name.length === 0 || name.length > NAME_LIMIT) return null;
  const labels = name.split(".");
  if (!labels.every((label) => LABEL.test(label))) return null;
  // WHATWG URL, "ends in a number": whatever ends so is an IPv4 address or an error, never a name.
  if (NUMERIC_LABEL.test(labels.at(-1) ?? "")) return null;
  return { kind: "name", host: name.toLowerCase() };
}
