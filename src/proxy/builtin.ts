// Answers of this process itself: a fixed text, and files below a webroot (ACME challenges of certbot and the like).

import { realpath, stat } from "node:fs/promises";
import { resolve, sep } from "node:path";
import { RouteError } from "../errors.ts";
import type { Match } from "../router/router.ts";
import type { BuiltinService } from "../service.ts";
import type { ClientRequest } from "./request.ts";
import type { HeaderPairs } from "./response-headers.ts";
import { viewerAnswer } from "./viewer.ts";

/** Files above this are streamed. */
const COLLECT_BYTES = 1024 * 1024;

export type BuiltinAnswer = {
  readonly status: 200 | 304;
  /** Not a Blob, which Bun.serve would answer ranges of behind our back. */
  readonly body: string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | null;
  readonly bytes: number;
  readonly contentType: string;
  readonly headers: HeaderPairs;
};

/** @throws RouteError not_found, method_not_allowed */
export async function answerBuiltin(service: BuiltinService, match: Match, request: ClientRequest): Promise<BuiltinAnswer> {
  if (service.answer.kind === "nothing") throw new RouteError("not_found", service.answer.closeReason, { closeReason: service.answer.closeReason });
  if (request.method !== "GET" && request.method !== "HEAD") {
    throw new RouteError("method_not_allowed", `${request.method} on a built-in answer`, { allow: "GET, HEAD" });
  }
  if (service.answer.kind === "text") {
    return { status: 200, body: service.answer.text, bytes: Buffer.byteLength(service.answer.text), contentType: "text/plain; charset=utf-8", headers: [] };
  }
  if (service.answer.kind === "viewer") return viewerAnswer(viewerName(match, request), request);
  if (service.answer.root === null) throw new RouteError("not_found", "no webroot is configured");
  const path = request.path.endsWith("/") ? `${request.path}index.html` : request.path;
  const file = Bun.file(await fileBelow(service.answer.root, path));
  // Challenge files have no extension: they are text, and nothing may be guessed out of them.
  const contentType = /\.[a-z0-9]+$/i.test(path) ? file.type : "text/plain; charset=utf-8";
  return { status: 200, body: file.size > COLLECT_BYTES ? file.stream() : await file.bytes(), bytes: file.size, contentType, headers: [] };
}

/** The page's links are relative to its directory: without the slash they would lead elsewhere. */
function viewerName({ rest }: Match, { path }: ClientRequest): string {
  if (rest === "" && !path.endsWith("/")) throw new RouteError("not_found", "the viewer's directory without its slash");
  return rest ?? "";
}

/** The regular file that `path` names below `root`: no traversal, no dotfiles but `.well-known`, no symlink that leads out. */
async function fileBelow(root: string, path: string): Promise<string> {
  const segments = decode(path).split("/").slice(1);
  const hidden = segments.some((segment, i) => segment.startsWith(".") && !(i === 0 && segment === ".well-known"));
  if (hidden || segments.some((segment) => segment === "" || /[\0\\]/.test(segment))) throw new RouteError("not_found", "path refused");
  try {
    const realRoot = await realpath(root);
    const real = await realpath(resolve(root, ...segments));
    if (!real.startsWith(realRoot.endsWith(sep) ? realRoot : realRoot + sep)) throw new RouteError("not_found", "symlink leads out of the webroot");
    if (!(await stat(real)).isFile()) throw new RouteError("not_found", "not a regular file");
    return real;
  } catch (error) {
    // Absent, unreadable, a loop of links: all the same to the client, told apart in the log.
    throw error instanceof RouteError ? error : new RouteError("not_found", "no such file", { cause: error });
  }
}

function decode(path: string): string {
  try {
    const text = decodeURIComponent(path);
    if (text.includes("/") && text.split("/").length !== path.split("/").length) throw new RouteError("not_found", "encoded slash in a file's path");
    return text;
  } catch (error) {
    throw error instanceof RouteError ? error : new RouteError("not_found", "malformed percent-encoding", { cause: error });
  }
}
