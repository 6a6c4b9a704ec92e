// The Range field (RFC 9110 section 14). One range is served; several are answered with the whole, which a server may
// always do: joining a thousand overlapping ones is work that only an attacker asks for.

/** Both ends included. */
export type ByteRange = { readonly first: number; readonly last: number };

const ONE = /^bytes[ \t]*=[ \t]*(\d*)-(\d*)[ \t]*$/i;

/**
 * @param field undefined: none was sent
 * @param size of the whole in bytes
 * @returns "whole" also for what is malformed, for other units and for several ranges
 */
export function byteRange(field: string | undefined, size: number): ByteRange | "whole" | "unsatisfiable" {
  const [, from = "", to = ""] = ONE.exec(field ?? "") ?? [];
  if (from === "" && to === "") return "whole";
  if (from === "") return suffix(Number(to), size);
  const first = Number(from);
  const last = to === "" ? Infinity : Number(to);
  // RFC 9110 section 14.1.1: "an int-range is invalid if the last-pos value is present and less than first-pos".
  if (last < first) return "whole";
  return first >= size ? "unsatisfiable" : { first, last: Math.min(last, size - 1) };
}

/** The last `length` bytes; the last ones of nothing are all that there is. */
function suffix(length: number, size: number): ByteRange | "whole" | "unsatisfiable" {
  if (length === 0) return "unsatisfiable";
  return size === 0 ? "whole" : { first: Math.max(0, size - length), last: size - 1 };
}
