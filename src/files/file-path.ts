// The names of a request's path, one for each directory and the file, as they stand on the disk. Decoded once, and only when
// there is one way to read them: no name climbs, hides, or becomes two.
//
// Invariant: none of the names is empty, begins with a dot (but `.well-known`, first), or has a slash, backslash or NUL in it.

import { RouteError } from "../errors.ts";

/** What a second decoding would make a separator or a dot segment of: nobody names a file so. */
const ENCODED_TWICE = /%(?:2e|2f|5c|00)/i;

/**
 * @param path percent-encoded as it came, starts with `/`, without the query
 * @returns the names; [] for the root itself. A slash at the end is not in them
 * @throws RouteError not_found
 */
export function fileNames(path: string): readonly string[] {
  if (!path.startsWith("/")) throw new RouteError("not_found", "a path that does not begin with a slash");
  const segments = (path.endsWith("/") ? path.slice(0, -1) : path).split("/");
  return segments.slice(1).map(fileName);
}

function fileName(segment: string, index: number): string {
  const name = decode(segment);
  // RFC 8615: the one hidden directory that is meant to be seen.
  const isHidden = name.startsWith(".") && !(index === 0 && name === ".well-known");
  if (isHidden) throw new RouteError("not_found", "names that begin with a dot are not served");
  if (name === "" || /[\0/\\]/.test(name) || ENCODED_TWICE.test(name)) throw new RouteError("not_found", "path refused");
  return name;
}

/** UTF-8, and nothing overlong or half encoded. */
function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (error) {
    throw new RouteError("not_found", "malformed percent-encoding", { cause: error });
  }
}
