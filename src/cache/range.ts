// One range of a complete answer (RFC 9110 section 14). Several ranges at once are answered with the whole: a client must
// take that, and nobody can make us copy one body a thousand times.

import type { HeaderPairs } from "./exchange.ts";
import { first } from "./fields.ts";
import { parseHttpDate } from "./http-date.ts";

/** First and last byte; or the whole; or nothing, because it lies behind the end. */
export type Range = { readonly kind: "part"; readonly from: number; readonly to: number } | { readonly kind: "whole" } | { readonly kind: "outside" };

const WHOLE: Range = { kind: "whole" };

/** @param length of the body in bytes */
export function rangeOf(headers: Readonly<Record<string, string | undefined>>, status: number, stored: HeaderPairs, length: number, nowMs: number): Range {
  const field = headers["range"];
  if (field === undefined || status !== 200 || !isRangeFor(headers["if-range"], stored, nowMs)) return WHOLE;
  const [, first = "", last = "", suffix = ""] = /^bytes\s*=\s*(?:(\d+)-(\d*)|-(\d+))\s*$/i.exec(field) ?? [];
  // RFC 9110 section 14.1.2: so many from the end.
  if (suffix !== "") return part(Math.max(0, length - Number(suffix)), length - 1, length);
  if (first === "" || (last !== "" && Number(last) < Number(first))) return WHOLE;
  return part(Number(first), last === "" ? length - 1 : Math.min(Number(last), length - 1), length);
}

function part(from: number, to: number, length: number): Range {
  return from >= length ? { kind: "outside" } : { kind: "part", from, to };
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
