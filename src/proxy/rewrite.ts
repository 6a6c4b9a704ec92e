// Path and query as they go upstream. Pure. The matched path is rewritten by slicing, never decoded or normalised again.

import type { Match } from "../router/router.ts";
import type { Scheme } from "./client.ts";

/**
 * @param path the client's path, as matched
 * @param query without `?`, the token already removed unless the route forwards it
 */
export function upstreamTarget(match: Match, path: string, query: string): string {
  const rewrite = match.route.rewrite;
  if (rewrite.kind === "replace") return rewrite.path;
  return query === "" ? rewritten(match, path) : `${rewritten(match, path)}?${query}`;
}

function rewritten(match: Match, path: string): string {
  const rewrite = match.route.rewrite;
  if (rewrite.kind === "rest") return `/${match.rest ?? ""}`;
  // A single slash, never `//`: that would be read as an authority by whoever resolves it against a base.
  if (rewrite.kind === "strip") return `/${path.slice(rewrite.prefix.length).replace(/^\/+/, "")}`;
  return path;
}

/**
 * A redirect of a service to its own address, which is no business of the client, is turned back into the path that the client knows, as nginx's default
 * `proxy_redirect` does; every other Location stays.
 * @param path of the client, as matched
 * @param scheme of the client: a service that was told https by X-Forwarded-Proto may say it of its own address
 */
export function clientLocation(match: Match, path: string, authority: string, location: string, scheme: Scheme = "http"): string {
  const own = [`http://${authority}/`, `${scheme}://${authority}/`].find((start) => location.startsWith(start));
  if (own === undefined) return location;
  // One slash: `//host` would lead the browser to another site.
  return `${removedPrefix(match, path)}/${location.slice(own.length).replace(/^[/\\]+/, "")}`;
}

/** What the upstream did not see of the start of the path, without a slash at its end. */
function removedPrefix({ route: { rewrite }, rest }: Match, path: string): string {
  if (rewrite.kind === "strip") return rewrite.prefix.replace(/\/$/, "");
  // A pattern that takes no rest has no path for anything but the root.
  if (rewrite.kind === "rest" && rest !== null) return path.slice(0, path.length - rest.length).replace(/\/$/, "");
  return "";
}
