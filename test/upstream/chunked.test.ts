import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ChunkedDecoder, encodeChunk, encodeLastChunk } from "../../src/upstream/chunked.ts";
import { ProtocolError } from "../../src/upstream/response-head.ts";

/** Decodes pieces as they would arrive; `left` is what belongs to nobody. */
function decode(...pieces: Array<string | Buffer>): { body: string; done: boolean; left: string } {
  const decoder = new ChunkedDecoder();
  const parts: Buffer[] = [];
  let left = "";
  for (const piece of pieces) {
    const bytes = typeof piece === "string" ? Buffer.from(piece, "latin1") : piece;
    const used = decoder.decode(bytes, (data) => parts.push(Buffer.from(data)));
    left += bytes.toString("latin1", used);
  }
  return { body: Buffer.concat(parts).toString("latin1"), done: decoder.done, left };
}

describe("a chunked body", () => {
  const CASES: ReadonlyArray<readonly [name: string, text: string, body: string]> = [
    ["of two chunks", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world"], ["of nothing", "0\r\n\r\n", ""],
    ["with a size in upper case and zeros in front", "00A\r\n0123456789\r\n000\r\n\r\n", "0123456789"],
    ["with an extension, which is dropped", "5;a=b\r\nhello\r\n0;last\r\n\r\n", "hello"],
    ["with an extension after a space", "5 ;a\r\nhello\r\n0\r\n\r\n", "hello"],
    ["with trailers, which are dropped", "5\r\nhello\r\n0\r\nX: y\r\nZ: a\r\n\r\n", "hello"],
    ["that holds CRLF and chunk syntax itself", "7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", "\r\n0\r\n\r\n"],
  ];
  test.each(CASES)("%s", (_name, text, body) => {
    expect(decode(text)).toEqual({ body, done: true, left: "" });
    expect(decode(...text)).toEqual({ body, done: true, left: "" });
  });

  test("ends where it ends: bytes after it are not taken", () => {
    expect(decode("2\r\nhi\r\n0\r\n\r\nHTTP/1.1 200 OK")).toEqual({ body: "hi", done: true, left: "HTTP/1.1 200 OK" });
  });

  test("that is cut is not done", () => {
    const text = "5\r\nhello\r\n0\r\nX: y\r\n\r\n";
    for (let cut = 0; cut < text.length; cut += 1) expect(decode(text.slice(0, cut)).done).toBe(false);
  });
});

describe("what breaks the grammar is refused", () => {
  const CASES: ReadonlyArray<readonly [name: string, text: string]> = [
    ["an empty size", "\r\nhello\r\n"], ["a sign", "+5\r\nhello\r\n"], ["0x", "0x5\r\nhello\r\n"],
    ["a space in front", " 5\r\nhello\r\n"],
    ["a space behind", "5 \r\nhello\r\n"], ["an underscore", "1_0\r\n"], ["no hexadecimal digit", "g\r\n"],
    ["a size of 17 digits", "10000000000000005\r\nhello"],
    ["a bare LF after the size", "5\nhello\r\n"], ["a bare LF in an extension", "5;a\nb\r\nhello\r\n"],
    ["a bare CR in an extension", "5;a\rb\r\nhello\r\n"],
    ["no CRLF after the data", "5\r\nhello0\r\n\r\n"], ["more data than the size says", "5\r\nhelloX\r\n"],
    ["a bare LF after the data", "5\r\nhello\n0\r\n\r\n"],
    ["a bare LF at the end", "0\r\n\n"], ["a bare LF in the trailers", "0\r\nX: y\n\r\n"],
    ["another answer for a trailer", "0\r\nHTTP/1.1 304 Not Modified\r\n\r\n"], ["a trailer without a name", "0\r\n: y\r\n\r\n"],
    ["a space before a trailer's colon", "0\r\nX : y\r\n\r\n"],
    ["CR CR LF", "5\r\r\nhello\r\n"],
    ["an endless line", "5;".padEnd(5000, "x")],
    ["endless trailers", `0\r\n${"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(500)}`],
  ];
  test.each(CASES)("%s", (_name, text) => {
    expect(() => decode(text)).toThrow(ProtocolError);
    expect(() => decode(...text)).toThrow(ProtocolError);
  });
});

describe("for any body", () => {
  const chunks = fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 10 });

  test("any chunking comes back as it was, however its bytes arrive", () => {
    fc.assert(fc.property(chunks,
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 }), (parts, steps) => {
      const wire = Buffer.concat([...parts.map(encodeChunk), encodeLastChunk()]);
      const pieces: Buffer[] = [];
      for (let at = 0, i = 0; at < wire.length; i += 1) {
        const step = steps[i % steps.length] as number;
        pieces.push(wire.subarray(at, at + step));
        at += step;
      }
      expect(decode(...pieces)).toEqual({ body: Buffer.concat(parts).toString("latin1"), done: true, left: "" });
    }), { numRuns: 300 });
  });

  test("long and short chunks in turn come back as they were, and short ones together", () => {
    const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constantFrom(4095, 4096, 4097, 9000)), { minLength: 1, maxLength: 12 });
    fc.assert(fc.property(sizes, fc.nat(), (lengths, cut) => {
      const chunks = lengths.map((length, index) => Buffer.alloc(length, 97 + index));
      const wire = Buffer.concat([...chunks.map(encodeChunk), encodeLastChunk(), Buffer.from("rest")]);
      const at = cut % wire.length;
      expect(decode(Buffer.from(wire.subarray(0, at)), Buffer.from(wire.subarray(at)))).toEqual({ body: Buffer.concat(chunks).toString("latin1"), done: true, left: "rest" });
    }));
    let pieces = 0;
    new ChunkedDecoder().decode(Buffer.from("1\r\nx\r\n".repeat(10_000)), () => { pieces += 1; });
    expect(pieces).toBe(1);
  });

  test("bytes that are no chunks are refused by name or awaited, never another error", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      try {
        decode(Buffer.from(bytes));
      } catch (error) {
        expect(error).toBeInstanceOf(ProtocolError);
      }
    }), { numRuns: 1000 });
  });
});
