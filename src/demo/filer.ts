// The demo pod's files: a resumable upload that is counted and hashed, never kept. Neither memory nor disk grows with
// the file, so that gigabytes can be sent to see what the router does with them.
//
//   HEAD   /filer/<name>        Upload-Offset: what has arrived; ends an upload of the same name that still runs
//   PATCH  /filer/<name>        appends at Upload-Offset (or at the start of Content-Range); 409 elsewhere
//   PUT    /filer/<name>        with Content-Range: as PATCH; without: starts anew
//   GET    /filer/<name>        {name, size, sha256} of what has arrived
//   DELETE /filer/<name>        forgets it
//   GET    /filer/download?bytes=N   a stream in which every 64 KiB block carries its offset

import { refuse, type PodService } from "./service.ts";

const FILE_LIMIT = 64;
const FILE_LIMIT_BYTES = 8 * 1024 ** 3;
const NAME_LIMIT = 255;
export const PATTERN_BLOCK_BYTES = 64 * 1024;

type Upload = { readonly name: string; size: number; hasher: Bun.CryptoHasher; turn: number };

export class Filer implements PodService {
  /** In order of creation: the oldest is forgotten first. */
  readonly #uploads = new Map<string, Upload>();

  constructor(readonly port: number) {}

  respond(request: Request, url: URL): Response | Promise<Response> {
    const name = fileName(url);
    if (name === null) return refuse(400, "bad file name");
    if (name === "") return this.#list();
    if (name === "download" && request.method === "GET") return download(url);
    switch (request.method) {
      case "HEAD": return this.#offset(name);
      case "GET": return this.#describe(name);
      case "PATCH": case "PUT": return this.#append(request, name);
      case "DELETE": return this.#forget(name);
      default: return refuse(405, "HEAD, GET, PATCH, PUT or DELETE");
    }
  }

  #list(): Response {
    return Response.json([...this.#uploads.values()].map(describe));
  }

  #offset(name: string): Response {
    const upload = this.#uploads.get(name);
    // Whoever asks where to go on means to write: a writer that lost its client may not move the offset any more.
    if (upload) upload.turn++;
    return new Response(null, { headers: { "Upload-Offset": String(upload?.size ?? 0), "Cache-Control": "no-store" } });
  }

  #describe(name: string): Response {
    const upload = this.#uploads.get(name);
    return upload ? Response.json(describe(upload)) : refuse(404, "no such file");
  }

  #forget(name: string): Response {
    const upload = this.#uploads.get(name);
    if (upload) upload.turn++;
    this.#uploads.delete(name);
    return new Response(null, { status: 204 });
  }

  async #append(request: Request, name: string): Promise<Response> {
    const offset = startOffset(request);
    if (offset === null) return refuse(400, "Upload-Offset or Content-Range is missing or not a number");
    const upload = this.#openAt(name, offset, request.method === "PUT" && !request.headers.has("content-range"));
    if (offset !== upload.size) return conflict(upload);
    try {
      return await receive(upload, request);
    } catch {
      // The client is gone: what arrived stays, and its next HEAD says how much that is.
      return refuse(400, "upload was cut off");
    }
  }

  #openAt(name: string, offset: number, isReplacement: boolean): Upload {
    const existing = this.#uploads.get(name);
    if (existing && !isReplacement) return existing;
    if (existing) existing.turn++;
    const upload = { name, size: 0, hasher: new Bun.CryptoHasher("sha256"), turn: 0 };
    // A first piece that doesn't begin at 0 is refused by the caller; it needs no entry.
    if (offset === 0) this.#remember(upload);
    return upload;
  }

  #remember(upload: Upload): void {
    this.#uploads.delete(upload.name);
    this.#uploads.set(upload.name, upload);
    const [oldest] = this.#uploads.keys();
    if (this.#uploads.size > FILE_LIMIT && oldest !== undefined) this.#forget(oldest);
  }
}

async function receive(upload: Upload, request: Request): Promise<Response> {
  const turn = ++upload.turn;
  for await (const chunk of request.body ?? []) {
    if (upload.turn !== turn) return conflict(upload);
    if (upload.size + chunk.length > FILE_LIMIT_BYTES) return refuse(413, "file too large");
    upload.hasher.update(chunk);
    upload.size += chunk.length;
  }
  return Response.json(describe(upload), { headers: { "Upload-Offset": String(upload.size) } });
}

function describe(upload: Upload): { name: string; size: number; sha256: string } {
  // A copy, as reading the digest ends a hasher and the upload may go on.
  return { name: upload.name, size: upload.size, sha256: upload.hasher.copy().digest("hex") };
}

function conflict(upload: Upload): Response {
  const headers = { "Upload-Offset": String(upload.size) };
  return Response.json({ error: "the upload goes on at another offset" }, { status: 409, headers });
}

function fileName(url: URL): string | null {
  try {
    const name = decodeURIComponent(url.pathname.replace(/^\/filer\/?/, ""));
    return name.length <= NAME_LIMIT && !name.includes("/") && !name.includes("\0") ? name : null;
  } catch {
    // A `%` that encodes nothing.
    return null;
  }
}

/** RFC 9110 section 14.4 (`bytes 0-99/1000`), or the offset header of resumable uploads. */
function startOffset(request: Request): number | null {
  const range = request.headers.get("content-range")?.match(/^bytes (\d{1,15})-\d+\/(?:\d+|\*)$/);
  if (range) return Number(range[1]);
  if (request.headers.has("content-range")) return null;
  const offset = request.headers.get("upload-offset");
  if (offset === null) return request.method === "PUT" ? 0 : null;
  return /^\d{1,15}$/.test(offset) ? Number(offset) : null;
}

function download(url: URL): Response {
  const bytes = Number(url.searchParams.get("bytes") ?? 1024 ** 2);
  if (!Number.isInteger(bytes) || bytes < 0 || bytes > FILE_LIMIT_BYTES) return refuse(400, "bytes must be 0 to 8 GiB");
  return new Response(patternStream(bytes), { headers: { "Content-Type": "application/octet-stream" } });
}

function patternStream(bytes: number): ReadableStream<Uint8Array> {
  let offset = 0;
  return new ReadableStream({
    // Awaits, as a pull that never does starves other work of the process.
    async pull(controller) {
      await Bun.sleep(0);
      if (offset >= bytes) return controller.close();
      const block = patternBlock(offset).subarray(0, bytes - offset);
      offset += block.length;
      controller.enqueue(block);
    },
  });
}

/** The block of the download that starts at `offset`: eight bytes of offset (big-endian), then a fixed ramp. */
export function patternBlock(offset: number): Uint8Array {
  const block = RAMP.slice();
  new DataView(block.buffer).setBigUint64(0, BigInt(offset));
  return block;
}

const RAMP = Uint8Array.from({ length: PATTERN_BLOCK_BYTES }, (_, index) => (index * 31) & 255);
