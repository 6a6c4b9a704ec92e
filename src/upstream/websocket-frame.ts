// WebSocket frames (RFC 6455 section 5). A codec: bytes in, messages and control frames out, and back; no sockets, no clock.
// The reader takes what a server sends (unmasked) and hands on whole messages; the encoder makes what a client sends (masked).

import { isUtf8 } from "node:buffer";

export const Opcode = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** A violation, with the close code that answers it (RFC 6455 section 7.4.1). */
export class FrameError extends Error {
  override name = "FrameError";
  constructor(readonly code: 1002 | 1007 | 1009, message: string) {
    super(message);
  }
}

export interface FrameSink {
  /** `data` may be a view of the read buffer: copy it to keep it. */
  message(data: Buffer, isText: boolean): void;
  ping(data: Buffer): void;
  pong(): void;
  /** `code` 1005: the frame carried none. */
  close(code: number, reason: string): void;
}

const EMPTY = Buffer.alloc(0);
const SPARE_BYTES = 256 * 1024;
/** Memory of the last payload that did not come whole, of any session: a bulk has one frame length, and asks for it often. */
let spare: Buffer | null = null;

export class FrameReader {
  /** An incomplete header, or null. */
  #header: Buffer | null = null;
  /** The payload of a frame that did not come whole, and how much of it is there. */
  #payload: Buffer | null = null;
  #filled = 0;
  #first = 0;
  /** What is there of a fragmented message, and its opcode. One growing piece of memory: fragments may be tiny or empty. */
  #message: Buffer | null = null;
  #messageBytes = 0;
  #opcode = 0;

  constructor(private readonly limitBytes: number) {}

  /** @throws FrameError at the first violation; the connection is of no use after that */
  read(chunk: Buffer, sink: FrameSink): void {
    let at = 0;
    if (this.#payload !== null) at = this.#fill(chunk, 0, sink);
    let bytes = chunk;
    if (this.#header !== null && this.#payload === null) {
      bytes = Buffer.concat([this.#header, chunk]);
      this.#header = null;
      at = 0;
    }
    while (this.#payload === null && at < bytes.length) {
      const next = this.#frame(bytes, at, sink);
      if (next < 0) {
        this.#header = Buffer.from(bytes.subarray(at));
        return;
      }
      at = next;
    }
  }

  /** @returns where the next frame starts, or -1 when the header at `at` is incomplete */
  #frame(bytes: Buffer, at: number, sink: FrameSink): number {
    if (bytes.length - at < 2) return -1;
    const first = bytes[at] as number;
    const second = bytes[at + 1] as number;
    if ((first & 0x70) !== 0) throw new FrameError(1002, "reserved bits set");
    if ((second & 0x80) !== 0) throw new FrameError(1002, "masked frame from a server");
    let length = second & 0x7f;
    let start = at + 2;
    if (length === 126) {
      if (bytes.length - at < 4) return -1;
      length = bytes.readUInt16BE(start);
      start += 2;
    } else if (length === 127) {
      if (bytes.length - at < 10) return -1;
      const long = bytes.readBigUInt64BE(start);
      length = long > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(long);
      start += 8;
    }
    this.#check(first, length);
    const end = start + length;
    if (end <= bytes.length) {
      this.#take(first, bytes.subarray(start, end), sink);
      return end;
    }
    this.#first = first;
    this.#payload = takeMemory(length);
    this.#filled = bytes.copy(this.#payload, 0, start);
    return bytes.length;
  }

  #fill(chunk: Buffer, at: number, sink: FrameSink): number {
    const payload = this.#payload as Buffer;
    const taken = chunk.copy(payload, this.#filled, at);
    this.#filled += taken;
    if (this.#filled === payload.length) {
      this.#payload = null;
      this.#take(this.#first, payload, sink);
      // The sink has copied what it keeps.
      if (payload.length <= SPARE_BYTES) spare = payload;
    }
    return at + taken;
  }

  #check(first: number, length: number): void {
    const opcode = first & 0x0f;
    if (opcode >= 8) {
      if (opcode > 10) throw new FrameError(1002, "unknown control opcode");
      if ((first & 0x80) === 0 || length > 125) throw new FrameError(1002, "fragmented or long control frame");
      return;
    }
    if (opcode > 2) throw new FrameError(1002, "unknown opcode");
    if ((opcode === Opcode.continuation) !== (this.#message !== null)) throw new FrameError(1002, "fragments out of order");
    if (this.#messageBytes + length > this.limitBytes) throw new FrameError(1009, "message over the limit");
  }

  #take(first: number, data: Buffer, sink: FrameSink): void {
    const opcode = first & 0x0f;
    if (opcode === Opcode.ping) return sink.ping(data);
    if (opcode === Opcode.pong) return sink.pong();
    if (opcode === Opcode.close) return this.#takeClose(data, sink);
    if ((first & 0x80) !== 0 && this.#message === null) return deliver(opcode, data, sink);
    if (this.#message === null) this.#opcode = opcode;
    const room = this.#append(this.#message ?? EMPTY, data);
    this.#message = room;
    if ((first & 0x80) === 0) return;
    const message = room.subarray(0, this.#messageBytes);
    this.#message = null;
    this.#messageBytes = 0;
    deliver(this.#opcode, message, sink);
  }

  #append(message: Buffer, data: Buffer): Buffer {
    const bytes = this.#messageBytes + data.length;
    let room = message;
    if (bytes > message.length) {
      room = Buffer.allocUnsafeSlow(Math.max(bytes, 2 * message.length));
      message.copy(room, 0, 0, this.#messageBytes);
    }
    data.copy(room, this.#messageBytes);
    this.#messageBytes = bytes;
    return room;
  }

  #takeClose(data: Buffer, sink: FrameSink): void {
    if (data.length === 0) return sink.close(1005, "");
    if (data.length === 1) throw new FrameError(1002, "close frame of one byte");
    const code = data.readUInt16BE(0);
    if (!isSendableCode(code)) throw new FrameError(1002, "close code that must not be sent");
    const reason = data.subarray(2);
    if (!isUtf8(reason)) throw new FrameError(1007, "close reason is not UTF-8");
    sink.close(code, reason.toString("utf8"));
  }
}

function takeMemory(length: number): Buffer {
  const memory = spare?.length === length ? spare : Buffer.allocUnsafeSlow(length);
  spare = null;
  return memory;
}

function deliver(opcode: number, data: Buffer, sink: FrameSink): void {
  const isText = opcode === Opcode.text;
  if (isText && !isUtf8(data)) throw new FrameError(1007, "text message is not UTF-8");
  sink.message(data, isText);
}

/** Codes that may stand in a close frame: 1005, 1006 and 1015 never (RFC 6455 section 7.4.1). */
export function isSendableCode(code: number): boolean {
  return (code >= 1000 && code <= 1014 && code !== 1004 && code !== 1005 && code !== 1006) || (code >= 3000 && code <= 4999);
}

/** What {@link encodeShortFrame} takes at most. */
export const SHORT_FRAME_BYTES = 125;

/**
 * Like {@link encodeFrame} for at most 125 bytes (keys, pointer moves), into memory that is there: no allocation.
 * @returns the length of the frame
 */
export function encodeShortFrame(into: Buffer, opcode: number, data: Uint8Array, key: number = randomKey()): number {
  into[0] = 0x80 | opcode;
  into[1] = 0x80 | data.length;
  into.writeUInt32LE(key, 2);
  for (let i = 0; i < data.length; i += 1) into[6 + i] = (data[i] as number) ^ ((key >>> ((i & 3) << 3)) & 0xff);
  return 6 + data.length;
}

/** One unfragmented masked frame. The key is random, as RFC 6455 section 5.3 asks of a client. */
export function encodeFrame(opcode: number, data: Uint8Array, key: number = randomKey()): Buffer {
  const length = data.length;
  const header = length < 126 ? 6 : length < 65536 ? 8 : 14;
  // The payload starts at a multiple of four, so that it can be masked a word at a time.
  const pad = (4 - (header % 4)) % 4;
  const memory = new ArrayBuffer((pad + header + length + 3) & ~3);
  const frame = Buffer.from(memory, pad, header + length);
  frame[0] = 0x80 | opcode;
  if (length < 126) frame[1] = 0x80 | length;
  else if (length < 65536) {
    frame[1] = 0x80 | 126;
    frame.writeUInt16BE(length, 2);
  } else {
    frame[1] = 0x80 | 127;
    frame.writeBigUInt64BE(BigInt(length), 2);
  }
  frame.writeUInt32LE(key, header - 4);
  frame.set(data, header);
  const words = new Int32Array(memory, pad + header, (length + 3) >> 2);
  for (let i = 0; i < words.length; i += 1) words[i] = (words[i] as number) ^ key;
  return frame;
}

/** The payload of a close frame; nothing for a code that must not be sent. Reasons are cut to the 123 bytes that fit. */
export function closePayload(code: number, reason: string): Buffer {
  if (!isSendableCode(code)) return EMPTY;
  let text = Buffer.from(reason);
  if (text.length > 123) {
    let end = 123;
    while (end > 0 && ((text[end] as number) & 0xc0) === 0x80) end -= 1;
    text = text.subarray(0, end);
  }
  const payload = Buffer.allocUnsafe(2 + text.length);
  payload.writeUInt16BE(code, 0);
  payload.set(text, 2);
  return payload;
}

const keys = new Uint32Array(1024);
let nextKey = keys.length;

function randomKey(): number {
  if (nextKey === keys.length) {
    crypto.getRandomValues(keys);
    nextKey = 0;
  }
  const key = keys[nextKey] as number;
  nextKey += 1;
  return key;
}
