// HTTP/2 frame by frame over TLS (RFC 9113): a client that sends exactly what it is told, also what no library would. Fields are
// written as literals without a table, so that each may be wrong in its own way; of what comes back it reads frames and statuses.

import type { TLSSocket } from "node:tls";
import { connectTls, type HttpsAddress } from "./https-client.ts";

export const FRAME = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, goaway: 7, windowUpdate: 8, continuation: 9 } as const;
const END_STREAM = 1;
const END_HEADERS = 4;
const ACK = 1;
const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const MAX_WINDOW = 2 ** 31 - 1;
const FRAME_BYTES = 16_384;

export type Field = readonly [name: string, value: string];
export type H2Frame = { readonly type: number; readonly flags: number; readonly stream: number; readonly payload: Buffer };

export type H2Stream = { status: number; bytes: number; body: Buffer[]; isEnded: boolean; resetCode: number | null };

export class H2Client {
  readonly streams = new Map<number, H2Stream>();
  /** Streams that the server serves at a time, as it says (RFC 9113 section 6.5.2). */
  streamLimit = Infinity;
  goaway: { readonly lastStream: number; readonly code: number } | null = null;
  isClosed = false;
  /** false: data is counted and forgotten. */
  keeps = true;
  #bytes: Buffer = Buffer.alloc(0);
  #next = 1;
  #waiters: Array<() => void> = [];

  private constructor(readonly socket: TLSSocket, private readonly name: string) {
    socket.on("data", (chunk: Buffer) => {
      this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
      while (this.#readFrame());
      this.#wake();
    });
    socket.on("close", () => { this.isClosed = true; this.#wake(); });
  }

  /** @param windowBytes that each stream may send us; the connection may send whatever it likes */
  static async open(address: HttpsAddress, servername: string, windowBytes = MAX_WINDOW): Promise<H2Client> {
    const socket = await connectTls(address, servername, { ALPNProtocols: ["h2"] });
    if (socket.alpnProtocol !== "h2") throw new Error(`the server chose ${socket.alpnProtocol}`);
    const client = new H2Client(socket, `${servername}:${address.port}`);
    // No table for fields (1 = 0), no push (2 = 0), and the window (4).
    client.write(Buffer.concat([Buffer.from(PREFACE), frame(FRAME.settings, 0, 0, settings([[1, 0], [2, 0], [4, windowBytes]]))]));
    client.write(frame(FRAME.windowUpdate, 0, 0, uint32(MAX_WINDOW - 65_535)));
    return client;
  }

  write(bytes: Buffer): void {
    if (!this.socket.destroyed) this.socket.write(bytes);
  }

  /** The fields of an ordinary request; `fields` follow them. */
  fields(method: string, path: string, fields: readonly Field[] = []): Field[] {
    return [[":method", method], [":scheme", "https"], [":authority", this.name], [":path", path], ...fields];
  }

  /** Opens a stream. @param isWhole no body follows @returns its number */
  request(fields: readonly Field[], isWhole = true): number {
    const stream = this.#next;
    this.#next += 2;
    this.streams.set(stream, { status: 0, bytes: 0, body: [], isEnded: false, resetCode: null });
    this.write(headers(stream, fields, isWhole));
    return stream;
  }

  get(path: string, fields: readonly Field[] = []): number {
    return this.request(this.fields("GET", path, fields));
  }

  data(stream: number, bytes: Buffer, isLast = false): void {
    this.write(frame(FRAME.data, isLast ? END_STREAM : 0, stream, bytes));
  }

  reset(stream: number, code = 8 /* CANCEL */): void {
    this.write(frame(FRAME.reset, 0, stream, uint32(code)));
  }

  stream(number: number): H2Stream {
    return this.streams.get(number) as H2Stream;
  }

  /** The stream when it is answered, reset, or lost with its connection. */
  async ended(number: number, timeoutMs?: number): Promise<H2Stream> {
    const stream = this.stream(number);
    await this.until(() => stream.isEnded || stream.resetCode !== null || this.isClosed || this.goaway !== null, timeoutMs);
    return stream;
  }

  async until(condition: () => boolean, timeoutMs = 10_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!condition()) {
      if (Date.now() > deadline) throw new Error(`nothing of the kind came in ${timeoutMs} ms; goaway: ${JSON.stringify(this.goaway)}, closed: ${this.isClosed}`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.push(resolve);
      const timer = setTimeout(resolve, 50);
      await promise;
      clearTimeout(timer);
    }
  }

  close(): void {
    this.socket.destroy();
  }

  #wake(): void {
    for (const waiter of this.#waiters.splice(0)) waiter();
  }

  #readFrame(): boolean {
    const bytes = this.#bytes;
    if (bytes.length < 9) return false;
    const length = bytes.readUIntBE(0, 3);
    if (bytes.length < 9 + length) return false;
    this.#bytes = bytes.subarray(9 + length);
    this.#took({ type: bytes[3] as number, flags: bytes[4] as number, stream: bytes.readUInt32BE(5) & MAX_WINDOW, payload: bytes.subarray(9, 9 + length) });
    return true;
  }

  #took({ type, flags, stream: number, payload }: H2Frame): void {
    if (type === FRAME.settings && (flags & ACK) === 0) {
      for (let at = 0; at < payload.length; at += 6) if (payload.readUInt16BE(at) === 3) this.streamLimit = payload.readUInt32BE(at + 2);
      return this.write(frame(FRAME.settings, ACK, 0, Buffer.alloc(0)));
    }
    if (type === FRAME.ping && (flags & ACK) === 0) return this.write(frame(FRAME.ping, ACK, 0, payload));
    if (type === FRAME.goaway) this.goaway = { lastStream: payload.readUInt32BE(0), code: payload.readUInt32BE(4) };
    const stream = this.streams.get(number);
    if (stream === undefined) return;
    if (type === FRAME.headers && stream.status === 0) stream.status = readStatus(payload);
    if (type === FRAME.data) {
      stream.bytes += payload.length;
      if (this.keeps) stream.body.push(Buffer.from(payload));
    }
    if (type === FRAME.reset) stream.resetCode = payload.readUInt32BE(0);
    if ((type === FRAME.headers || type === FRAME.data) && (flags & END_STREAM) !== 0) stream.isEnded = true;
  }
}

export function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** One block, in as many frames as it takes. */
export function headers(stream: number, fields: readonly Field[], isWhole: boolean): Buffer {
  const block = Buffer.concat(fields.map(literal));
  const parts: Buffer[] = [];
  for (let at = 0; at === 0 || at < block.length; at += FRAME_BYTES) parts.push(block.subarray(at, at + FRAME_BYTES));
  return Buffer.concat(parts.map((part, index) => {
    const last = index === parts.length - 1 ? END_HEADERS : 0;
    return frame(index === 0 ? FRAME.headers : FRAME.continuation, last | (index === 0 && isWhole ? END_STREAM : 0), stream, part);
  }));
}

/** RFC 7541 section 6.2.2: without indexing, a new name, nothing compressed. */
function literal([name, value]: Field): Buffer {
  return Buffer.concat([Buffer.from([0]), text(name), text(value)]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  return Buffer.concat([integer(bytes.length), bytes]);
}

/** RFC 7541 section 5.1, with a prefix of 7 bits. */
function integer(value: number): Buffer {
  if (value < 127) return Buffer.from([value]);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.from([...bytes, rest]);
}

const STATUSES = [200, 204, 206, 304, 400, 404, 500];

/** `:status` comes first: as an entry of the static table, or as a literal of its name. 0: something else did. */
function readStatus(block: Buffer): number {
  const at = ((block[0] as number) & 0xe0) === 0x20 ? 1 : 0; // the table's size
  const first = block[at] as number;
  if (first >= 0x88 && first <= 0x8e) return STATUSES[first - 0x88] as number;
  if (![0x08, 0x18, 0x48].includes(first)) return 0;
  const length = (block[at + 1] as number) & 0x7f;
  const value = block.subarray(at + 2, at + 2 + length);
  return Number((block[at + 1] as number) >= 0x80 ? huffmanDigits(value) : value.toString("latin1"));
}

/** RFC 7541 appendix B: 0 to 2 have five bits, 3 to 9 have six. */
function huffmanDigits(bytes: Buffer): string {
  let bits = [...bytes].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  let digits = "";
  while (digits.length < 3) {
    const isShort = bits.startsWith("000");
    digits += isShort ? Number.parseInt(bits.slice(0, 5), 2) : Number.parseInt(bits.slice(0, 6), 2) - 0x19 + 3;
    bits = bits.slice(isShort ? 5 : 6);
  }
  return digits;
}

function settings(values: ReadonlyArray<readonly [id: number, value: number]>): Buffer {
  return Buffer.concat(values.map(([id, value]) => {
    const bytes = Buffer.alloc(6);
    bytes.writeUInt16BE(id, 0);
    bytes.writeUInt32BE(value, 2);
    return bytes;
  }));
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value, 0);
  return bytes;
}
