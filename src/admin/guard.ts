// Who may call the admin API: whoever holds the token; without one, whoever can reach the loopback address. On a machine
// with a browser that includes every page it shows, so what a page elsewhere can make a browser send is refused: by its Origin, by
// Sec-Fetch-Site, and, against DNS rebinding, by a Host that no address of ours goes by.

import { createHash, timingSafeEqual } from "node:crypto";
import type { MiddlewareHandler } from "hono";
import { parseHost } from "../lib/host.ts";
import { refuse } from "./answers.ts";

export type GuardOptions = {
  /** null: none is asked for, which is for loopback only. */
  readonly token: string | null;
  /** Names, in lower case, that the listener is called by where it has no token; "localhost" and addresses always are. */
  readonly hostNames: readonly string[];
};

/** RFC 6750 section 2.1. */
const B64TOKEN = /^[A-Za-z0-9._~+/-]+=*$/;
const TOKEN_LEAST = 16;

/** Why nobody should use this token; null when it is good. */
export function tokenFault(token: string): string | null {
  if (token.length < TOKEN_LEAST) return `the token has ${token.length} characters, and at least ${TOKEN_LEAST} are needed`;
  return B64TOKEN.test(token) ? null : "the token holds characters that no Authorization header can carry (letters, digits and -._~+/ can)";
}

export function guard({ token, hostNames }: GuardOptions): MiddlewareHandler {
  const expected = token === null ? null : digest(token);
  return async (context, next) => {
    const { url, headers } = context.req.raw;
    const authority = headers.get("host") ?? "";
    const host = hostOf(authority);
    // Without a Host that it can read, Bun hands out a bare path.
    if (host === null || !url.startsWith("http")) return refuse(context, 400, "missing or malformed Host");
    if (isForeign(headers, authority)) return refuse(context, 403, "web pages of other origins may not call the admin API");
    // A token is nothing that a browser sends by itself: with one, the name doesn't matter.
    if (expected === null && host.kind === "name" && host.host !== "localhost" && !hostNames.includes(host.host)) {
      return refuse(context, 421, `the admin API is not called ${JSON.stringify(host.host)} (use its address, or "localhost")`);
    }
    if (expected !== null && !isBearer(headers.get("authorization"), expected)) {
      const isWrong = headers.has("authorization");
      context.header("www-authenticate", `Bearer realm="route admin"${isWrong ? ', error="invalid_token"' : ""}`);
      return refuse(context, 401, isWrong ? "not the admin token" : "the admin API needs its token (Authorization: Bearer ...)");
    }
    return next();
  };
}

function hostOf(authority: string): ReturnType<typeof parseHost> {
  const host = /^(\[[^\]]*\]|[^:]*)(?::\d{1,5})?$/.exec(authority)?.[1];
  return host === undefined ? null : parseHost(host);
}

function isForeign(headers: Headers, authority: string): boolean {
  const origin = headers.get("origin");
  if (origin !== null && origin.toLowerCase() !== `http://${authority}`.toLowerCase() && origin.toLowerCase() !== `https://${authority}`.toLowerCase()) return true;
  // Browsers send no Origin with an image or a link, and even a scrape takes something with it.
  const site = headers.get("sec-fetch-site");
  return site !== null && site !== "same-origin" && site !== "none";
}

function isBearer(authorization: string | null, expected: Buffer): boolean {
  const given = /^Bearer +(\S+)$/i.exec(authorization ?? "")?.[1];
  // Digests are of one length, so the time says nothing, not even about the length.
  return given !== undefined && timingSafeEqual(digest(given), expected);
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
