// A directory as a website: the file that a path names, what the client knows of it already, the part that it asks for.
// Each answer comes from one descriptor, opened once: a release that is swapped meanwhile is served old or new, never mixed.
//
// What is not here: a listing of a directory, dotfiles, and any way out of the root (file-path.ts, open-file.ts).

import { RouteError } from "../errors.ts";
import { chooseEncoding } from "../lib/accept-encoding.ts";
import { byteRange } from "../lib/byte-range.ts";
import { type ContentType, contentType } from "./content-type.ts";
import { readWhole, streamFile, WHOLE_BYTES } from "./file-body.ts";
import { fileNames } from "./file-path.ts";
import { formatHttpDate } from "../lib/http-date.ts";
import { closeFile, FileRoot, type NoFile, type OpenFile } from "./open-file.ts";
import { failedPrecondition, mayServeRange, type Validators, validatorsOf } from "./preconditions.ts";

export type FileRequest = {
  readonly method: string;
  /** Percent-encoded as it came, starts with `/`. */
  readonly path: string;
  /** Without `?`; "" for none. Only a redirect has it in it. */
  readonly query: string;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
};

export type FileAnswer = {
  readonly status: 200 | 206 | 304 | 308 | 412 | 416;
  /** Without Content-Length. */
  readonly headers: readonly (readonly [string, string])[];
  /** null: none is sent, whatever contentLength says. A stream must be read or cancelled: it holds a descriptor. */
  readonly body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | null;
  /** Of the body; for HEAD, of the one that a GET would have got. */
  readonly contentLength: number;
};

export type FileOptions = {
  /** Relative to the root: served for paths that name no file; null: not found. */
  readonly fallback: string | null;
  /** Unix time in ms. */
  readonly now?: () => number;
};

/** The ones that build tools lay beside a file; smaller ones first. */
const SIBLINGS: readonly Coding[] = ["br", "gzip"];
const SUFFIX: Readonly<Record<Coding, string>> = { br: ".br", gzip: ".gz" };
/** What is left to ask for when one of them does not lie there. */
const OTHER: Readonly<Record<Coding, readonly Coding[]>> = { br: ["gzip"], gzip: ["br"] };

type Coding = "br" | "gzip";

/** A file to answer with, and which coding it is in. */
type Representation = { readonly file: OpenFile; readonly coding: Coding | ""; readonly type: ContentType };

/**
 * @param root absolute, or relative to the working directory; a symlink is followed anew for each request
 * @throws RouteError not_found, method_not_allowed, unavailable (no descriptor left, a disk that fails, a file that shrinks)
 */
export async function answerFile(root: string, { fallback, now = Date.now }: FileOptions, request: FileRequest): Promise<FileAnswer> {
  if (request.method !== "GET" && request.method !== "HEAD") throw new RouteError("method_not_allowed", `${request.method} on a file`, { allow: "GET, HEAD" });
  const wanted = wantedFile(request.path);
  const files = await FileRoot.at(root);
  const isDirectory = request.path.endsWith("/");
  let found = await represent(files, wanted, request);
  if (found === "directory" && !isDirectory && await hasIndex(files, wanted)) return redirect(request);
  if ((found === "absent" || found === "directory") && fallback !== null) found = await represent(files, fallback.split("/").filter((name) => name !== ""), request);
  if (typeof found === "string") throw new RouteError("not_found", found === "refused" ? "not a file below the root, or not readable" : "no such file");
  return answer(found, request, now());
}

/**
 * The names, below the root, of the file that a path stands for.
 * @param path as in {@link FileRequest} @throws RouteError not_found for one that can stand for none
 */
export function wantedFile(path: string): readonly string[] {
  const names = fileNames(path);
  return path.endsWith("/") ? [...names, "index.html"] : names;
}

async function hasIndex(files: FileRoot, names: readonly string[]): Promise<boolean> {
  const index = await files.open([...names, "index.html"]);
  if (typeof index === "string") return false;
  closeFile(index);
  return true;
}

/** To the same path with a slash, so that the page's own links lead below it. */
function redirect({ path, query }: FileRequest): FileAnswer {
  // Relative (RFC 9110 section 10.2.2): right wherever the directory is mounted, and never a way to another host.
  const location = `./${path.slice(path.lastIndexOf("/") + 1)}/${query === "" ? "" : `?${query}`}`;
  return { status: 308, headers: [["location", location]], body: null, contentLength: 0 };
}

// ---- which representation

async function represent(files: FileRoot, names: readonly string[], { headers }: FileRequest): Promise<Representation | NoFile> {
  const file = await files.open(names);
  if (typeof file === "string") return file;
  const type = contentType(names.at(-1) ?? "");
  const accepted = type.isCompressible ? headers["accept-encoding"] : undefined;
  try {
    return await sibling(files, names, file, type, accepted) ?? { file, coding: "", type };
  } catch (error) {
    closeFile(file);
    throw error;
  }
}

/** A compressed file beside this one that the client prefers, and that was made from it: not older. Then `file` is closed. */
async function sibling(files: FileRoot, names: readonly string[], file: OpenFile, type: ContentType, accepted: string | undefined): Promise<Representation | null> {
  const coding = chooseEncoding(accepted, SIBLINGS);
  if (coding === null) return null;
  const best = await compressed(files, names, file, coding);
  if (best !== null) return { file: best, coding, type };
  const second = chooseEncoding(accepted, OTHER[coding]);
  const other = second === null ? null : await compressed(files, names, file, second);
  return second === null || other === null ? null : { file: other, coding: second, type };
}

async function compressed(files: FileRoot, names: readonly string[], file: OpenFile, coding: Coding): Promise<OpenFile | null> {
  const found = await files.open([...names.slice(0, -1), `${names.at(-1)}${SUFFIX[coding]}`]);
  if (typeof found === "string") return null;
  // Whole seconds: not every compressor passes on the rest.
  const isCurrent = Math.floor(found.modifiedMs / 1000) >= Math.floor(file.modifiedMs / 1000);
  closeFile(isCurrent ? file : found);
  return isCurrent ? found : null;
}

// ---- what to say of it

async function answer(found: Representation, { method, headers: asked }: FileRequest, nowMs: number): Promise<FileAnswer> {
  const { file, coding, type } = found;
  const validators = validatorsOf(file, coding, nowMs);
  const headers = common(found, validators);
  const status = failedPrecondition(asked, validators, nowMs);
  if (status !== null) return empty(file, status, status === 304 ? headers : [], 0);
  headers.push(["content-type", type.value], ["accept-ranges", "bytes"]);
  if (coding !== "") headers.push(["content-encoding", coding]);
  // RFC 9110 section 14.2: Range means something for GET only.
  const range = method === "GET" && mayServeRange(asked["if-range"], validators) ? byteRange(asked["range"], file.size) : "whole";
  if (range === "unsatisfiable") return empty(file, 416, [["content-range", `bytes */${file.size}`], ["accept-ranges", "bytes"]], 0);
  if (method === "HEAD") return empty(file, 200, headers, file.size);
  if (range === "whole") return { status: 200, headers, ...await content(file, 0, file.size) };
  headers.push(["content-range", `bytes ${range.first}-${range.last}/${file.size}`]);
  return { status: 206, headers, ...await content(file, range.first, range.last - range.first + 1) };
}

/** What a 304 says as well (RFC 9110 section 15.4.5). */
function common({ type }: Representation, { etag, modifiedMs }: Validators): [string, string][] {
  const headers: [string, string][] = [["etag", etag], ["last-modified", formatHttpDate(modifiedMs)]];
  // Also where no sibling lies there: one may, tomorrow.
  if (type.isCompressible) headers.push(["vary", "Accept-Encoding"]);
  return headers;
}

function empty(file: OpenFile, status: FileAnswer["status"], headers: FileAnswer["headers"], contentLength: number): FileAnswer {
  closeFile(file);
  return { status, headers, body: null, contentLength };
}

async function content(file: OpenFile, first: number, length: number): Promise<Pick<FileAnswer, "body" | "contentLength">> {
  return { body: length > WHOLE_BYTES ? streamFile(file, first, length) : await readWhole(file, first, length), contentLength: length };
}
