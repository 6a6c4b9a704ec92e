// What the hash policy tells requests apart by, out of one request.

import type { HashKey } from "../service.ts";
import { cookieValue } from "./cookie.ts";

/** @param client address @returns null when the request has no such header or cookie, or an empty one: it goes to whose turn it is */
export function hashKey(by: HashKey, headers: Readonly<Record<string, string | undefined>>, client: string): string | null {
  if (by.kind === "client") return client || null;
  if (by.kind === "header") return headers[by.name] || null;
  return cookieValue(headers["cookie"], by.name);
}
