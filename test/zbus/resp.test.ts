import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { encodeCommand, Oversized, RedisError, type RedisReply, RespReader } from "../../src/zbus/resp.ts";

function read(bytes: string | Uint8Array, limit = 64): RedisReply[] {
  return new RespReader(limit).push(typeof bytes === "string" ? Buffer.from(bytes) : bytes);
}

describe("Redis replies", () => {
  test.each([
    ["+OK\r\n", ["OK"]],
    [":-7\r\n", [-7]],
    ["$-1\r\n", [null]],
    ["*-1\r\n", [null]],
    ["*0\r\n", [[]]],
    ["$0\r\n\r\n", [new Uint8Array(0)]],
    ["-ERR no\r\n+OK\r\n", [new RedisError("ERR no"), "OK"]],
    ["*2\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n", [[Uint8Array.of(97), [1, null]]]],
  ])("%j", (bytes, replies) => {
    expect(read(bytes)).toEqual(replies);
  });

  test("keep every byte, whatever pieces they come in", () => {
    const element = fc.uint8Array({ maxLength: 40 });
    fc.assert(fc.property(fc.array(element, { minLength: 1, maxLength: 5 }), fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1 }), (elements, sizes) => {
      // An array of bulk strings is what commands are, too.
      const bytes = encodeCommand(elements);
      const reader = new RespReader(64);
      const replies: RedisReply[] = [];
      for (let at = 0, turn = 0; at < bytes.length; turn++) {
        const size = sizes[turn % sizes.length] as number;
        replies.push(...reader.push(bytes.subarray(at, at + size)));
        at += size;
      }
      expect(replies.map((reply) => (reply as Uint8Array[]).map((item) => [...item]))).toEqual([elements.map((item) => [...item])]);
    }), { numRuns: 500 });
  });

  test("that are longer than wanted are dropped, and the next one is read", () => {
    const reader = new RespReader(10);
    expect(reader.push(Buffer.from("*2\r\n$1\r\na\r\n$5000000\r\n"))).toEqual([]);
    for (let i = 0; i < 5; i++) expect(reader.push(Buffer.alloc(1_000_000, 65))).toEqual([]);
    expect(reader.push(Buffer.from("\r\n$10\r\n0123456789\r\n"))).toEqual([[Uint8Array.of(97), new Oversized(5_000_000)], new Uint8Array(Buffer.from("0123456789"))]);
  });

  test.each([
    ["HTTP/1.1 400 Bad Request\r\n", "does not speak the Redis protocol"],
    ["+OK\n", "does not speak the Redis protocol"],
    ["$x\r\n", "does not speak the Redis protocol"],
    ["$-2\r\n", "does not speak the Redis protocol"],
    ["*1000\r\n", "too large"],
    ["*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", "too large"],
    [`+${"x".repeat(20_000)}`, "too long"],
  ])("%j are refused", (bytes, reason) => {
    expect(() => read(bytes)).toThrow(reason);
  });

  test("of any bytes are read or refused", () => {
    fc.assert(fc.property(fc.array(fc.oneof(fc.uint8Array({ maxLength: 20 }), fc.constantFrom("*2\r\n", "$3\r\n", ":1\r\n", "\r\n").map((text) => Uint8Array.from(Buffer.from(text)))), { maxLength: 12 }), (parts) => {
      try {
        read(Buffer.concat(parts));
      } catch (error) {
        expect((error as Error).message).toStartWith("the broker");
      }
    }), { numRuns: 2000 });
  });
});

describe("Redis commands", () => {
  test("are arrays of bulk strings, counted in bytes", () => {
    expect(Buffer.from(encodeCommand(["RPUSH", "é", Uint8Array.of(0, 255)])).toString("latin1")).toBe("*3\r\n$5\r\nRPUSH\r\n$2\r\n\u00c3\u00a9\r\n$2\r\n\u0000\u00ff\r\n");
  });
});
