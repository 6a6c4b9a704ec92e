// Looking up header fields in lists of pairs.

import type { HeaderPairs } from "./exchange.ts";

/** All lines of the field as one value (RFC 9110 section 5.3); undefined when there are none. */
export function joined(headers: HeaderPairs, name: string): string | undefined {
  let value: string | undefined;
  for (const [key, line] of headers) if (key === name) value = value === undefined ? line : `${value}, ${line}`;
  return value;
}

/** The first line of the field. */
export function first(headers: HeaderPairs, name: string): string | undefined {
  for (const [key, line] of headers) if (key === name) return line;
  return undefined;
}

/** A comma-separated list of names in lower case, without empty members. */
export function names(list: string): string[] {
  return list.toLowerCase().split(",").map((name) => name.trim()).filter((name) => name !== "");
}
