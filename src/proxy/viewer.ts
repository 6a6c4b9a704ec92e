// The embedded console viewer (src/viewer): when a request gets it, and with which headers. The page has no secret in it; the
// token stands in the address that it was asked with, hence no referrer, no cache, and nothing loaded from elsewhere.

import { RouteError } from "../errors.ts";
import type { Route } from "../route.ts";
import type { ClientRequest } from "./request.ts";
import type { HeaderPairs } from "./response-headers.ts";

/** One of the answers of this process itself (builtin.ts). */
export type ViewerAnswer = {
  readonly status: 200 | 304;
  readonly body: string | null;
  readonly bytes: number;
  readonly contentType: string;
  readonly headers: HeaderPairs;
};

/** A browser opens a console's address as a page. */
export function wantsViewer(route: Route, request: ClientRequest): boolean {
  const isRead = request.method === "GET" || request.method === "HEAD";
  return route.viewer && isRead && (request.headers["accept"] ?? "").includes("text/html");
}

/** @param name of a file of the viewer; "" is the page @throws RouteError not_found */
export async function viewerAnswer(name: string, request: ClientRequest): Promise<ViewerAnswer> {
  const { POLICY, viewerFile } = await import("../viewer/files.ts");
  const file = viewerFile(name);
  if (file === undefined) throw new RouteError("not_found", "no such file of the viewer");
  const isPage = name === "";
  const headers: [string, string][] = [
    ["content-security-policy", POLICY], ["referrer-policy", "no-referrer"], ["x-content-type-options", "nosniff"],
    ["cache-control", isPage ? "no-store" : "no-cache"], ...(isPage ? [] : [["etag", file.etag] as [string, string]]),
  ];
  if (!isPage && request.headers["if-none-match"] === file.etag) return { status: 304, body: null, bytes: 0, contentType: file.contentType, headers };
  return { status: 200, body: file.text, bytes: Buffer.byteLength(file.text), contentType: file.contentType, headers };
}
