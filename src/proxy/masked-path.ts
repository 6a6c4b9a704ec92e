// A path as the log has it: without tokens, wherever they were put.

/**
 * @param path or a line with one in it
 * @param pathToken what the route takes for the token; null: nothing. Anything else that begins as `{"` or `{ "` does in base64url is left out as well
 */
export function maskedPath(path: string, pathToken: string | null): string {
  const known = pathToken === null ? path : path.replaceAll(pathToken, "[token]");
  if (known.length <= 60) return known;
  return known.replace(/eyJ[\w-]*(?:\.|%2e)[\w.%-]*/gi, "[token]").replace(/([/=])e[wy][\w-]{14,}(?:\.|%2e)[\w.%-]*/gi, "$1[token]");
}
