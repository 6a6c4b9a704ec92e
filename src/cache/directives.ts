// The directives of a Cache-Control field (RFC 9111 section 5.2). A codec: it never fails; what is not a directive is
// skipped, and what is doubtful can only make a response less cacheable, never more.

/** By name in lower case, with the argument as written, unquoted; null without one. Of several of one name the first counts. */
export type Directives = ReadonlyMap<string, string | null>;

const NONE: Directives = new Map();

// A name; then an argument as a quoted string or a token; then whatever stands before the next comma.
const DIRECTIVE = /[\s,]*([\w!#$%&'*+.^`|~-]*)(?:=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?([^,]*)/y;

/** RFC 9111 section 1.2.2: what is larger than that is as large as that. Seconds. */
export const LONGEST_S = 2 ** 31;

/** @param value all lines of the field, joined by commas */
export function parseDirectives(value: string | undefined): Directives {
  if (value === undefined || value === "") return NONE;
  const found = new Map<string, string | null>();
  DIRECTIVE.lastIndex = 0;
  while (DIRECTIVE.lastIndex < value.length) {
    const [whole = "", name = "", quoted, token, rest = ""] = DIRECTIVE.exec(value) ?? [];
    if (whole === "") break;
    const key = name.toLowerCase();
    // RFC 9111 section 4.2.1: of several the first occurrence.
    if (key === "" || found.has(key)) continue;
    const argument = quoted?.replace(/\\(.)/gs, "$1") ?? token ?? null;
    // Kept with the argument, so that it is none that could be understood.
    found.set(key, rest.trim() === "" ? argument : `${argument ?? ""} ${rest.trim()}`);
  }
  return found;
}

/** An argument in seconds; null when the directive is not there, NaN when its argument is no number of seconds. */
export function seconds(directives: Directives, name: string): number | null {
  const argument = directives.get(name);
  if (argument === undefined) return null;
  return argument !== null && /^\d+$/.test(argument) ? Math.min(Number(argument), LONGEST_S) : Number.NaN;
}

/** The field names of `no-cache="a, b"`; null when the directive stands alone, or its argument is no list of names. */
export function fieldNames(directives: Directives, name: string): readonly string[] | null {
  const argument = directives.get(name);
  if (typeof argument !== "string") return null;
  const list = argument.toLowerCase().split(",").map((item) => item.trim()).filter((item) => item !== "");
  return list.length > 0 && list.every((item) => /^[\w!#$%&'*+.^`|~-]+$/.test(item)) ? list : null;
}
