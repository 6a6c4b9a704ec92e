// /api/cache: what the HTTP cache holds, and throwing things out of it.

import type { Context } from "hono";
import { refuse } from "./answers.ts";

export type CacheSelector = { readonly url: string } | { readonly prefix: string } | { readonly host: string } | { readonly all: true };

export interface CacheControl {
  /** null: no route is cached. */
  stats(): object | null;
  /** @returns how many entries are gone */
  purge(selector: CacheSelector): number;
}

const NO_CACHE = 'there is no cache: no route of the configuration has "cache: true"';

export function showCache(context: Context, cache: CacheControl): Response {
  const stats = cache.stats();
  return stats === null ? refuse(context, 404, NO_CACHE) : context.json(stats);
}

export function purgeCache(context: Context, cache: CacheControl): Response {
  if (cache.stats() === null) return refuse(context, 404, NO_CACHE);
  const selector = readSelector(context.req.query());
  if (typeof selector === "string") return refuse(context, 400, selector);
  return context.json({ purged: cache.purge(selector) });
}

/** @returns what is wrong, in place of a selector */
function readSelector(query: Readonly<Record<string, string>>): CacheSelector | string {
  const entries = Object.entries(query);
  const [name, value = ""] = entries[0] ?? [];
  if (entries.length !== 1) return "say one of url=URL, prefix=URL, host=HOST and all=true";
  switch (name) {
    case "all": return value === "true" ? { all: true } : "all=true purges everything";
    case "host": return value === "" ? "host=HOST names a host" : { host: value.toLowerCase() };
    case "url":
    case "prefix":
      if (name === "prefix" && value.startsWith("/")) return { prefix: value };
      if (!/^https?:\/\/[^/]+\//.test(value)) return `${name} is a whole URL such as http://www.example.org/${name === "prefix" ? ", or a path on all hosts such as /assets/" : ""}`;
      return name === "url" ? { url: value } : { prefix: value };
    default: return `unknown parameter "${name}" (say one of url=URL, prefix=URL, host=HOST and all=true)`;
  }
}
