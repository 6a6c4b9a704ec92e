// The part of a complete answer that a client asks for (RFC 9110 section 14).

import { type ByteRange, byteRange } from "../lib/byte-range.ts";
import { parseHttpDate } from "../lib/http-date.ts";
import type { HeaderPairs } from "./exchange.ts";
import { first } from "./fields.ts";

/** @param length of the body in bytes @returns "unsatisfiable" when it lies behind the end */
export function rangeOf(headers: Readonly<Record<string, string | undefined>>, status: number, stored: HeaderPairs, length: number, nowMs: number): ByteRange | "whole" | "unsatisfiable" {
  if (status !== 200 || !isRangeFor(headers["if-range"], stored, nowMs)) return "whole";
  return byteRange(headers["range"], length);
}

/** RFC 9110 section 13.1.5: only for a strong validator that is ours; otherwise the whole is due. */
function isRangeFor(condition: string | undefined, stored: HeaderPairs, nowMs: number): boolean {
  if (condition === undefined) return true;
  if (condition.startsWith('"')) return condition.trim() === first(stored, "etag");
  const modified = first(stored, "last-modified");
  const modifiedMs = parseHttpDate(modified ?? "", nowMs);
  const dateMs = parseHttpDate(first(stored, "date") ?? "", nowMs);
  // RFC 9110 section 8.8.2.2: what was changed in the second of the answer may have changed after it as well.
  return modifiedMs !== null && dateMs !== null && dateMs - modifiedMs >= 1000 && condition.trim() === modified?.trim();
}
