// One cookie out of a request's Cookie header. RFC 6265 section 4.2.1: pairs of name and value between semicolons.

/** The first of that name, which is that of the longest path (RFC 6265 section 5.4); null when there is none, or it is empty. */
export function cookieValue(header: string | null | undefined, name: string): string | null {
  if (header === null || header === undefined) return null;
  for (let at = 0, end; at < header.length; at = end + 1) {
    end = header.indexOf(";", at);
    if (end < 0) end = header.length;
    const pair = header.slice(at, end);
    const equals = pair.indexOf("=");
    // Names are case-sensitive, and spaces around them are not part of them.
    if (equals > 0 && pair.slice(0, equals).trim() === name) return pair.slice(equals + 1).trim() || null;
  }
  return null;
}
