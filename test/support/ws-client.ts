// A WebSocket client without manners: it says exactly the frames it is told, keeps exactly those it gets, answers nothing
// by itself, and reads only while it likes. Over a raw socket, so that every byte of a handshake can be wrong.

import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import type { Pod, PodConnection } from "./pod.ts";

export const OP = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

export type Frame = { readonly opcode: number; readonly fin: boolean; readonly rsv: number; readonly masked: boolean; readonly data: Buffer };

export type Handshake = {
  /** Replaces or adds header lines, by name; null leaves one out. */
  readonly headers?: Readonly<Record<string, string | null>>;
  readonly method?: string;
  /** Follows the head at once. */
  readonly behind?: Buffer | string;
  readonly timeoutMs?: number;
};

export type FrameOptions = { readonly fin?: boolean; readonly rsv?: number; readonly mask?: boolean; readonly length?: number };

export class WsClient {
  /** The response head, "" until it is whole. */
  head = "";
  readonly frames: Frame[] = [];
  /** Payload bytes of data frames so far, also when `keep` is off. */
  dataBytes = 0;
  /** false: frames are counted and forgotten. */
  keep = true;
  isClosed = false;
  onFrame: ((frame: Frame) => void) | null = null;
  #bytes: Buffer = Buffer.alloc(0);
  #parts: Buffer[] = [];
  #partBytes = 0;
  #needed = 0;
  #waiters: Array<() => void> = [];

  private constructor(readonly socket: Socket) {
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => { this.#received(chunk); this.#wake(); });
    socket.on("error", () => {});
    socket.on("close", () => { this.isClosed = true; this.#wake(); });
  }

  /** Connects and sends the handshake, without waiting for an answer. */
  static async dial(port: number, target: string, options: Handshake = {}): Promise<WsClient> {
    const socket = connect(port, "127.0.0.1");
    await new Promise<void>((resolve, reject) => { socket.once("connect", resolve); socket.once("error", reject); });
    const client = new WsClient(socket);
    client.write(handshakeHead(port, target, options));
    if (options.behind !== undefined) client.write(options.behind);
    return client;
  }

  /** Sends the handshake over a connection that is open already, a TLS one for example. */
  static over(socket: Socket, port: number, target: string, options: Handshake = {}): WsClient {
    const client = new WsClient(socket);
    client.write(handshakeHead(port, target, options));
    return client;
  }

  /** A handshake and its answer, whatever it is. */
  static async try(port: number, target: string, options: Handshake = {}): Promise<WsClient> {
    const client = await WsClient.dial(port, target, options);
    await client.until(() => client.head !== "" || client.isClosed, options.timeoutMs);
    return client;
  }

  /** An open session. @throws Error when the answer is not 101 */
  static async open(port: number, target: string, options: Handshake = {}): Promise<WsClient> {
    const client = await WsClient.try(port, target, options);
    if (client.status !== 101) throw new Error(`expected 101, got ${JSON.stringify(client.head.split("\r\n")[0])}`);
    return client;
  }

  get status(): number {
    return Number(/^HTTP\/1\.1 (\d{3})/.exec(this.head)?.[1] ?? 0);
  }

  header(name: string): string | null {
    return new RegExp(`\r\n${name}: ?([^\r]*)`, "i").exec(this.head)?.[1] ?? null;
  }

  /** Bytes behind the head that are no frames yet: the body of a refusal. */
  get rest(): string {
    return Buffer.concat([this.#bytes, ...this.#parts]).toString("latin1");
  }

  write(bytes: Buffer | string): boolean {
    return this.socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  }

  send(opcode: number, data: Buffer | string = "", options: FrameOptions = {}): boolean {
    return this.write(clientFrame(opcode, data, options));
  }

  sendClose(code: number | null, reason: string | Buffer = ""): void {
    this.send(OP.close, closeData(code, reason));
  }

  of(opcode: number): Frame[] {
    return this.frames.filter((frame) => frame.opcode === opcode);
  }

  /** Data messages with fragments joined. */
  get messages(): Array<{ isText: boolean; data: Buffer }> {
    const whole: Array<{ isText: boolean; data: Buffer }> = [];
    let open: { isText: boolean; parts: Buffer[] } | null = null;
    for (const { opcode, fin, data } of this.frames) {
      if (opcode > 2) continue;
      open ??= { isText: opcode === OP.text, parts: [] };
      open.parts.push(data);
      if (fin) { whole.push({ isText: open.isText, data: Buffer.concat(open.parts) }); open = null; }
    }
    return whole;
  }

  /** The close frame as it came: code null for an empty one; null while there is none. */
  get closing(): { code: number | null; reason: string } | null {
    const frame = this.of(OP.close)[0];
    return frame === undefined ? null : readClose(frame.data);
  }

  async until(condition: () => boolean, timeoutMs = 5000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!condition()) {
      const left = deadline - Date.now();
      const seen = `${this.head.split("\r\n")[0]} ${this.frames.length} frames, closed: ${this.isClosed}`;
      if (left <= 0) throw new Error(`nothing of the kind came in ${timeoutMs} ms (${seen})`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.push(resolve);
      const timer = setTimeout(resolve, Math.min(left, 100));
      await promise;
      clearTimeout(timer);
    }
  }

  /** The end: a close frame, or the connection's. */
  async ended(timeoutMs?: number): Promise<{ code: number | null; reason: string } | null> {
    await this.until(() => this.closing !== null || this.isClosed, timeoutMs);
    return this.closing;
  }

  /** Without a word: RST. */
  cut(): void {
    this.socket.resetAndDestroy();
  }

  /** FIN, or nothing if that is gone already. */
  close(): void {
    this.socket.destroy();
  }

  #wake(): void {
    for (const waiter of this.#waiters.splice(0)) waiter();
  }

  #received(chunk: Buffer): void {
    this.#parts.push(chunk);
    this.#partBytes += chunk.length;
    // Joined only when a frame may be whole: large ones come in thousands of pieces.
    if (this.#bytes.length + this.#partBytes < this.#needed) return;
    this.#bytes = Buffer.concat([this.#bytes, ...this.#parts]);
    this.#parts = [];
    this.#partBytes = 0;
    this.#needed = 0;
    if (this.head === "" && !this.#readHead()) return;
    if (this.status === 101) while (this.#readFrame());
  }

  #readHead(): boolean {
    const end = this.#bytes.indexOf("\r\n\r\n");
    if (end < 0) return false;
    this.head = this.#bytes.toString("latin1", 0, end + 4);
    this.#bytes = this.#bytes.subarray(end + 4);
    return true;
  }

  #readFrame(): boolean {
    const b = this.#bytes;
    if (b.length < 2) return false;
    const short = (b[1] as number) & 0x7f;
    const at = short === 126 ? 4 : short === 127 ? 10 : 2;
    if (b.length < at) return false;
    const length = short === 126 ? b.readUInt16BE(2) : short === 127 ? Number(b.readBigUInt64BE(2)) : short;
    this.#needed = at + length;
    if (b.length < at + length) return false;
    this.#needed = 0;
    const first = b[0] as number;
    const frame = {
      opcode: first & 15, fin: first >= 0x80, rsv: (first >> 4) & 7, masked: ((b[1] as number) & 0x80) !== 0,
      data: b.subarray(at, at + length),
    };
    this.#bytes = b.subarray(at + length);
    if (frame.opcode <= 2) this.dataBytes += length;
    if (this.keep || frame.opcode > 2) this.frames.push({ ...frame, data: Buffer.from(frame.data) });
    this.onFrame?.(frame);
    return true;
  }
}

/** Both ends of one bridged session; the pod's end accepts and then does what it is told, an echo by default. */
export type Bridge = { readonly client: WsClient; readonly pod: PodConnection };

/** @param port of the router; sessions are to be opened one after the other */
export async function openBridge(port: number, pod: Pod, target: string, options: Handshake = {}): Promise<Bridge> {
  let connection: PodConnection | null = null;
  pod.answer((seen, end) => { connection = end; end.accept(seen); });
  const client = await WsClient.open(port, target, options);
  return { client, pod: connection as unknown as PodConnection };
}

export function handshakeHead(port: number, target: string, { headers = {}, method = "GET" }: Handshake = {}): string {
  const lines: Record<string, string | null> = {
    Host: `127.0.0.1:${port}`, Upgrade: "websocket", Connection: "Upgrade",
    "Sec-WebSocket-Key": randomBytes(16).toString("base64"), "Sec-WebSocket-Version": "13", ...headers,
  };
  const text = Object.entries(lines).filter(([, value]) => value !== null).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${target} HTTP/1.1\r\n${text.join("")}\r\n`;
}

/** A frame as a client sends it; `length` lies about the payload's. */
export function clientFrame(opcode: number, data: Buffer | string, { fin = true, rsv = 0, mask = true, length }: FrameOptions = {}): Buffer {
  const payload = Buffer.from(data);
  const said = length ?? payload.length;
  const size = said < 126 ? 2 : said < 65536 ? 4 : 10;
  const head = Buffer.alloc(size + (mask ? 4 : 0));
  head[0] = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  head[1] = (mask ? 0x80 : 0) | (said < 126 ? said : said < 65536 ? 126 : 127);
  if (size === 4) head.writeUInt16BE(said, 2);
  if (size === 10) head.writeBigUInt64BE(BigInt(said), 2);
  if (mask) {
    // Bytes of its own for each frame; a key of zeros would leave the unmasking untested.
    const key = randomBytes(4);
    key.copy(head, size);
    for (let i = 0; i < payload.length; i += 1) payload[i] = (payload[i] as number) ^ (key[i & 3] as number);
  }
  return Buffer.concat([head, payload]);
}

/** The payload of a close frame; empty for a null code. */
export function closeData(code: number | null, reason: string | Buffer = ""): Buffer {
  if (code === null) return Buffer.alloc(0);
  const head = Buffer.alloc(2);
  head.writeUInt16BE(code, 0);
  return Buffer.concat([head, Buffer.from(reason)]);
}

export function readClose(data: Buffer): { code: number | null; reason: string } {
  return data.length < 2 ? { code: null, reason: "" } : { code: data.readUInt16BE(0), reason: data.toString("utf8", 2) };
}

const MAIN = join(import.meta.dir, "../../src/main.ts");

/** The program itself, in a process of its own: for signals, and for what it costs in memory and descriptors. */
export class ServeProcess {
  log = "";
  readonly #ended: Promise<number>;

  private constructor(readonly child: Bun.Subprocess<"ignore", "pipe", "pipe">) {
    // The last lines may arrive after the end of the process.
    this.#ended = Promise.all([child.exited, this.#read(child.stdout), this.#read(child.stderr)]).then(([code]) => code);
  }

  static async start(env: Record<string, string>, args: readonly string[] = [], http = "127.0.0.1:0"): Promise<ServeProcess> {
    const child = Bun.spawn([process.execPath, MAIN, "serve", "--http", http, ...args], {
      env: { PATH: process.env["PATH"] ?? "", ...env }, stdin: "ignore", stdout: "pipe", stderr: "pipe",
    });
    const served = new ServeProcess(child);
    await served.until(() => served.log.includes("\"listening\"") || child.exitCode !== null, 10_000);
    if (child.exitCode !== null) throw new Error(`serve ended with ${child.exitCode}: ${served.log}`);
    return served;
  }

  get port(): number {
    return Number(/"http":"[^"]*:(\d+)"/.exec(this.log)?.[1]);
  }

  get lines(): Array<Record<string, unknown>> {
    return this.log.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  events(message: string): Array<Record<string, unknown>> {
    return this.lines.filter((line) => line["message"] === message);
  }

  async until(condition: () => boolean, timeoutMs = 5000): Promise<void> {
    await waitFor(condition, timeoutMs, () => `log:\n${this.log.slice(-2000)}`);
  }

  signal(name: "SIGTERM" | "SIGHUP" | "SIGINT" | "SIGKILL"): void {
    this.child.kill(name);
  }

  async exit(timeoutMs = 10_000): Promise<number> {
    await waitFor(() => this.child.exitCode !== null || this.child.signalCode !== null, timeoutMs, () => `still running; log:\n${this.log.slice(-2000)}`);
    return this.#ended;
  }

  rssBytes(): number {
    return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${this.child.pid}/status`, "utf8"))?.[1]) * 1024;
  }

  descriptors(): number {
    return readdirSync(`/proc/${this.child.pid}/fd`).length;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode === null) this.child.kill("SIGKILL");
    await this.#ended;
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stream) this.log += decoder.decode(chunk, { stream: true });
  }
}

/** Looks every few ms; for what has no event to wait for. */
export async function waitFor(condition: () => boolean, timeoutMs = 5000, about: () => string = () => ""): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${timeoutMs} ms; ${about()}`);
    await Bun.sleep(5);
  }
}

/** Resolves when `figure` has not changed for `quietMs`: what was to come has come. @returns its last value */
export async function settled(figure: () => number, quietMs = 300, timeoutMs = 10_000): Promise<number> {
  const deadline = Date.now() + timeoutMs;
  let last = figure();
  let since = Date.now();
  while (Date.now() - since < quietMs) {
    if (Date.now() > deadline) throw new Error(`still changing after ${timeoutMs} ms: ${last}`);
    await Bun.sleep(10);
    const now = figure();
    if (now !== last) since = Date.now();
    last = now;
  }
  return last;
}
