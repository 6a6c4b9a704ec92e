// Which of several answers of one URL belongs to a request (RFC 9111 section 4.1): the one whose request had the same
// values in the fields that Vary names. A variant is the text of those values; equal texts mean equal requests.

import type { HeaderPairs } from "./exchange.ts";
import { joined, names } from "./fields.ts";

/** More fields than any honest answer depends on. */
const FIELDS = 16;
/** Few browsers make most Accept-Encodings: each is normalised once. */
const MEMO = 256;

/** Fields that an answer depends on, in lower case and sorted; null when no request is known to get it again. */
export function varyOf(headers: HeaderPairs): readonly string[] | null {
  const list = joined(headers, "vary");
  if (list === undefined) return [];
  const fields = [...new Set(names(list))].sort();
  return fields.includes("*") || fields.length > FIELDS ? null : fields;
}

export function variantOf(fields: readonly string[], headers: Readonly<Record<string, string | undefined>>): string {
  let variant = "";
  for (const name of fields) {
    const value = headers[name];
    // A field that is absent is not an empty one.
    variant += value === undefined ? "\n" : `=${normalised(name, value)}\n`;
  }
  return variant;
}

const encodings = new Map<string, string>();

/** RFC 9111 section 4.1: only what cannot change the meaning. */
function normalised(name: string, value: string): string {
  if (name === "accept-encoding") return normalisedEncoding(value);
  // Case and the space around commas mean nothing here; the order might, to some.
  if (name === "accept-language" || name === "accept-charset") return value.toLowerCase().replace(/\s*([,;])\s*/g, "$1").trim();
  return value;
}

/** RFC 9110 section 12.5.3: preference is in the weights, so that the order means nothing. */
function normalisedEncoding(value: string): string {
  const known = encodings.get(value);
  if (known !== undefined) return known;
  const text = names(value.replace(/\s*;\s*/g, ";")).sort().join(",");
  if (encodings.size >= MEMO) encodings.clear();
  encodings.set(value, text);
  return text;
}
