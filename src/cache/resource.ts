// What an answer is stored under: whom it was asked of and what for. Nothing else of a request is part of it, whatever
// its X-Forwarded fields say.

import type { CacheRequest } from "./exchange.ts";

export type Resource = {
  readonly key: string;
  readonly scheme: "http" | "https";
  readonly host: string;
  readonly target: string;
  readonly scope: string;
};

export function keyOf({ scheme, host, target, scope }: Omit<Resource, "key">): string {
  // A space is in none of them.
  return `${scheme}://${host}${target} ${scope}`;
}

export function resourceOf({ scheme, host, target, scope }: CacheRequest): Resource {
  return { key: keyOf({ scheme, host, target, scope }), scheme, host, target, scope };
}

/** What to remove; all that is given must fit. Nothing given: everything. */
export type Selector = {
  readonly host?: string;
  /** Scheme, host, path and query. */
  readonly url?: string;
  /** Of the URL, or of the path when it begins with `/`. */
  readonly prefix?: string;
};

export function isSelected({ host, url, prefix }: Selector, resource: Resource): boolean {
  const own = `${resource.scheme}://${resource.host}${resource.target}`;
  if (host !== undefined && resource.host !== host.toLowerCase()) return false;
  if (url !== undefined && own !== url) return false;
  if (prefix === undefined) return true;
  if (prefix.startsWith("/")) return resource.target.startsWith(prefix);
  // A prefix without a path is a whole host, not the beginning of another one's name.
  return own.startsWith(/^https?:\/\/[^/]*$/.test(prefix) ? `${prefix}/` : prefix);
}
