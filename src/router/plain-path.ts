// What a path may mean to a server behind us, many of which decode what need not be encoded, merge slashes or drop parameters.
// Only for comparing: what is forwarded stays as it came.

/** Something in it that can be written otherwise. */
const SPELLED = /%|\/\/|;/;
/** Unreserved characters (RFC 3986 section 2.3), and the slash. */
const ENCODED = /%(2[def]|3\d|[46][1-9a-f]|[57][\da]|5f|7e)/gi;

/** The plainest spelling: decoded once where that is allowed, one slash at a time, segments without parameters (RFC 3986 section 3.3). */
export function plainPath(path: string): string {
  if (!SPELLED.test(path)) return path;
  return path.replace(ENCODED, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))).replace(/;[^/]*/g, "").replace(/\/{2,}/g, "/");
}
