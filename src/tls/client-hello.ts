// The TLS ClientHello, as far as a front needs it: the server name and the offered protocols. A codec: bytes in, a value out;
// it peeks, the bytes stay the caller's to pass on. RFC 8446 section 4.1.2 (TLS 1.2 and 1.3 alike), RFC 6066 section 3 (server
// name), RFC 7301 (ALPN).
//
// What cannot be read with certainty is "bad": a front that guessed another name than the backend reads would route one
// user's connection to another one's service.

import { UNEXPECTED_MESSAGE } from "./alert.ts";

export type ClientHello = {
  /** Lower case, as it came otherwise; null when there was none. */
  readonly serverName: string | null;
  /** Empty when there were none. */
  readonly protocols: readonly string[];
};

export type Peeked =
  /** More bytes are needed: not worth another look before there are `atLeast` in all. */
  | { readonly kind: "incomplete"; readonly atLeast: number }
  /** `isAligned`: nothing follows it in its record (RFC 8446 section 5.1), of which all has come then */
  | { readonly kind: "hello"; readonly hello: ClientHello; readonly isAligned: boolean }
  /** Not TLS at all. */
  | { readonly kind: "not-tls"; readonly isHttp: boolean }
  /** TLS that breaks its rules; the alert that says so (RFC 8446 section 6.2). */
  | { readonly kind: "bad"; readonly alert: number; readonly reason: string };

/** More than any client sends, post-quantum key shares included; a hello that is larger is refused. */
export const HELLO_LIMIT_BYTES = 64 * 1024;

const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const RECORD_HEAD = 5;
/** RFC 8446 section 5.1: a record of plain handshake bytes has at most 2^14. */
const RECORD_LIMIT_BYTES = 16_384;
const SERVER_NAME = 0;
const HOST_NAME = 0;
const ALPN = 16;

const RECORD_OVERFLOW = 22;
const ILLEGAL_PARAMETER = 47;
const DECODE_ERROR = 50;
const PROTOCOL_VERSION = 70;

/** @param bytes everything that the client sent so far, from its first byte */
export function peekClientHello(bytes: Uint8Array): Peeked {
  if (bytes.length === 0) return { kind: "incomplete", atLeast: 1 };
  if (bytes[0] !== HANDSHAKE) return notTls(bytes);
  // 3.0 to 3.4 on the record layer; SSLv2 hellos start otherwise.
  if (bytes.length > 1 && bytes[1] !== 3) return bad(PROTOCOL_VERSION, "record version is not TLS");
  const handshake = new Handshake(bytes);
  const head = handshake.take(4);
  if (typeof head !== "object") return head === "incomplete" ? incomplete(bytes, handshake) : bad(...REASONS[head]);
  if (head[0] !== CLIENT_HELLO) return bad(UNEXPECTED_MESSAGE, "first message is not a ClientHello");
  const length = (head[1]! << 16) | (head[2]! << 8) | head[3]!;
  if (length > HELLO_LIMIT_BYTES) return bad(ILLEGAL_PARAMETER, "ClientHello over 64 KiB");
  const body = handshake.take(length);
  if (typeof body !== "object") return body === "incomplete" ? incomplete(bytes, handshake) : bad(...REASONS[body]);
  const hello = readHello(body);
  return "kind" in hello ? hello : { kind: "hello", hello, isAligned: handshake.isAtRecordEnd };
}

type Fault = "not-handshake" | "empty-record" | "long-record" | "version";
const REASONS: Record<Fault, [alert: number, reason: string]> = {
  "not-handshake": [UNEXPECTED_MESSAGE, "another record between the parts of the ClientHello"],
  "empty-record": [DECODE_ERROR, "empty handshake record"],
  "long-record": [RECORD_OVERFLOW, "record over 16 KiB"],
  version: [PROTOCOL_VERSION, "record version is not TLS"],
};

/** The handshake bytes inside of the records: a message may be cut anywhere. */
class Handshake {
  /** After "incomplete": how many bytes of the message are not there, heads of records not counted. */
  missing = 0;
  #at = 0;
  #recordEnd = 0;

  constructor(private readonly bytes: Uint8Array) {}

  get isAtRecordEnd(): boolean {
    return this.#at === this.#recordEnd;
  }

  /** The next `count` bytes. */
  take(count: number): Uint8Array | "incomplete" | Fault {
    const inOne = this.#inRecord(count);
    if (inOne !== null) return inOne;
    const taken = new Uint8Array(count);
    let have = 0;
    while (have < count) {
      this.missing = count - have;
      if (this.#at === this.#recordEnd) {
        const fault = this.#nextRecord();
        if (fault !== null) return fault;
      }
      const part = this.bytes.subarray(this.#at, Math.min(this.#recordEnd, this.#at + count - have, this.bytes.length));
      if (part.length === 0) return "incomplete";
      taken.set(part, have);
      have += part.length;
      this.#at += part.length;
    }
    return taken;
  }

  /** The usual case without a copy: they lie in the record that is open. */
  #inRecord(count: number): Uint8Array | null {
    const end = this.#at + count;
    if (this.#at === this.#recordEnd || end > this.#recordEnd || end > this.bytes.length) return null;
    const taken = this.bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }

  #nextRecord(): "incomplete" | Fault | null {
    const { bytes } = this;
    const at = this.#at;
    if (bytes.length > at && bytes[at] !== HANDSHAKE) return "not-handshake";
    if (bytes.length > at + 1 && bytes[at + 1] !== 3) return "version";
    if (bytes.length < at + RECORD_HEAD) return "incomplete";
    const length = (bytes[at + 3]! << 8) | bytes[at + 4]!;
    // RFC 8446 section 5.1: no handshake record is empty; a stream of them would be work without an end.
    if (length === 0) return "empty-record";
    if (length > RECORD_LIMIT_BYTES) return "long-record";
    this.#at = at + RECORD_HEAD;
    this.#recordEnd = this.#at + length;
    return null;
  }
}

/** Looking at every byte that trickles in would be work without a bound: what is missing at least is waited for. */
function incomplete(bytes: Uint8Array, { missing }: Handshake): Peeked {
  if (bytes.length > HELLO_LIMIT_BYTES) return bad(ILLEGAL_PARAMETER, "ClientHello over 64 KiB");
  return { kind: "incomplete", atLeast: bytes.length + missing };
}

function readHello(body: Uint8Array): ClientHello | Extract<Peeked, { readonly kind: "bad" }> {
  const reader = new Reader(body);
  reader.skip(2 + 32); // legacy_version, random
  reader.skip(reader.u8()); // legacy_session_id
  reader.skip(reader.u16()); // cipher_suites
  reader.skip(reader.u8()); // legacy_compression_methods
  let serverName: string | null = null;
  let protocols: readonly string[] = [];
  const seen = new Set<number>();
  // RFC 5246 section 7.4.1.2: a hello may end here.
  const extensions = reader.isAtEnd ? null : reader.part(reader.u16());
  if (!reader.isAtEnd) return bad(DECODE_ERROR, "bytes behind the extensions");
  while (extensions !== null && !extensions.isAtEnd) {
    const type = extensions.u16();
    const data = extensions.part(extensions.u16());
    // RFC 8446 section 4.2: no type twice. Two server names would be read differently by two readers.
    if (seen.has(type)) return bad(ILLEGAL_PARAMETER, "an extension twice");
    seen.add(type);
    if (type === SERVER_NAME) serverName = readServerName(data);
    else if (type === ALPN) protocols = readProtocols(data);
    if (data.failed || serverName === "") return bad(DECODE_ERROR, "malformed extension");
  }
  if (reader.failed || extensions?.failed === true) return bad(DECODE_ERROR, "malformed ClientHello");
  return { serverName, protocols };
}

/** "" for one that no DNS name may be. */
function readServerName(data: Reader): string {
  const list = data.part(data.u16());
  const type = list.u8();
  const name = list.part(list.u16());
  // RFC 6066 section 3: one name of each type, and there is only one type.
  if (list.failed || !list.isAtEnd || !data.isAtEnd || type !== HOST_NAME) {
    data.fail();
    return "";
  }
  const text = name.rest.toLowerCase();
  // Hyphens anywhere, as registered names may have them (seed 003). A trailing dot is not allowed, but clients send it; the name is the same.
  const plain = text.endsWith(".") ? text.slice(0, -1) : text;
  return plain.length <= 253 && /^[a-z0-9_-](?:[a-z0-9_.-]*[a-z0-9_-])?$/.test(plain) && !plain.includes("..") ? plain : "";
}

function readProtocols(data: Reader): readonly string[] {
  const list = data.part(data.u16());
  const protocols: string[] = [];
  while (!list.isAtEnd && !list.failed) protocols.push(list.part(list.u8()).rest);
  if (list.failed || !data.isAtEnd) data.fail();
  return protocols;
}

/** Reads big-endian numbers and parts; past the end it fails once and for all, and gives zeros. Without views of the bytes: a hello has fifty numbers. */
class Reader {
  #failed = false;

  constructor(private readonly bytes: Uint8Array, private at = 0, private readonly end = bytes.length) {}

  get failed(): boolean {
    return this.#failed;
  }

  get isAtEnd(): boolean {
    return this.#failed || this.at >= this.end;
  }

  /** What was not read, in latin1. */
  get rest(): string {
    return Buffer.from(this.bytes.buffer, this.bytes.byteOffset + this.at, this.end - this.at).toString("latin1");
  }

  fail(): void {
    this.#failed = true;
  }

  u8(): number {
    const at = this.at;
    return this.skip(1) ? this.bytes[at]! : 0;
  }

  u16(): number {
    const at = this.at;
    return this.skip(2) ? (this.bytes[at]! << 8) | this.bytes[at + 1]! : 0;
  }

  /** @returns false when there is not so much */
  skip(count: number): boolean {
    if (this.at + count > this.end) this.#failed = true;
    if (this.#failed) return false;
    this.at += count;
    return true;
  }

  part(count: number): Reader {
    const at = this.at;
    const isThere = this.skip(count);
    const part = new Reader(this.bytes, at, isThere ? this.at : at);
    part.#failed = !isThere;
    return part;
  }
}

function notTls(bytes: Uint8Array): Peeked {
  const start = Buffer.from(bytes.subarray(0, 16)).toString("latin1");
  // A method and a space, as far as it has come.
  const isHttp = /^[A-Z]{3,10}(?: |$)/.test(start) || (bytes.length < 4 && /^[A-Z]+$/.test(start));
  return isHttp && bytes.length < 4 ? { kind: "incomplete", atLeast: 4 } : { kind: "not-tls", isHttp };
}

function bad(alert: number, reason: string): Extract<Peeked, { readonly kind: "bad" }> {
  return { kind: "bad", alert, reason };
}
