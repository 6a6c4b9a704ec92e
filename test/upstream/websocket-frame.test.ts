import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { closePayload, encodeFrame, encodeShortFrame, FrameError, FrameReader, type FrameSink, isSendableCode, Opcode } from "../../src/upstream/websocket-frame.ts";

type Event = ["text" | "binary" | "ping", string] | ["pong"] | ["close", number, string];

class Recorder implements FrameSink {
  readonly events: Event[] = [];
  message(data: Buffer, isText: boolean): void { this.events.push([isText ? "text" : "binary", data.toString("latin1")]); }
  ping(data: Buffer): void { this.events.push(["ping", data.toString("latin1")]); }
  pong(): void { this.events.push(["pong"]); }
  close(code: number, reason: string): void { this.events.push(["close", code, reason]); }
}

/** A server's frame. */
function frame(opcode: number, data: Uint8Array | string, fin = true): Buffer {
  const payload = Buffer.from(data as string);
  const head = Buffer.alloc(payload.length < 126 ? 2 : payload.length < 65536 ? 4 : 10);
  head[0] = (fin ? 0x80 : 0) | opcode;
  head[1] = head.length === 2 ? payload.length : head.length === 4 ? 126 : 127;
  if (head.length === 4) head.writeUInt16BE(payload.length, 2);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(payload.length), 2);
  return Buffer.concat([head, payload]);
}

function read(chunks: readonly Uint8Array[], limitBytes = 1 << 20): Event[] {
  const recorder = new Recorder();
  const reader = new FrameReader(limitBytes);
  for (const chunk of chunks) reader.read(Buffer.from(chunk), recorder);
  return recorder.events;
}

function split(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].toSorted((a, b) => a - b);
  return [0, ...at].map((start, i) => bytes.subarray(start, at[i] ?? bytes.length));
}

/** Messages in fragments, with control frames between them, and what should come of them. */
const conversation = fc.array(fc.oneof(
  fc.record({ kind: fc.constant("binary" as const), parts: fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 5 }), pings: fc.boolean() }),
  fc.record({ kind: fc.constant("text" as const), parts: fc.array(fc.string({ unit: "grapheme", maxLength: 80 }), { minLength: 1, maxLength: 5 }), pings: fc.boolean() }),
  fc.record({ kind: fc.constant("pong" as const), parts: fc.constant([]), pings: fc.constant(false) }),
), { maxLength: 12 });

function spoken(items: typeof conversation extends fc.Arbitrary<infer T> ? T : never): { bytes: Buffer; events: Event[] } {
  const frames: Buffer[] = [];
  const events: Event[] = [];
  for (const { kind, parts, pings } of items) {
    if (kind === "pong") { frames.push(frame(Opcode.pong, "p")); events.push(["pong"]); continue; }
    parts.forEach((part, i) => {
      const last = i === parts.length - 1;
      frames.push(frame(i > 0 ? Opcode.continuation : Opcode[kind], part, last));
      if (pings && !last) { frames.push(frame(Opcode.ping, "between")); events.push(["ping", "between"]); }
    });
    events.push([kind, Buffer.concat(parts.map((part) => Buffer.from(part as string))).toString("latin1")]);
  }
  return { bytes: Buffer.concat(frames), events };
}

describe("frame reader", () => {
  test("hands on the same messages however the bytes are split", () => {
    fc.assert(fc.property(conversation, fc.array(fc.nat(), { maxLength: 30 }), (items, cuts) => {
      const { bytes, events } = spoken(items);
      expect(read(split(bytes, cuts))).toEqual(events);
    }), { numRuns: 500 });
  });

  test("hands on the same messages a byte at a time", () => {
    const { bytes, events } = spoken([
      { kind: "text", parts: ["€", "uro"], pings: true }, { kind: "binary", parts: [new Uint8Array(70_000)], pings: false },
      { kind: "binary", parts: [new Uint8Array(130), new Uint8Array(0)], pings: true }, { kind: "pong", parts: [], pings: false },
    ]);
    expect(read([...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(events);
  });

  test("keeps nothing of the read buffer: a reused one does not change what was handed on in fragments", () => {
    const recorder = new Recorder();
    const reader = new FrameReader(1000);
    const buffer = frame(Opcode.text, "first", false);
    reader.read(buffer, recorder);
    buffer.fill(0);
    reader.read(frame(Opcode.continuation, " last"), recorder);
    expect(recorder.events).toEqual([["text", "first last"]]);
  });

  test("answers garbage with messages or a FrameError, never with anything else", () => {
    fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 10 }), fc.nat({ max: 5000 }), (chunks, limit) => {
      try {
        for (const [kind, data] of read(chunks, limit)) if (kind === "binary" || kind === "text") expect(String(data).length).toBeLessThanOrEqual(limit);
      } catch (error) {
        if (!(error instanceof FrameError)) throw error;
      }
    }), { numRuns: 2000 });
  });

  test("survives a flipped bit in a good conversation", () => {
    fc.assert(fc.property(conversation, fc.nat(), fc.nat({ max: 7 }), (items, position, bit) => {
      const { bytes } = spoken(items);
      if (bytes.length === 0) return;
      const at = position % bytes.length;
      bytes[at] = (bytes[at] as number) ^ (1 << bit);
      try {
        read([bytes]);
      } catch (error) {
        if (!(error instanceof FrameError)) throw error;
      }
    }), { numRuns: 500 });
  });

  test.each<[string, Buffer[], number]>([
    ["a reserved bit", [Buffer.from([0xc1, 0])], 1002], ["a mask", [Buffer.from([0x81, 0x80, 1, 2, 3, 4])], 1002],
    ["opcode 3", [frame(3, "")], 1002], ["opcode 11", [frame(11, "")], 1002], ["a long ping", [frame(9, "x".repeat(126))], 1002],
    ["a fragmented close", [frame(8, "", false)], 1002], ["a lone continuation", [frame(0, "x")], 1002],
    ["a message in a message", [frame(1, "a", false), frame(2, "b")], 1002], ["a close of one byte", [frame(8, "x")], 1002],
    ["close code 1005", [frame(8, Buffer.from([3, 0xed]))], 1002], ["bad UTF-8", [frame(1, Buffer.from([0xff]))], 1007],
    ["bad UTF-8 in a reason", [frame(8, Buffer.from([3, 0xe8, 0xff]))], 1007], ["too much at once", [frame(2, Buffer.alloc(1001))], 1009],
    ["too much in all", [frame(2, Buffer.alloc(1000), false), frame(0, "x")], 1009],
    ["2^63 bytes, announced", [Buffer.from([0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0])], 1009],
  ])("refuses %s", (_name, chunks, code) => {
    expect(() => read(chunks, 1000)).toThrow(expect.objectContaining({ name: "FrameError", code }));
  });

  test("refuses a message over the limit from its header alone, before it takes memory for it", () => {
    expect(() => read([frame(2, Buffer.alloc(2000)).subarray(0, 4)], 1000)).toThrow(FrameError);
  });

  test("takes millions of empty fragments without growing", () => {
    const recorder = new Recorder();
    const reader = new FrameReader(1000);
    reader.read(frame(Opcode.text, "a", false), recorder);
    const many = Buffer.concat(Array.from({ length: 10_000 }, () => frame(Opcode.continuation, "", false)));
    Bun.gc(true);
    const before = process.memoryUsage.rss();
    for (let i = 0; i < 200; i += 1) reader.read(many, recorder);
    expect(process.memoryUsage.rss() - before).toBeLessThan(32 * 1024 * 1024);
    reader.read(frame(Opcode.continuation, "z"), recorder);
    expect(recorder.events).toEqual([["text", "az"]]);
  });

  test("reads an empty close as 1005 and a reason as it is", () => {
    expect(read([frame(8, "")])).toEqual([["close", 1005, ""]]);
    expect(read([frame(8, Buffer.concat([Buffer.from([0x0f, 0xa0]), Buffer.from("tschüß")]))])).toEqual([["close", 4000, "tschüß"]]);
  });
});

describe("frame encoder", () => {
  function unmask(bytes: Buffer): { first: number; data: Buffer } {
    const short = (bytes[1] as number) & 0x7f;
    const at = short === 126 ? 8 : short === 127 ? 14 : 6;
    const length = short === 126 ? bytes.readUInt16BE(2) : short === 127 ? Number(bytes.readBigUInt64BE(2)) : short;
    expect(bytes.length).toBe(at + length);
    return { first: bytes[0] as number, data: Buffer.from(bytes.subarray(at).map((byte, i) => byte ^ (bytes[at - 4 + (i & 3)] as number))) };
  }

  test.each([0, 1, 2, 3, 4, 5, 125, 126, 127, 128, 65_535, 65_536, 70_001])("masks %d bytes so that unmasking gives them back", (length) => {
    const data = Buffer.from(Array.from({ length }, (_, i) => (i * 7) & 255));
    const encoded = encodeFrame(Opcode.binary, data);
    expect((encoded[1] as number) & 0x80).toBe(0x80);
    expect(unmask(encoded)).toEqual({ first: 0x82, data });
  });

  test("leaves the data that it was given alone", () => {
    const data = Buffer.from("unchanged");
    encodeFrame(Opcode.text, data);
    expect(data.toString()).toBe("unchanged");
  });

  test("uses a fresh key for each frame", () => {
    const keys = new Set(Array.from({ length: 3000 }, () => encodeFrame(Opcode.text, Buffer.from("x")).readUInt32LE(2)));
    expect(keys.size).toBeGreaterThan(2990);
  });

  test("makes short frames in place that are the same frames", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 125 }), fc.integer({ min: 0, max: 0xffffffff }), (data, key) => {
      const into = Buffer.alloc(256);
      const length = encodeShortFrame(into, Opcode.text, data, key);
      expect(into.subarray(0, length).equals(encodeFrame(Opcode.text, data, key))).toBe(true);
    }), { numRuns: 200 });
  });

  test("writes for every input what a reader of frames gives back", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 500 }), fc.integer({ min: 0, max: 0xffffffff }), (data, key) => {
      expect(unmask(encodeFrame(Opcode.binary, data, key)).data).toEqual(Buffer.from(data));
    }), { numRuns: 200 });
  });
});

describe("close codes", () => {
  test.each([1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999])("%d may be sent", (code) => {
    expect(isSendableCode(code)).toBe(true);
    expect(closePayload(code, "").readUInt16BE(0)).toBe(code);
  });

  test.each([0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535, -1])("%p is never sent: the frame stays empty", (code) => {
    expect(isSendableCode(code)).toBe(false);
    expect(closePayload(code, "reason").length).toBe(0);
  });

  test("reasons are cut to 123 bytes, between characters", () => {
    expect(closePayload(1000, "x".repeat(200)).length).toBe(125);
    const cut = closePayload(1000, "é".repeat(100)).subarray(2);
    expect(cut.toString("utf8")).toBe("é".repeat(61));
  });
});
