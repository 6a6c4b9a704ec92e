// An origin for the cache that is a function, with a clock that stands still until it is told otherwise. What it answers
// is set by the test; what it was asked is there to be looked at.

import { type CachedResponse, type CacheRequest, HttpCache, type HttpCacheOptions, type Origin, type OriginResponse } from "../../src/cache/http-cache.ts";

export type Asked = { readonly conditions: Readonly<Record<string, string>>; readonly isBackground: boolean };
export type Script = Partial<Omit<OriginResponse, "headers">> & { readonly headers?: Readonly<Record<string, string | readonly string[] | undefined>>; readonly text?: string };

export class CacheRig {
  nowMs = Date.UTC(2026, 10, 21, 12, 0, 0);
  readonly cache: HttpCache;
  readonly asked: Asked[] = [];
  readonly warnings: string[] = [];
  /** What the next requests are answered; a function decides by what it is asked. */
  next: Script | ((asked: Asked) => Script | Promise<Script>) = {};

  constructor(options: Partial<HttpCacheOptions> = {}) {
    this.cache = new HttpCache({
      name: "route-gateway", memoryBytes: 8 * 1024 * 1024, objectBytes: 1024 * 1024, disk: null, now: () => this.nowMs,
      log: { warn: (message) => void this.warnings.push(message) }, ...options,
    });
  }

  /** How often it was asked. */
  get fetches(): number { return this.asked.length; }

  readonly origin: Origin = async (conditions, isBackground) => {
    const asked = { conditions, isBackground };
    this.asked.push(asked);
    return this.response(typeof this.next === "function" ? await this.next(asked) : this.next);
  };

  response({ status = 200, headers = {}, text, body, contentLength }: Script): OriginResponse {
    const content = body !== undefined ? body : status === 204 || status === 304 ? null : Buffer.from(text ?? "hello");
    const pairs = Object.entries({ date: new Date(this.nowMs).toUTCString(), ...headers }).flatMap(([name, value]) => [value ?? []].flat().map((line): [string, string] => [name, line]));
    const length = content instanceof Uint8Array ? content.byteLength : null;
    return { status, headers: pairs, body: content, contentLength: contentLength === undefined ? length : contentLength };
  }

  /** Asks the cache as a client does. */
  async get(target = "/", headers: Record<string, string> = {}, rest: Partial<CacheRequest> = {}): Promise<Got> {
    return new Got(await this.cache.answer(request(target, headers, rest), this.origin));
  }

  pass(seconds: number): void {
    this.nowMs += seconds * 1000;
  }

  close(): Promise<void> {
    return this.cache.close();
  }
}

export function request(target = "/", headers: Record<string, string> = {}, rest: Partial<CacheRequest> = {}): CacheRequest {
  return { method: "GET", scheme: "https", host: "a.example", target, scope: "website", headers, ...rest };
}

/** What a client got. */
export class Got {
  constructor(readonly response: CachedResponse) {}

  get status(): number { return this.response.status; }
  get cacheStatus(): string { return this.response.cacheStatus; }
  get isHit(): boolean { return / hit;/.test(this.cacheStatus); }

  /** All lines of a field; null when there are none. */
  field(name: string): string | null {
    const lines = this.response.headers.filter(([key]) => key === name).map(([, value]) => value);
    return lines.length === 0 ? null : lines.join(", ");
  }

  text(): Promise<string> {
    return new Response(this.response.body as ReadableStream<Uint8Array> | null).text();
  }
}

/** A body that a test pushes into, and that knows how far it was read. */
export class PushedBody {
  readonly stream: ReadableStream<Uint8Array>;
  isCancelled = false;
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  #pulled: Array<() => void> = [];

  constructor() {
    this.stream = new ReadableStream<Uint8Array>({
      start: (controller) => { this.#controller = controller; },
      pull: () => { for (const pulled of this.#pulled.splice(0)) pulled(); },
      cancel: () => { this.isCancelled = true; },
    }, { highWaterMark: 1, size: (chunk) => chunk?.byteLength ?? 0 });
  }

  push(bytes: string | Uint8Array): void {
    this.#controller.enqueue(typeof bytes === "string" ? Buffer.from(bytes) : bytes);
  }

  /** What was pushed and not taken is less than it may be. */
  get isWanted(): boolean { return (this.#controller.desiredSize ?? 0) > 0; }
  end(): void { this.#controller.close(); }
  cut(): void { this.#controller.error(new Error("cut")); }
}
