// A pod that says what it got: every service port answers HTTP with a JSON record of the request, byte-exact head included,
// and speaks WebSocket. Over raw sockets, so that nothing between the router and the record can tidy anything up.

import { createHash } from "node:crypto";
import type { Socket } from "bun";

export const POD_PORTS = [
  "ws_tcp_bridge_tcp_port", "xterm_tcp_port", "printerfile_service_tcp_port", "file_service_tcp_port", "broadcast_tcp_port",
  "snapshot_service_tcp_port", "spawner_service_tcp_port", "signalling_service_tcp_port", "sound_service_tcp_port",
  "microphone_service_tcp_port", "gamepad_service_tcp_port",
] as const;

export type PodPort = (typeof POD_PORTS)[number];

/** What one request looked like on the wire. */
export type Seen = { port: PodPort | string; requestLine: string; method: string; target: string; headers: Record<string, string[]>; head: string; body: Buffer };

export class Pod {
  readonly seen: Seen[] = [];
  readonly ports = new Map<string, number>();
  readonly #listeners: Array<{ stop(force?: boolean): void }> = [];
  /** Connections accepted so far, and open now. */
  accepted = 0;
  readonly open = new Set<Socket<PodConnection>>();
  #waiters: Array<() => void> = [];
  #answer: (seen: Seen, connection: PodConnection) => void = answerRecord;

  constructor(readonly address: string = "127.0.1.1", names: readonly string[] = POD_PORTS) {
    for (const name of names) {
      const listener = Bun.listen<PodConnection>({
        hostname: address, port: 0,
        socket: {
          open: (socket) => { socket.data = new PodConnection(this, name, socket); this.accepted += 1; this.open.add(socket); },
          data: (socket, chunk) => socket.data.received(chunk),
          drain: (socket) => socket.data.flush(),
          close: (socket) => { this.open.delete(socket); socket.data.isClosed = true; this.changed(); },
          error: () => {},
        },
      });
      this.ports.set(name, listener.port);
      this.#listeners.push(listener);
    }
  }

  /** The environment that makes the router use these ports. */
  get env(): Record<string, string> {
    return Object.fromEntries([...this.ports].map(([name, port]) => [name.toUpperCase(), String(port)]));
  }

  port(name: string): number {
    return this.ports.get(name) as number;
  }

  /** How requests are answered from now on; a WebSocket upgrade echoes by default. */
  answer(answer: (seen: Seen, connection: PodConnection) => void): void {
    this.#answer = answer;
  }

  handle(seen: Seen, connection: PodConnection): void {
    this.seen.push(seen);
    this.changed();
    this.#answer(seen, connection);
  }

  changed(): void {
    for (const waiter of this.#waiters.splice(0)) waiter();
  }

  /** Resolves when `condition` holds; it is looked at on every event of the pod. */
  async until(condition: () => boolean, timeoutMs = 10_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!condition()) {
      if (Date.now() > deadline) throw new Error("the pod waited in vain");
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.push(resolve);
      const timer = setTimeout(resolve, 50);
      await promise;
      clearTimeout(timer);
    }
  }

  stop(): void {
    for (const socket of this.open) socket.terminate();
    for (const listener of this.#listeners) listener.stop(true);
  }
}

export class PodConnection {
  isClosed = false;
  isWebSocket = false;
  #buffer = Buffer.alloc(0);
  #out: Buffer[] = [];
  /** Frames as they arrived: opcode and unmasked payload. */
  readonly frames: Array<{ opcode: number; data: Buffer; masked: boolean }> = [];
  onFrame: (opcode: number, data: Buffer) => void = (opcode, data) => this.#echo(opcode, data);
  /** Gets bytes instead of the parser: for bodies that are not to be kept. */
  onRaw: ((chunk: Buffer) => void) | null = null;

  constructor(readonly pod: Pod, readonly name: string, readonly socket: Socket<PodConnection>) {}

  received(chunk: Buffer): void {
    if (this.onRaw !== null) return this.onRaw(chunk);
    this.#buffer = Buffer.concat([this.#buffer, chunk]);
    while (this.isWebSocket ? this.#frame() : this.#request());
  }

  write(data: string | Buffer): void {
    this.#out.push(typeof data === "string" ? Buffer.from(data, "latin1") : data);
    this.flush();
  }

  flush(): void {
    while (this.#out.length > 0) {
      const head = this.#out[0] as Buffer;
      const taken = this.socket.write(head, 0, head.length);
      if (taken < 0) return;
      if (taken < head.length) {
        this.#out[0] = head.subarray(taken);
        return;
      }
      this.#out.shift();
    }
    this.onDrained?.();
  }

  onDrained: (() => void) | null = null;

  get pending(): number {
    return this.#out.length;
  }

  close(): void {
    this.socket.end();
  }

  /** RST. */
  cut(): void {
    this.socket.terminate();
  }

  /** Answers the handshake; `protocol` as chosen by the pod. @param lines of its own */
  accept(seen: Seen, protocol: string | null = null, lines: readonly string[] = []): void {
    const key = seen.headers["sec-websocket-key"]?.[0] ?? "";
    const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    const own = [...(protocol === null ? [] : [`Sec-WebSocket-Protocol: ${protocol}`]), ...lines].map((line) => `${line}\r\n`).join("");
    this.isWebSocket = true;
    this.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n${own}\r\n`);
  }

  /** A frame as a server sends it: unmasked. */
  send(opcode: number, data: Buffer | string, fin = true): void {
    const payload = Buffer.from(data);
    const head = payload.length < 126 ? Buffer.from([0, payload.length]) : payload.length < 65536 ? Buffer.alloc(4) : Buffer.alloc(10);
    head[0] = (fin ? 0x80 : 0) | opcode;
    if (payload.length >= 65536) {
      head[1] = 127;
      head.writeBigUInt64BE(BigInt(payload.length), 2);
    } else if (payload.length >= 126) {
      head[1] = 126;
      head.writeUInt16BE(payload.length, 2);
    }
    this.write(Buffer.concat([head, payload]));
  }

  #echo(opcode: number, data: Buffer): void {
    if (opcode === 9) this.send(10, data);
    else if (opcode === 8) {
      this.send(8, data);
      this.close();
    } else if (opcode !== 10) this.send(opcode, data);
  }

  #frame(): boolean {
    const b = this.#buffer;
    if (b.length < 2) return false;
    const masked = ((b[1] as number) & 0x80) !== 0;
    let length = (b[1] as number) & 0x7f;
    let at = 2;
    if (length === 126) {
      if (b.length < 4) return false;
      length = b.readUInt16BE(2);
      at = 4;
    } else if (length === 127) {
      if (b.length < 10) return false;
      length = Number(b.readBigUInt64BE(2));
      at = 10;
    }
    if (masked) at += 4;
    if (b.length < at + length) return false;
    const data = Buffer.from(b.subarray(at, at + length));
    if (masked) for (let i = 0; i < length; i += 1) data[i] = (data[i] as number) ^ (b[at - 4 + (i % 4)] as number);
    this.#buffer = b.subarray(at + length);
    this.frames.push({ opcode: (b[0] as number) & 15, data, masked });
    this.onFrame((b[0] as number) & 15, data);
    this.pod.changed();
    return true;
  }

  #request(): boolean {
    const end = this.#buffer.indexOf("\r\n\r\n");
    if (end < 0) return false;
    const head = this.#buffer.toString("latin1", 0, end + 4);
    const [requestLine = "", ...lines] = head.slice(0, -4).split("\r\n");
    const headers = Object.create(null) as Record<string, string[]>; // "constructor" is a header name like any other
    for (const line of lines) {
      const colon = line.indexOf(":");
      (headers[line.slice(0, colon).toLowerCase()] ??= []).push(line.slice(colon + 1).trim());
    }
    const body = readBody(this.#buffer.subarray(end + 4), headers);
    if (body === null) return false;
    this.#buffer = this.#buffer.subarray(end + 4 + body.used);
    const [method = "", target = ""] = requestLine.split(" ");
    this.pod.handle({ port: this.name, requestLine, method, target, headers, head, body: body.data }, this);
    return true;
  }
}

function readBody(bytes: Buffer, headers: Record<string, string[]>): { data: Buffer; used: number } | null {
  if (headers["transfer-encoding"] !== undefined) {
    const parts: Buffer[] = [];
    let at = 0;
    for (;;) {
      const line = bytes.indexOf("\r\n", at);
      if (line < 0) return null;
      const size = Number.parseInt(bytes.toString("latin1", at, line), 16);
      if (bytes.length < line + 2 + size + 2) return null;
      parts.push(Buffer.from(bytes.subarray(line + 2, line + 2 + size)));
      at = line + 2 + size + 2;
      if (size === 0) return { data: Buffer.concat(parts), used: at };
    }
  }
  const length = Number(headers["content-length"]?.[0] ?? 0);
  return bytes.length < length ? null : { data: Buffer.from(bytes.subarray(0, length)), used: length };
}

/** The default answer: a JSON record of the request, or the echo of a WebSocket. */
export function answerRecord(seen: Seen, connection: PodConnection): void {
  if (seen.headers["upgrade"] !== undefined) return connection.accept(seen, seen.headers["sec-websocket-protocol"]?.[0]?.split(",")[0]?.trim() ?? null);
  const record = JSON.stringify({ port: seen.port, method: seen.method, target: seen.target, headers: seen.headers, body: seen.body.length });
  const body = Buffer.from(record, "latin1");
  const head = `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
  connection.write(seen.method === "HEAD" ? head : Buffer.concat([Buffer.from(head), body]));
}

export function answerWith(text: string): (seen: Seen, connection: PodConnection) => void {
  return (_seen, connection) => connection.write(text);
}
