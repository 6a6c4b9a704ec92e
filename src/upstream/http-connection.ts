// One HTTP/1.1 connection to an upstream, over a raw socket: one exchange at a time, reusable while both sides agree.
// Why not fetch: it caps a process at 256 requests in flight, re-sends PUTs silently, joins headers and turns unknown
// methods into GET (docs/ARCHITECTURE.md). The invariant: a connection goes back to the pool only after exactly one whole
// request was written and exactly one whole response was read, with not a byte left over.

import type { Socket } from "bun";
import { Batch } from "../lib/batch.ts";
import type { Sweepable } from "../lib/deadlines.ts";
import { ChunkedDecoder, encodeChunk, encodeLastChunk } from "./chunked.ts";
import type { PooledAddress } from "./connect.ts";
import {
  BodyTooLargeError, ClientGoneError, ClientStalledError, type ExchangeReceiver, type UpstreamRequest, type UpstreamResponse, UpstreamClosedError, UpstreamTimeoutError,
} from "./exchange.ts";
import { Outgoing } from "./outgoing.ts";
import { type BufferBudget, StreamedBody } from "./response-body.ts";
import { INTERIM_LIMIT, ProtocolError, type ResponseHead, type ResponseHeadMemo, type SeenHead } from "./response-head.ts";

const SLOW_AFTER_MS = 100;
/**
 * A client that takes nothing of a stream for this long is given up. Its kernel and ours hold some megabytes, which a
 * client at 20 kB/s needs minutes for, hence not the 60 s that nginx waits between two writes.
 */
const CLIENT_STALL_MS = 300_000;
const SLOW_AGAIN_MS = 30_000;

export type ConnectionSettings = {
  readonly writeTimeoutMs: number;
  readonly bufferBytes: number;
  readonly budget: BufferBudget;
  readonly heads: ResponseHeadMemo;
};

export interface ConnectionOwner {
  /** The exchange is over and the connection may carry another one. */
  idle(connection: HttpConnection): void;
  closed(connection: HttpConnection): void;
  /** The upstream had closed the idle connection that this was sent on; it may be sent again, or its receiver told. */
  unread(connection: HttpConnection, request: UpstreamRequest, receiver: ExchangeReceiver, error: Error): void;
}

/** Where heads become bytes; `write()` copies them into the kernel before it returns. */
const SCRATCH = Buffer.allocUnsafeSlow(64 * 1024);

/** Requests without a body on their way out, and whole answers on their way back: nearly all. */
const REQUESTS = new Batch<HttpConnection>((connection) => connection.send());
const ANSWERS = new Batch<{ readonly receiver: ExchangeReceiver; readonly response: UpstreamResponse }>(({ receiver, response }) => receiver.answered(response));

type Phase = "idle" | "head" | "collect" | "stream" | "closed";

export class HttpConnection implements Sweepable {
  #socket: Socket<HttpConnection> | null = null;
  #phase: Phase = "idle";
  #request: UpstreamRequest | null = null;
  /** Nothing of the request was sent yet. */
  #isDue = false;
  /** null: it was answered. */
  #receiver: ExchangeReceiver | null = null;
  #incoming: Buffer | null = null;
  #head: ResponseHead | null = null;
  /** Of the last answer: the next one often begins with the same bytes. */
  #lastHead: SeenHead | null = null;
  #interim = 0;
  #outgoing: Outgoing | null = null;
  #uploading = false;
  #decoder: ChunkedDecoder | null = null;
  #left = 0;
  #collected: Buffer[] = [];
  #budgeted = 0;
  #body: StreamedBody | null = null;
  /** Since when the client is waited for, monotonic ms; null: it is not. */
  #pausedMs: number | null = null;
  /** Of a streamed answer, since the client was waited for the last time. */
  #pushedBytes = 0;
  #deadlineMs = Infinity;
  #slowAtMs = Infinity;
  /** When it became free for an exchange the last time, for the pool; 0: it is at its first one. */
  idleSinceMs = 0;
  /** Whether a byte of the current answer has arrived. */
  #answered = false;

  constructor(readonly address: PooledAddress, private readonly owner: ConnectionOwner, private readonly settings: ConnectionSettings) {}

  opened(socket: Socket<HttpConnection>): void {
    this.#socket = socket;
    socket.setNoDelay(true);
  }

  get isOpen(): boolean {
    return this.#phase !== "closed" && this.#socket !== null;
  }

  start(request: UpstreamRequest, receiver: ExchangeReceiver): void {
    const nowMs = performance.now();
    this.#phase = "head";
    this.#request = request;
    this.#receiver = receiver;
    this.#answered = false;
    this.#interim = 0;
    this.#slowAtMs = nowMs + SLOW_AFTER_MS;
    this.#deadlineMs = nowMs + request.readTimeoutMs;
    if (request.body === null) {
      this.#isDue = true;
      REQUESTS.add(this);
    } else if (request.body instanceof Uint8Array) this.#write(Buffer.concat([Buffer.from(request.head, "latin1"), request.body]));
    else this.#upload(request, request.body);
  }

  // ---- writing

  /** Its turn has come; the exchange may be over. */
  send(): void {
    if (!this.#isDue) return;
    this.#isDue = false;
    this.#writeHead(this.#request?.head ?? "");
  }

  /** The way of nearly every request: no allocation, one system call. */
  #writeHead(head: string): void {
    const socket = this.#socket;
    if (socket === null) return;
    if (head.length > SCRATCH.length) return this.#write(Buffer.from(head, "latin1"));
    const length = SCRATCH.write(head, "latin1");
    const taken = socket.write(SCRATCH, 0, length);
    if (taken === length) return;
    if (taken < 0) this.#fail(new UpstreamClosedError("upstream closed the connection"));
    else this.#write(Buffer.from(SCRATCH.subarray(taken, length)));
  }

  #write(bytes: Uint8Array): void {
    const socket = this.#socket;
    if (socket === null) return;
    if (this.#outgoing === null) {
      // Nearly every request is taken whole; only the others get a queue.
      const taken = socket.write(bytes, 0, bytes.length);
      if (taken === bytes.length) return;
      if (taken < 0) return this.#fail(new UpstreamClosedError("upstream closed the connection"));
      bytes = bytes.subarray(taken);
    }
    const outgoing = (this.#outgoing ??= new Outgoing());
    if (!outgoing.write(socket, bytes)) this.#fail(new UpstreamClosedError("upstream closed the connection"));
    else if (outgoing.pendingBytes > 0) this.#deadlineMs = performance.now() + this.settings.writeTimeoutMs;
  }

  drained(): void {
    const outgoing = this.#outgoing;
    if (outgoing === null || this.#socket === null) return;
    if (!outgoing.drain(this.#socket)) return this.#fail(new UpstreamClosedError("upstream closed the connection"));
    if (this.#phase !== "head") return;
    const isSending = outgoing.pendingBytes > 0 || this.#uploading;
    this.#deadlineMs = performance.now() + (isSending ? this.settings.writeTimeoutMs : this.#request?.readTimeoutMs ?? 0);
  }

  async #upload(request: UpstreamRequest, body: ReadableStream<Uint8Array>): Promise<void> {
    this.#uploading = true;
    this.#write(Buffer.from(request.head, "latin1"));
    this.#awaitProgress();
    const reader = body.getReader();
    let bytes = 0;
    try {
      for (;;) {
        const askedMs = performance.now();
        const { done, value } = await reader.read();
        if (this.#request !== request) return void reader.cancel().catch(() => {});
        if (done) break;
        bytes += value.length;
        request.watcher.bodyBytes(bytes, performance.now() - askedMs);
        if (bytes > request.bodyLimitBytes) throw new BodyTooLargeError("request body over the route's limit");
        if (value.length === 0) continue;
        this.#write(request.chunked ? encodeChunk(value) : value);
        if (this.#outgoing !== null && this.#outgoing.pendingBytes > 0) await this.#outgoing.whenEmpty();
        if (this.#request !== request) return void reader.cancel().catch(() => {});
        this.#awaitProgress();
      }
      if (request.chunked) this.#write(encodeLastChunk());
      this.#uploaded(request);
    } catch (error) {
      // A body that is too large or too slow is ours to refuse; anything else that a request body can throw is a client that left.
      const isOurs = error instanceof BodyTooLargeError || error instanceof ClientStalledError;
      this.#fail(isOurs ? error : new ClientGoneError("client went away while sending"));
    }
  }

  /** Both ends of an upload have the same time for their next step: the client to send, the upstream to read. */
  #awaitProgress(): void {
    if (this.#phase === "head") this.#deadlineMs = performance.now() + this.settings.writeTimeoutMs;
  }

  #uploaded(request: UpstreamRequest): void {
    this.#uploading = false;
    if (this.#phase === "head") this.#deadlineMs = performance.now() + request.readTimeoutMs;
  }

  // ---- reading

  received(chunk: Buffer): void {
    if (this.#isDue) this.#fail(new UpstreamClosedError("upstream spoke before it was asked"));
    else if (this.#phase === "head") this.#readHead(chunk);
    else if (this.#phase === "collect" || this.#phase === "stream") this.#readBody(chunk);
    else this.#destroy(); // Bytes that nobody asked for: this connection is not to be trusted with a request.
  }

  #readHead(chunk: Buffer): void {
    this.#answered = true;
    let bytes = this.#incoming === null ? chunk : Buffer.concat([this.#incoming, chunk]);
    this.#incoming = null;
    try {
      for (;;) {
        const seen = this.settings.heads.parse(bytes, this.#request?.method ?? "", this.#lastHead);
        if (seen === null) {
          this.#incoming = bytes;
          return;
        }
        // One that cannot be found again is not worth its place in an idle connection.
        this.#lastHead = seen.raw === null ? null : seen;
        const { head } = seen;
        if (head.status === 101) throw new ProtocolError("101 without an upgrade");
        if (head.status >= 200) return this.#startBody(head, bytes);
        bytes = bytes.subarray(head.end);
        this.#interim += 1;
        if (this.#interim > INTERIM_LIMIT) throw new ProtocolError("too many interim responses");
      }
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  /** @param received from the head's first byte on */
  #startBody(head: ResponseHead, received: Buffer): void {
    this.#head = head;
    const framing = head.framing;
    if (framing.kind === "none") return this.#finish(null, received.length - head.end);
    if (framing.kind === "length") {
      const surplus = received.length - head.end - framing.bytes;
      if (surplus >= 0) return this.#finish(received.subarray(head.end, head.end + framing.bytes), surplus);
    }
    this.#deadlineMs = performance.now() + (this.#request?.readTimeoutMs ?? 0);
    const bytes = received.subarray(head.end);
    if (framing.kind === "length") {
      this.#left = framing.bytes;
      if (this.#request?.mayCollect === true && framing.bytes <= this.settings.bufferBytes && this.settings.budget.take(framing.bytes)) {
        this.#budgeted = framing.bytes;
        this.#phase = "collect";
      } else this.#startStream();
    } else if (framing.kind === "chunked") {
      this.#decoder = new ChunkedDecoder();
      if (this.#finishedAtOnce(this.#decoder, bytes)) return;
      this.#startStream();
      for (const data of this.#collected.splice(0)) this.#push(data);
      return;
    } else this.#startStream();
    if (bytes.length > 0) this.#readBody(bytes);
  }

  /** A short chunked answer that came whole in one read is sent with a Content-Length, like any other short one. */
  #finishedAtOnce(decoder: ChunkedDecoder, bytes: Buffer): boolean {
    const used = decoder.decode(bytes, (data) => this.#collected.push(data));
    if (!decoder.done) return false;
    this.#finish(Buffer.concat(this.#collected.splice(0)), bytes.length - used);
    return true;
  }

  #startStream(): void {
    this.#phase = "stream";
    const body = new StreamedBody(this);
    this.#body = body;
    const receiver = this.#receiver;
    // First of all: whoever is answered may cancel the body at once, which must not be a second answer.
    this.#receiver = null;
    receiver?.answered({ head: this.#head as ResponseHead, body: body.stream, ended: body.ended });
  }

  #readBody(chunk: Buffer): void {
    if (this.#pausedMs === null) this.#deadlineMs = performance.now() + (this.#request?.readTimeoutMs ?? 0);
    const decoder = this.#decoder;
    if (decoder !== null) return this.#readChunks(decoder, chunk);
    if (this.#head?.framing.kind === "close") return this.#push(chunk);
    const data = chunk.length > this.#left ? chunk.subarray(0, this.#left) : chunk;
    this.#left -= data.length;
    if (this.#phase === "collect") this.#collected.push(data);
    else this.#push(data);
    if (this.#left > 0) return;
    this.#finish(this.#phase === "collect" ? Buffer.concat(this.#collected.splice(0)) : null, chunk.length - data.length);
  }

  #readChunks(decoder: ChunkedDecoder, chunk: Buffer): void {
    try {
      const used = decoder.decode(chunk, (data) => this.#push(data));
      if (decoder.done) this.#finish(null, chunk.length - used);
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  #push(data: Buffer): void {
    this.#pushedBytes += data.length;
    if (this.#body?.push(data) === false) this.pause();
  }

  // ---- the end of an exchange

  #finish(body: Buffer | null, surplus: number): void {
    const head = this.#head as ResponseHead;
    const streamed = this.#body;
    const receiver = this.#receiver;
    // An answer that came before the request was sent to its end is the upstream's last word on this connection: nobody
    // reads what the client still sends.
    const sent = !this.#uploading && (this.#outgoing?.pendingBytes ?? 0) === 0;
    const watcher = this.#request?.watcher;
    const reusable = head.keepAlive && surplus === 0 && sent && this.isOpen;
    this.#request = null;
    this.#clear();
    if (reusable) this.release();
    else this.#destroy();
    if (streamed !== null) return streamed.end();
    if (body !== null && watcher !== undefined) this.settings.budget.hold(body.length, watcher);
    if (receiver !== null) ANSWERS.add({ receiver, response: { head, body, ended: null } });
  }

  /** Ready for an exchange: the last one is over, or nobody wants the first one any more. */
  release(): void {
    this.#outgoing = null;
    this.idleSinceMs = performance.now();
    this.owner.idle(this);
  }

  #clear(): void {
    this.#phase = "idle";
    this.#isDue = false;
    this.#head = null;
    this.#body = null;
    this.#decoder = null;
    this.#incoming = null;
    this.#receiver = null;
    this.#deadlineMs = Infinity;
    this.#slowAtMs = Infinity;
    if (this.#budgeted > 0) this.settings.budget.give(this.#budgeted);
    this.#budgeted = 0;
    this.#collected.length = 0;
    this.#pushedBytes = 0;
    if (this.#pausedMs !== null) this.#flow();
  }

  #fail(error: Error): void {
    if (error instanceof UpstreamClosedError) error.isUnanswered = !this.#answered;
    const receiver = this.#receiver;
    const request = this.#request;
    const body = this.#body;
    this.#request = null;
    this.#clear();
    this.#destroy();
    body?.fail(error);
    if (receiver === null) return;
    // It had stood idle, and no byte of an answer came.
    const isUnread = error instanceof UpstreamClosedError && this.idleSinceMs > 0 && !this.#answered;
    if (isUnread && request !== null) this.owner.unread(this, request, receiver, error);
    else receiver.failed(error);
  }

  #destroy(): void {
    if (this.#phase === "closed") return;
    this.#phase = "closed";
    const socket = this.#socket;
    this.#socket = null;
    this.#outgoing?.release();
    socket?.terminate();
    this.owner.closed(this);
  }

  closed(error: Error | null): void {
    if (this.#phase === "closed") return;
    if (this.#phase === "stream" && this.#head?.framing.kind === "close" && error === null) {
      const body = this.#body;
      this.#request = null;
      this.#clear();
      this.#destroy();
      body?.end();
    } else if (this.#phase === "idle") this.#destroy();
    else this.#fail(new UpstreamClosedError("upstream closed the connection", { cause: error ?? undefined }));
  }

  // ---- BodySource and Sweepable

  pause(): void {
    if (this.#pausedMs !== null) return;
    this.#pausedMs = performance.now();
    this.#deadlineMs = this.#pausedMs + (this.#request?.watcher.stallMs ?? CLIENT_STALL_MS);
    this.#socket?.pause();
  }

  resume(): void {
    if (this.#pausedMs === null) return;
    const nowMs = performance.now();
    const isQuick = this.#request?.watcher.taken?.(this.#pushedBytes, nowMs - this.#pausedMs) ?? true;
    this.#pushedBytes = 0;
    if (!isQuick) return this.#fail(new ClientStalledError("client reads too slowly"));
    if (this.#request !== null) this.#deadlineMs = nowMs + this.#request.readTimeoutMs;
    this.#flow();
  }

  #flow(): void {
    this.#pausedMs = null;
    this.#socket?.resume();
  }

  /** The client is gone: the upstream sees its connection cut. */
  abort(): void {
    if (this.#phase === "head" || this.#phase === "collect" || this.#phase === "stream") {
      this.#fail(new ClientGoneError("client went away"));
    }
  }

  /** The client of one exchange is gone, which may be over already. */
  giveUp(request: UpstreamRequest): void {
    if (this.#request === request) this.abort();
  }

  /** For the pool: closes an idle connection. */
  close(): void {
    if (this.#phase === "idle") this.#destroy();
    else this.#fail(new UpstreamClosedError("closed by shutdown"));
  }

  sweep(nowMs: number): void {
    if (nowMs >= this.#slowAtMs && this.#request !== null) {
      this.#slowAtMs = nowMs + SLOW_AGAIN_MS;
      this.#request.watcher.slow(this);
    }
    if (nowMs < this.#deadlineMs) return;
    if (this.#pausedMs !== null) return this.#fail(new ClientStalledError("client stopped reading"));
    const isClientsTurn = this.#phase === "head" && this.#uploading && (this.#outgoing?.pendingBytes ?? 0) === 0;
    this.#fail(isClientsTurn ? new ClientStalledError("client stopped sending its body") : new UpstreamTimeoutError("upstream did not answer in time"));
  }
}
