// Chunked transfer coding (RFC 9112 section 7.1), strictly: exact CRLFs, hexadecimal sizes without sign or space, bounded
// extensions and trailers (both are dropped: Bun.serve cannot send trailers). A codec: no sockets, no clock.

import { ProtocolError } from "./response-head.ts";

/** A chunk-size line with its extensions, and the trailer section: more than this is nobody's honest answer. */
const LINE_LIMIT_BYTES = 4096;
const TRAILER_LIMIT_BYTES = 16 * 1024;
const TRAILER = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+:/;
/**
 * Shorter chunks are handed on together: an upstream that sends its body byte by byte would otherwise cost a piece for each, a
 * hundred times what the body takes.
 */
const MERGE_BYTES = 4096;
/** Of a chunk's size: a terabyte. */
const SIZE_DIGITS = 12;

type State = "size" | "data" | "data-end" | "trailer" | "done";

export class ChunkedDecoder {
  #state: State = "size";
  #left = 0;
  #line = "";
  #trailerBytes = 0;

  get done(): boolean {
    return this.#state === "done";
  }

  /**
   * Decodes `bytes`, which are not to be used again: short chunks are moved together in them; `emit` gets pieces of the body as views of them.
   * @returns how many bytes belong to this body: fewer than given only once {@link done}
   * @throws ProtocolError at the first byte that breaks the grammar
   */
  decode(bytes: Buffer, emit: (data: Buffer) => void): number {
    let at = 0;
    // Data that was not handed on yet.
    let start = 0;
    let end = 0;
    while (at < bytes.length && this.#state !== "done") {
      if (this.#state === "data") {
        const stop = Math.min(at + this.#left, bytes.length);
        this.#left -= stop - at;
        if (this.#left === 0) this.#state = "data-end";
        if (start < end && stop - at < MERGE_BYTES) {
          bytes.copyWithin(end, at, stop);
          end += stop - at;
        } else {
          if (start < end) emit(bytes.subarray(start, end));
          start = at;
          end = stop;
        }
        at = stop;
      } else {
        at = this.#readLine(bytes, at);
      }
    }
    if (start < end) emit(bytes.subarray(start, end));
    return at;
  }

  #readLine(bytes: Buffer, from: number): number {
    const plain = this.#line === "" ? this.#readPlainLine(bytes, from) : 0;
    if (plain > 0) return plain;
    const lineFeed = bytes.indexOf(10, from);
    const end = lineFeed < 0 ? bytes.length : lineFeed + 1;
    this.#line += bytes.toString("latin1", from, end);
    if (this.#line.length > LINE_LIMIT_BYTES) throw new ProtocolError("chunk line over 4 KiB");
    if (lineFeed >= 0) {
      const line = this.#line;
      this.#line = "";
      if (!line.endsWith("\r\n") || line.indexOf("\r") !== line.length - 2) throw new ProtocolError("bare CR or LF in chunked body");
      this.#take(line.slice(0, -2));
    }
    return end;
  }

  /** What stands before and behind nearly every chunk, read without making text of it. @returns where it ends; 0: it is something else */
  #readPlainLine(bytes: Buffer, from: number): number {
    let at = from;
    let size = 0;
    if (this.#state === "size") {
      for (let digit = hexDigit(bytes[at]); digit >= 0 && at - from < SIZE_DIGITS; digit = hexDigit(bytes[at])) {
        size = size * 16 + digit;
        at += 1;
      }
      // The last chunk, of size 0, is left to the other way.
      if (size === 0) return 0;
    } else if (this.#state !== "data-end") return 0;
    if (bytes[at] !== 13 || bytes[at + 1] !== 10) return 0;
    this.#left = size;
    this.#state = size === 0 ? "size" : "data";
    return at + 2;
  }

  #take(line: string): void {
    if (this.#state === "data-end") {
      if (line !== "") throw new ProtocolError("missing CRLF after chunk data");
      this.#state = "size";
    } else if (this.#state === "trailer") {
      this.#trailerBytes += line.length;
      if (this.#trailerBytes > TRAILER_LIMIT_BYTES) throw new ProtocolError("trailers over 16 KiB");
      if (line === "") this.#state = "done";
      else if (!TRAILER.test(line)) throw new ProtocolError("malformed trailer");
    } else {
      const size = /^([0-9a-fA-F]{1,12})(?:[\t ]*;.*)?$/.exec(line);
      if (size === null) throw new ProtocolError("malformed chunk size");
      this.#left = Number.parseInt(size[1] ?? "", 16);
      this.#state = this.#left === 0 ? "trailer" : "data";
    }
  }
}

/** @returns -1 for what is none */
function hexDigit(byte: number | undefined): number {
  if (byte === undefined) return -1;
  if (byte >= 48 && byte <= 57) return byte - 48;
  const letter = byte | 32;
  return letter >= 97 && letter <= 102 ? letter - 87 : -1;
}

const FINAL = Buffer.from("0\r\n\r\n");

/** One chunk on the wire; an empty one would end the body and must not be asked for. */
export function encodeChunk(data: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`${data.length.toString(16)}\r\n`), data, Buffer.from("\r\n")]);
}

export function encodeLastChunk(): Buffer {
  return FINAL;
}
