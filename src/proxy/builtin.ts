// Answers of this process itself: a fixed text, the console viewer, and files below a directory.

import { RouteError } from "../errors.ts";
import { answerFile, type FileAnswer } from "../files/file-service.ts";
import type { Match } from "../router/router.ts";
import type { BuiltinService } from "../service.ts";
import type { ClientRequest } from "./request.ts";
import type { HeaderPairs } from "./response-headers.ts";
import { upstreamTarget } from "./rewrite.ts";
import { viewerAnswer } from "./viewer.ts";

type Answer = BuiltinService["answer"];
type FilesAnswer = Extract<Answer, { kind: "files" }>;

export type BuiltinAnswer = {
  readonly status: 200 | 304;
  /** Not a Blob, which Bun.serve would answer ranges of behind our back. */
  readonly body: string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | null;
  readonly bytes: number;
  readonly contentType: string;
  readonly headers: HeaderPairs;
};

/** @throws RouteError not_found, method_not_allowed */
export async function answerBuiltin(answer: Exclude<Answer, FilesAnswer>, match: Match, request: ClientRequest): Promise<BuiltinAnswer> {
  if (answer.kind === "nothing") throw new RouteError("not_found", answer.closeReason, { closeReason: answer.closeReason });
  if (request.method !== "GET" && request.method !== "HEAD") {
    throw new RouteError("method_not_allowed", `${request.method} on a built-in answer`, { allow: "GET, HEAD" });
  }
  if (answer.kind === "viewer") return viewerAnswer(viewerName(match, request), request);
  return { status: 200, body: answer.text, bytes: Buffer.byteLength(answer.text), contentType: "text/plain; charset=utf-8", headers: [] };
}

/** A file; which one, the path says as it would go upstream. @throws RouteError not_found, method_not_allowed, unavailable */
export async function answerFromDirectory({ root, fallback }: FilesAnswer, match: Match, { method, path, query, headers }: ClientRequest): Promise<FileAnswer> {
  if (root === null) throw new RouteError("not_found", "no webroot is configured");
  const filePath = upstreamTarget(match, path, "");
  // What is left of "/docs" without its prefix is "/", whose page has links that are right below "/docs/" only.
  if (match.route.rewrite.kind === "strip" && filePath.endsWith("/") && !path.endsWith("/")) {
    throw new RouteError("moved", "a directory without its slash", { location: `./${path.slice(path.lastIndexOf("/") + 1)}/${query === "" ? "" : `?${query}`}` });
  }
  return answerFile(root, { fallback }, { method, path: filePath, query, headers });
}

/** The page's links are relative to its directory: without the slash they would lead elsewhere. */
function viewerName({ rest }: Match, { path }: ClientRequest): string {
  if (rest === "" && !path.endsWith("/")) throw new RouteError("not_found", "the viewer's directory without its slash");
  return rest ?? "";
}
