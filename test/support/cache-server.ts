// The cache with a bare front and a bare client around it, so that suites can be run against it alone: what is true here
// is true of the cache, and what the proxy adds is tested elsewhere. Run by itself it serves 127.0.0.1 and prints its port:
// `bun test/support/cache-server.ts <origin port>`.

import { type IncomingMessage, request as ask } from "node:http";
import { type CachedResponse, type CacheRequest, HttpCache, type HttpCacheOptions, type Origin, type OriginResponse } from "../../src/cache/http-cache.ts";

const HOP_BY_HOP = new Set(["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length"]);
const TIMEOUT_MS = 10_000;

export class CacheServer {
  readonly cache: HttpCache;
  readonly #server;

  constructor(private readonly originPort: number, options: Partial<HttpCacheOptions> = {}) {
    this.cache = new HttpCache({ name: "route-gateway", memoryBytes: 64 * 1024 * 1024, objectBytes: 8 * 1024 * 1024, disk: null, ...options });
    this.#server = Bun.serve({
      hostname: "127.0.0.1", port: 0, development: false, idleTimeout: 60,
      fetch: (request) => this.#serve(request),
      error: (error) => new Response(error.message, { status: 502 }),
    });
  }

  get port(): number {
    return this.#server.port ?? 0;
  }

  async close(): Promise<void> {
    await this.#server.stop(true);
    await this.cache.close();
  }

  async #serve(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const asked: CacheRequest = { method: request.method, scheme: "http", host: url.host, target: url.pathname + url.search, scope: "website", headers: Object.fromEntries(request.headers) };
    const body = request.body === null ? null : Buffer.from(await request.arrayBuffer());
    const origin: Origin = (conditions) => askOrigin(this.originPort, asked, conditions, body);
    if (request.method === "GET" || request.method === "HEAD") return toResponse(await this.cache.answer(asked, origin), request.method);
    const answer = await origin({}, false, () => {});
    this.cache.invalidate(asked, answer.status, answer.headers);
    return toResponse({ ...answer, cacheStatus: "" }, request.method);
  }
}

/** Fields that replace the client's own: conditions and ranges. */
const CONDITIONS = new Set(["if-none-match", "if-modified-since", "if-match", "if-unmodified-since", "if-range", "range"]);

function askOrigin(port: number, { method, target, headers }: CacheRequest, conditions: Readonly<Record<string, string>>, body: Buffer | null): Promise<OriginResponse> {
  const kept = Object.entries(headers).filter(([name]) => !HOP_BY_HOP.has(name) && !CONDITIONS.has(name));
  const framing = body === null ? {} : { "content-length": body.length };
  const { promise, resolve, reject } = Promise.withResolvers<OriginResponse>();
  const sent = ask({ host: "127.0.0.1", port, method, path: target, headers: { ...Object.fromEntries(kept), ...conditions, ...framing }, agent: false, timeout: TIMEOUT_MS }, (message) => {
    resolve(originResponse(message, method));
  });
  sent.on("timeout", () => sent.destroy(new Error("the origin takes too long")));
  sent.on("error", reject);
  sent.end(body ?? undefined);
  return promise;
}

function originResponse(message: IncomingMessage, method: string): OriginResponse {
  const status = message.statusCode ?? 502;
  const listed = new Set((message.headers.connection ?? "").toLowerCase().split(",").map((name) => name.trim()));
  const headers: Array<[string, string]> = [];
  for (let at = 0; at < message.rawHeaders.length; at += 2) {
    const name = (message.rawHeaders[at] ?? "").toLowerCase();
    if (!HOP_BY_HOP.has(name) && !listed.has(name)) headers.push([name, message.rawHeaders[at + 1] ?? ""]);
  }
  const length = message.headers["content-length"];
  const hasBody = method !== "HEAD" && status !== 204 && status !== 304;
  if (!hasBody) message.resume();
  return { status, headers, contentLength: length === undefined ? null : Number(length), body: hasBody ? streamOf(message) : null };
}

/** A body that was cut must fail. */
function streamOf(message: IncomingMessage): ReadableStream<Uint8Array> {
  const chunks = message[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const next = await chunks.next();
      if (next.done === true) controller.close();
      else controller.enqueue(next.value);
    },
    cancel: () => { message.destroy(); },
  });
}

async function toResponse({ status, headers, body, contentLength }: CachedResponse, method: string): Promise<Response> {
  const made = new Headers();
  for (const [name, value] of headers) made.append(name, value);
  if (body === null && contentLength !== null && method === "HEAD") made.set("content-length", String(contentLength));
  // A buffered body keeps its length on the wire.
  const bytes = body instanceof ReadableStream && contentLength !== null && contentLength < 1024 * 1024 ? new Uint8Array(await new Response(body).arrayBuffer()) : body;
  return new Response(bytes as Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | null, { status, headers: made });
}

if (import.meta.main) {
  const server = new CacheServer(Number(process.argv[2]));
  console.log(server.port);
}
