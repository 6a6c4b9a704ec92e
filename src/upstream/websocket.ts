// The upstream leg of a WebSocket session: dial, handshake, frames, over a raw socket. Why not the built-in client: it hides
// the status of a refused handshake, has no drain event, and needs a quarter more memory a session (docs/ARCHITECTURE.md).

import { createHash, randomBytes } from "node:crypto";
import type { Socket } from "bun";
import type { Sweepable, Sweeper } from "../lib/deadlines.ts";
import { ChunkedDecoder } from "./chunked.ts";
import { connect, type ConnectAddress } from "./connect.ts";
import { Dial } from "./dial.ts";
import { ClientGoneError, type ExchangeWatcher, UpstreamClosedError, UpstreamTimeoutError } from "./exchange.ts";
import { Outgoing } from "./outgoing.ts";
import { type BodyFraming, INTERIM_LIMIT, parseResponseHead, ProtocolError, type ResponseHead } from "./response-head.ts";
import { closePayload, encodeFrame, encodeShortFrame, FrameError, FrameReader, type FrameSink, Opcode, SHORT_FRAME_BYTES } from "./websocket-frame.ts";

/** The upstream answered the handshake with something else than 101. */
export class HandshakeRefusedError extends Error {
  override name = "HandshakeRefusedError";
  /** @param body what it said, where that was asked for: for the log, and cut */
  constructor(readonly status: number, readonly body: string = "") {
    super(`upstream refused the upgrade with ${status}`);
  }
}

export type WebSocketDial = ConnectAddress & {
  /** The request head up to and including the last header line; the Sec-WebSocket-Key line is added here. */
  readonly head: string;
  readonly connectTimeoutMs: number;
  readonly handshakeTimeoutMs: number;
  readonly messageLimitBytes: number;
  /** The upstream may only choose from these. */
  readonly protocols: readonly string[];
  /** The body of a refusal is read as well (at most 4 KiB of it, for at most 2 s): it says why. */
  readonly readsRefusal: boolean;
  /** Learns how to give up, for a client that leaves while we dial. */
  readonly watcher: Pick<ExchangeWatcher, "slow">;
};

/**
 * Between our close frame, or the last sign that an upstream reads what came before it, and the cut. RFC 6455 section 7.1.1
 * lets the server close first; what it has not read by the time of a cut is lost.
 */
const LINGER_MS = 10_000;
/** Pongs are left out while so much waits: RFC 6455 section 5.5.3 asks for an answer to the latest ping only. */
const PONG_QUEUE_BYTES = 64 * 1024;

/** From here on a chunk is worth the trouble of sparing system calls and memory. */
const BULK_BYTES = 16 * 1024;

/** Of a refusal, the part that is worth a log line, and how long that line may wait for it. */
const REFUSAL_BYTES = 4096;
const REFUSAL_MS = 2000;

/** Where short frames are made; `write()` copies them into the kernel before it returns. */
const SCRATCH = Buffer.allocUnsafeSlow(256);

export interface UpstreamEvents extends FrameSink {
  /** Calls `run` at once; what it delivers came in one piece and may leave in one. What it throws comes through. */
  batch(run: () => void): void;
  /** All bytes that waited were taken by the kernel. */
  drained(): void;
  /** The connection is gone; `error` is set when it broke or broke the rules. No event follows. */
  gone(error: Error | null): void;
}

/** @throws ConnectError, UpstreamTimeoutError, UpstreamClosedError, ProtocolError, HandshakeRefusedError, ClientGoneError (all as rejections) */
export function dialWebSocket(request: WebSocketDial, sweeper: Sweeper): Promise<UpstreamWebSocket> {
  return new Promise((resolve, reject) => {
    const upstream = new UpstreamWebSocket(request, sweeper, resolve, reject);
    const dial = new Dial<UpstreamWebSocket>(sweeper, performance.now() + request.connectTimeoutMs, (error, socket) => {
      if (error === null) upstream.opened(socket as Socket<UpstreamWebSocket>);
      else upstream.refuse(error);
    });
    request.watcher.slow({ abort: () => { dial.abort(); upstream.abort(); } });
    if (!dial.isOver) connect(request, upstream, HANDLERS, dial);
  });
}

type Handshake = WebSocketDial & {
  readonly key: string;
  /** Of the answer, from when it was asked for; until then the dial has its own. */
  deadlineMs: number;
  /** Interim answers so far. */
  interim: number;
  readonly resolve: (upstream: UpstreamWebSocket) => void;
  readonly reject: (error: Error) => void;
};

export class UpstreamWebSocket implements Sweepable {
  /** The subprotocol that the upstream chose; "" for none. */
  protocol = "";
  #headers: ResponseHead["headers"] = [];
  #socket: Socket<UpstreamWebSocket> | null = null;
  #handshake: Handshake | null;
  /** The handshake was refused and the reason may still be arriving. */
  #refusal: HandshakeRefusedError | null = null;
  #incoming: Buffer | null = null;
  #reader: FrameReader | null = null;
  #events: UpstreamEvents | null = null;
  #outgoing: Outgoing | null = null;
  #sweeper: Sweeper;
  #ended = false;
  #lingerUntilMs = Infinity;
  #wasAlive = false;

  constructor(request: WebSocketDial, sweeper: Sweeper, resolve: Handshake["resolve"], reject: Handshake["reject"]) {
    this.#sweeper = sweeper;
    this.#handshake = { ...request, resolve, reject, deadlineMs: Infinity, interim: 0, key: randomBytes(16).toString("base64") };
  }

  // ---- handshake

  opened(socket: Socket<UpstreamWebSocket>): void {
    this.#socket = socket;
    socket.setNoDelay(true);
    this.#sweeper.add(this);
    const handshake = this.#handshake as Handshake;
    handshake.deadlineMs = performance.now() + handshake.handshakeTimeoutMs;
    this.#write(Buffer.from(`${handshake.head}Sec-WebSocket-Key: ${handshake.key}\r\n\r\n`, "latin1"));
  }

  /** What the upstream said with its 101 beside the handshake itself, cookies for one. Once: sessions last, and it is not needed again. */
  takeHeaders(): ResponseHead["headers"] {
    const headers = this.#headers;
    this.#headers = [];
    return headers;
  }

  abort(): void {
    if (this.#handshake !== null) this.refuse(new ClientGoneError("client went away during the handshake"));
  }

  sweep(nowMs: number): void {
    const handshake = this.#handshake;
    if (handshake !== null && nowMs >= handshake.deadlineMs) this.refuse(this.#refusal ?? new UpstreamTimeoutError("no answer to the upgrade in time"));
    else if (nowMs >= this.#lingerUntilMs) this.terminate();
  }

  #readHandshake(handshake: Handshake, chunk: Buffer): void {
    let bytes = this.#incoming === null ? chunk : Buffer.concat([this.#incoming, chunk]);
    try {
      let head = parseResponseHead(bytes, "GET");
      // RFC 9110 section 15.2: the answer is yet to come. 101 is one, with which HTTP ends.
      while (head !== null && head.status < 200 && head.status !== 101) {
        handshake.interim += 1;
        if (handshake.interim > INTERIM_LIMIT) throw new ProtocolError("too many interim responses");
        bytes = bytes.subarray(head.end);
        head = parseResponseHead(bytes, "GET");
      }
      this.#incoming = bytes;
      if (head === null) return;
      if (head.status !== 101) return this.#readRefusal(handshake, head, bytes.subarray(head.end));
      this.#headers = head.headers.filter(([name]) => !name.startsWith("sec-websocket-"));
      this.protocol = checkAccepted(head.headers, bytes.toString("latin1", 0, head.end), handshake);
      this.#incoming = head.end < bytes.length ? bytes.subarray(head.end) : null;
    } catch (error) {
      return this.refuse(error as Error);
    }
    this.#reader = new FrameReader(handshake.messageLimitBytes);
    this.#handshake = null;
    this.#sweeper.delete(this);
    // Frames wait in the kernel until the client's side is open and attached.
    this.#socket?.pause();
    handshake.resolve(this);
  }

  /** Waits for the body as long as it is worth it; what ends the connection meanwhile ends the wait. */
  #readRefusal(handshake: Handshake, head: ResponseHead, body: Buffer): void {
    if (!handshake.readsRefusal) return this.refuse(new HandshakeRefusedError(head.status));
    const { content, isWhole } = contentSoFar(head.framing, body);
    this.#refusal = new HandshakeRefusedError(head.status, content.toString("utf8", 0, REFUSAL_BYTES));
    if (isWhole || body.length >= REFUSAL_BYTES) return this.refuse(this.#refusal);
    handshake.deadlineMs = Math.min(handshake.deadlineMs, performance.now() + REFUSAL_MS);
  }

  /** Why there is no session. First of all: closing the socket calls us back, with a reason of its own. */
  refuse(error: Error): void {
    const handshake = this.#handshake;
    this.#handshake = null;
    this.#incoming = null;
    this.terminate();
    handshake?.reject(error);
  }

  // ---- session

  /** Events flow from now on; an upstream that left in between is reported at once. */
  attach(events: UpstreamEvents): void {
    this.#events = events;
    const early = this.#incoming;
    this.#incoming = null;
    if (early !== null) this.received(early);
    if (this.#ended) this.#gone(null);
    this.resume();
  }

  received(chunk: Buffer): void {
    if (this.#handshake !== null) return this.#readHandshake(this.#handshake, chunk);
    this.#wasAlive = true;
    if (this.#events === null) {
      if (!this.#ended) this.#incoming = this.#incoming === null ? chunk : Buffer.concat([this.#incoming, chunk]);
      return;
    }
    try {
      this.#read(chunk, this.#events);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.sendClose(error.code, "");
      this.#gone(error);
      this.end();
    }
  }

  #read(chunk: Buffer, events: UpstreamEvents): void {
    if (chunk.length < BULK_BYTES) return this.#reader?.read(chunk, events);
    events.batch(() => this.#reader?.read(chunk, events));
    // The memory is given back now, not with the next garbage collection: the allocator then hands out the same warm pages for
    // the next chunk. A tenth of the CPU time of a bulk transfer is page faults otherwise.
    if (chunk.length === chunk.buffer.byteLength) (chunk.buffer as ArrayBuffer).transfer(0);
  }

  /** @returns bytes that wait for the upstream to read; 0 when the kernel took all, -1 when the connection is gone */
  send(data: Uint8Array, isText: boolean): number {
    const opcode = isText ? Opcode.text : Opcode.binary;
    if (data.length > SHORT_FRAME_BYTES || this.#outgoing !== null || this.#socket === null) return this.#write(encodeFrame(opcode, data));
    const length = encodeShortFrame(SCRATCH, opcode, data);
    const taken = this.#socket.write(SCRATCH, 0, length);
    if (taken === length || taken < 0) return taken < 0 ? -1 : 0;
    return this.#write(Buffer.from(SCRATCH.subarray(taken, length)));
  }

  sendPing(): void {
    this.#write(encodeFrame(Opcode.ping, new Uint8Array(0)));
  }

  sendPong(data: Uint8Array): void {
    if ((this.#outgoing?.pendingBytes ?? 0) < PONG_QUEUE_BYTES) this.#write(encodeFrame(Opcode.pong, data));
  }

  sendClose(code: number, reason: string): void {
    this.#write(encodeFrame(Opcode.close, closePayload(code, reason)));
  }

  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    this.#socket?.resume();
  }

  /** Whether the upstream sent or took a byte since the last call: a message that takes its time is a sign of life, too. */
  showedLife(): boolean {
    const was = this.#wasAlive;
    this.#wasAlive = false;
    return was;
  }

  /** Closes in order, after what waits was taken; an upstream that does neither take it nor its leave is cut. */
  end(): void {
    this.#events = null;
    this.#ended = true;
    if (this.#socket === null) return;
    this.#lingerUntilMs = performance.now() + LINGER_MS;
    this.#sweeper.add(this);
    this.#socket.resume();
    // Not end(): that closes at once, and whatever the upstream still sends would then be met by a reset that overtakes us.
    if ((this.#outgoing?.pendingBytes ?? 0) === 0) this.#socket.shutdown();
  }

  terminate(): void {
    this.#events = null;
    this.#ended = true;
    this.#sweeper.delete(this);
    const socket = this.#socket;
    this.#socket = null;
    socket?.terminate();
  }

  #write(bytes: Uint8Array): number {
    const socket = this.#socket;
    if (socket === null) return -1;
    if (this.#outgoing === null) {
      const taken = socket.write(bytes, 0, bytes.length);
      if (taken === bytes.length || taken < 0) return taken < 0 ? -1 : 0;
      this.#outgoing = new Outgoing();
      this.#outgoing.write(socket, bytes.subarray(taken));
    } else if (!this.#outgoing.write(socket, bytes)) return -1;
    return this.#outgoing.pendingBytes;
  }

  drained(): void {
    const outgoing = this.#outgoing;
    if (outgoing === null || this.#socket === null) return;
    this.#wasAlive = true;
    if (this.#ended) this.#lingerUntilMs = performance.now() + LINGER_MS;
    if (!outgoing.drain(this.#socket) || outgoing.pendingBytes > 0) return;
    // Idle sessions keep no queue.
    this.#outgoing = null;
    if (this.#ended) this.#socket.shutdown();
    else this.#events?.drained();
  }

  closed(error: Error | null): void {
    if (this.#handshake !== null) {
      return this.refuse(this.#refusal ?? new UpstreamClosedError("upstream closed during the handshake", { cause: error ?? undefined }));
    }
    this.#socket = null;
    this.#ended = true;
    this.#sweeper.delete(this);
    this.#gone(error);
  }

  get isGone(): boolean {
    return this.#ended;
  }

  #gone(error: Error | null): void {
    const events = this.#events;
    this.#events = null;
    events?.gone(error);
  }
}

/** @throws ProtocolError for chunks that are none */
function contentSoFar(framing: BodyFraming, bytes: Buffer): { content: Buffer; isWhole: boolean } {
  if (framing.kind !== "chunked") return { content: bytes, isWhole: framing.kind === "none" || (framing.kind === "length" && bytes.length >= framing.bytes) };
  const parts: Buffer[] = [];
  const decoder = new ChunkedDecoder();
  // Of a copy: they are looked at again with what comes after them.
  decoder.decode(Buffer.from(bytes), (data) => parts.push(data));
  return { content: Buffer.concat(parts), isWhole: decoder.done };
}

// RFC 6455 section 4.1, what a client must check in the answer.
function checkAccepted(headers: ReadonlyArray<readonly [string, string]>, text: string, handshake: Handshake): string {
  const all = (name: string): string[] => headers.filter(([n]) => n === name).map(([, value]) => value);
  if (!/\r\nupgrade:[ \t]*websocket[ \t]*\r\n/i.test(text)) throw new ProtocolError("101 without Upgrade: websocket");
  const accept = createHash("sha1").update(`${handshake.key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  const given = all("sec-websocket-accept");
  if (given.length !== 1 || given[0] !== accept) throw new ProtocolError("wrong Sec-WebSocket-Accept");
  if (all("sec-websocket-extensions").some((value) => value !== "")) throw new ProtocolError("extension that was not offered");
  const protocols = all("sec-websocket-protocol");
  const protocol = protocols[0] ?? "";
  if (protocols.length > 1 || (protocol !== "" && !handshake.protocols.includes(protocol))) {
    throw new ProtocolError("subprotocol that was not offered");
  }
  return protocol;
}

const HANDLERS = {
  data(socket: Socket<UpstreamWebSocket>, chunk: Buffer) { socket.data.received(chunk); },
  drain(socket: Socket<UpstreamWebSocket>) { socket.data.drained(); },
  close(socket: Socket<UpstreamWebSocket>, error?: Error) { socket.data.closed(error ?? null); },
  error(socket: Socket<UpstreamWebSocket>, error: Error) { socket.data.closed(error); },
};
