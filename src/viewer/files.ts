// The embedded console viewer: a page, its style, and a script with the real noVNC in it. Loaded when it is first asked for.

import { createHash } from "node:crypto";
import { bundle, notice } from "./bundle.ts" with { type: "macro" };
import page from "./page.html" with { type: "text" };
import style from "./style.css" with { type: "text" };

export type ViewerFile = { readonly contentType: string; readonly text: string; readonly etag: string };

const FILES: ReadonlyMap<string, ViewerFile> = new Map([
  // Bun's types call every .html import a bundle; with `type: "text"` it is a string.
  ["", file("text/html; charset=utf-8", page as unknown as string)],
  ["style.css", file("text/css; charset=utf-8", style)],
  ["client.js", file("text/javascript; charset=utf-8", notice() + bundle("./client.js"))],
]);

/** What the page may do: load these files, speak to this host, draw. Nothing else, and nothing written into the page itself. */
export const POLICY = [
  "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data: blob:", "connect-src 'self'",
  "base-uri 'none'", "form-action 'none'", "frame-ancestors 'self'",
].join("; ");

/** @param name as it stands behind the directory of the viewer's files; "" is the page */
export function viewerFile(name: string): ViewerFile | undefined {
  return FILES.get(name);
}

function file(contentType: string, text: string): ViewerFile {
  return { contentType, text, etag: `"${createHash("sha256").update(text).digest("base64url").slice(0, 16)}"` };
}
