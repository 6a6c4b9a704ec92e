// What the hash policy tells requests apart by, out of one request.

import type { HashKey } from "../service.ts";
import { cookieValue } from "./cookie.ts";

/** @param client address @returns null when the request has no such header or cookie, or an empty one: it goes to whose turn it is */
export function hashKey(by: HashKey, headers: { get(name: string): string | null }, client: string): string | null {
  if (by.kind === "client") return client || null;
  if (by.kind === "header") return headers.get(by.name) || null;
  return cookieValue(headers.get("cookie"), by.name);
}
