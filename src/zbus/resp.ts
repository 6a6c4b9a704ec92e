// The Redis protocol, RESP2, as far as BLPOP and RPUSH need it (https://redis.io/docs/latest/develop/reference/protocol-spec/).
// Ours because Bun's client (1.4.5) gives what BLPOP pops as text, with every byte that is not UTF-8 replaced, and has no limit for
// its length; messages are binary, and anybody may push 512 MB. Pure.

const CR = 13;
const LF = 10;
/** Of a status or error line. */
const LINE_LIMIT_BYTES = 16 * 1024;
/** Of an array: BLPOP's has 2 elements, EXEC's one for each command. */
const ARRAY_LIMIT = 64;
const DEPTH_LIMIT = 4;

/** An error reply: the server understood and refuses. */
export class RedisError extends Error {
  override readonly name = "RedisError";
}

/** A bulk string that was longer than wanted: read and dropped. */
export class Oversized {
  constructor(readonly bytes: number) {}
}

export type RedisReply = string | number | null | Uint8Array | RedisError | Oversized | readonly RedisReply[];

/** What is sent is always an array of bulk strings. */
export function encodeCommand(parts: ReadonlyArray<string | Uint8Array>): Uint8Array {
  const chunks: Uint8Array[] = [Buffer.from(`*${parts.length}\r\n`)];
  for (const part of parts) {
    const bytes = typeof part === "string" ? Buffer.from(part) : part;
    chunks.push(Buffer.from(`$${bytes.length}\r\n`), bytes, CRLF);
  }
  return Buffer.concat(chunks);
}

const CRLF = Buffer.from("\r\n");

type Frame = { readonly items: RedisReply[]; remaining: number };
type Bulk = { readonly bytes: Uint8Array | null; readonly length: number; filled: number };

/** Bytes in, replies out. */
export class RespReader {
  #line: Uint8Array = new Uint8Array(0);
  #bulk: Bulk | null = null;
  readonly #frames: Frame[] = [];
  #ready: RedisReply[] = [];

  /** @param bulkLimitBytes bulk strings above it come out as {@link Oversized} */
  constructor(private readonly bulkLimitBytes: number) {}

  /** @returns the replies that `chunk` completes @throws Error when it is not RESP: nothing can be read after that */
  push(chunk: Uint8Array): RedisReply[] {
    let rest = chunk;
    while (rest.length > 0) rest = this.#bulk === null ? this.#readLine(rest) : this.#readBulk(this.#bulk, rest);
    const ready = this.#ready;
    this.#ready = [];
    return ready;
  }

  #readLine(chunk: Uint8Array): Uint8Array {
    const end = chunk.indexOf(LF);
    const part = end < 0 ? chunk : chunk.subarray(0, end + 1);
    const line = this.#line.length === 0 ? part : Buffer.concat([this.#line, part]);
    if (line.length > LINE_LIMIT_BYTES) throw new Error("the broker sent a line that is too long for Redis");
    if (end < 0) {
      this.#line = Uint8Array.from(line);
      return chunk.subarray(chunk.length);
    }
    this.#line = new Uint8Array(0);
    if (line.at(-2) !== CR) throw notRedis();
    this.#takeLine(String.fromCharCode(line[0] as number), Buffer.from(line.subarray(1, -2)).toString());
    return chunk.subarray(end + 1);
  }

  #takeLine(type: string, text: string): void {
    switch (type) {
      case "+": return this.#put(text);
      case "-": return this.#put(new RedisError(text));
      case ":": return this.#put(Number(text));
      case "$": return this.#openBulk(lengthOf(text));
      case "*": return this.#openArray(lengthOf(text));
      default: throw notRedis();
    }
  }

  #openBulk(length: number): void {
    if (length < 0) return this.#put(null);
    this.#bulk = { bytes: length > this.bulkLimitBytes ? null : new Uint8Array(length), length, filled: 0 };
  }

  /** The two bytes behind it are its CR LF. */
  #readBulk(bulk: Bulk, chunk: Uint8Array): Uint8Array {
    const part = chunk.subarray(0, bulk.length + 2 - bulk.filled);
    const wanted = Math.max(0, bulk.length - bulk.filled);
    bulk.bytes?.set(part.subarray(0, wanted), Math.min(bulk.filled, bulk.length));
    bulk.filled += part.length;
    if (bulk.filled === bulk.length + 2) {
      this.#bulk = null;
      this.#put(bulk.bytes ?? new Oversized(bulk.length));
    }
    return chunk.subarray(part.length);
  }

  #openArray(length: number): void {
    if (length < 0) return this.#put(null);
    if (length === 0) return this.#put([]);
    if (length > ARRAY_LIMIT || this.#frames.length >= DEPTH_LIMIT) throw new Error("the broker sent an array that is too large");
    this.#frames.push({ items: [], remaining: length });
  }

  #put(reply: RedisReply): void {
    const frame = this.#frames.at(-1);
    if (frame === undefined) {
      this.#ready.push(reply);
      return;
    }
    frame.items.push(reply);
    frame.remaining -= 1;
    if (frame.remaining > 0) return;
    this.#frames.pop();
    this.#put(frame.items);
  }
}

function lengthOf(text: string): number {
  if (!/^(-1|\d{1,10})$/.test(text)) throw notRedis();
  return Number(text);
}

function notRedis(): Error {
  return new Error("the broker does not speak the Redis protocol");
}
