import { describe, expect, test } from "bun:test";
import { decode, encode } from "@msgpack/msgpack";
import fc from "fast-check";
import { msgpackFault } from "../../src/zbus/bounds.ts";
import { decodeRequest, decodeValue, encodeOutput, encodeReply, FaultyRequest, MESSAGE_LIMIT_BYTES, MessageError, UnreadableRequest } from "../../src/zbus/message.ts";

const GOOD = { ID: "1", Inputs: [encode("wl")], Object: { Name: "gateway", Version: "0.0.1" }, ReplyTo: "list", Method: "DeleteNamedProxy" };

const text = (value: string): number[] => [0xa0 + value.length, ...Buffer.from(value)];

/** A call byte by byte, as a Go caller's library packs it: maps with text keys, byte slices as bin 8. */
const WIRE = Uint8Array.from([
  0x85, ...text("ID"), ...text("u-1"),
  ...text("Inputs"), 0x91, 0xc4, 0x03, ...text("wl"),
  ...text("Object"), 0x82, ...text("Name"), ...text("gateway"), ...text("Version"), ...text("0.0.1"),
  ...text("ReplyTo"), ...text("u-1"),
  ...text("Method"), ...text("DeleteNamedProxy"),
]);

function failure(bytes: Uint8Array): Error {
  try {
    decodeRequest(bytes);
  } catch (error) {
    return error as Error;
  }
  throw new Error("it was read");
}

describe("a request", () => {
  test("is read from the bytes that callers send", () => {
    const request = decodeRequest(WIRE);
    expect(request).toMatchObject({ id: "u-1", replyTo: "u-1", object: { name: "gateway", version: "0.0.1" }, method: "DeleteNamedProxy" });
    expect(request.inputs.map(decodeValue)).toEqual(["wl"]);
  });

  test("may have keys that we don't know", () => {
    expect(decodeRequest(encode({ ...GOOD, Trace: { Span: [1, 2] } })).method).toBe("DeleteNamedProxy");
  });

  test("may have nil for no inputs", () => {
    expect(decodeRequest(encode({ ...GOOD, Inputs: null })).inputs).toEqual([]);
  });

  test.each([["u-1"], [7], [-3], [2n ** 64n - 1n], [-(2n ** 63n)]])("keeps the ID %p and its type", (id) => {
    const request = decodeRequest(encode({ ...GOOD, ID: id }, { useBigInt64: true }));
    expect(request.id).toBe(id);
    const reply = encodeReply({ id: request.id, data: null, failure: null, protocolError: null });
    expect((decode(reply, { useBigInt64: true }) as { ID: unknown }).ID).toBe(id);
  });

  test.each([
    ["no ID", { ID: undefined }, "ID must be a string or an integer"],
    ["a fraction for an ID", { ID: 1.5 }, "ID must be"],
    ["an ID that is too long", { ID: "x".repeat(513) }, "ID must be"],
    ["no object", { Object: null }, "Object must be {Name, Version}"],
    ["an object without a version", { Object: { Name: "gateway" } }, "Object must be"],
    ["a list for an object", { Object: ["gateway", "0.0.1"] }, "Object must be"],
    ["no method", { Method: undefined }, "Method must be a string"],
    ["an empty method", { Method: "" }, "Method must be a string"],
    ["inputs that are no array", { Inputs: "wl" }, "Inputs must be an array of binaries"],
    ["inputs that are not packed", { Inputs: ["wl"] }, "Inputs must be an array of binaries"],
    ["no inputs at all", { Inputs: undefined }, "Inputs must be"],
  ])("with %s can be answered", (_, change, reason) => {
    const error = failure(encode({ ...GOOD, ...change }, { ignoreUndefined: true })) as FaultyRequest;
    expect(error).toBeInstanceOf(FaultyRequest);
    expect(error.replyTo).toBe("list");
    expect(error.message).toContain(reason);
  });

  test.each([
    ["no list to reply to", encode({ ...GOOD, ReplyTo: null }), "ReplyTo"],
    ["an empty list", encode({ ...GOOD, ReplyTo: "" }), "ReplyTo"],
    ["a list's name that is too long", encode({ ...GOOD, ReplyTo: "x".repeat(513) }), "ReplyTo"],
    ["an array for a map", encode(Object.values(GOOD)), "not a map"],
    ["a timestamp for a map", encode(new Date(0)), "not a map"],
    ["a byte too many", Buffer.concat([WIRE, Buffer.from([0])]), "1 bytes too many"],
    ["a key that objects cannot have", encode(JSON.parse('{"__proto__": 1}')), "__proto__"],
    ["text that is not UTF-8", Buffer.from([0x81, 0xa1, 0x41, 0xa1, 0xff]), "not UTF-8"],
    ["more bytes than a message has", new Uint8Array(MESSAGE_LIMIT_BYTES + 1), "longer than 262144 bytes"],
  ])("with %s can only be skipped", (_, bytes, reason) => {
    const error = failure(bytes);
    expect(error).toBeInstanceOf(UnreadableRequest);
    expect(error.message).toContain(reason);
  });

  test("cut short anywhere is refused by name", () => {
    for (let length = 0; length < WIRE.length; length++) expect(failure(WIRE.subarray(0, length))).toBeInstanceOf(MessageError);
  });

  test("of any bytes is read or refused by name", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        decodeRequest(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(MessageError);
      }
    }), { numRuns: 2000 });
  });

  test("with any one byte changed is read or refused by name", () => {
    fc.assert(fc.property(fc.nat(WIRE.length - 1), fc.nat(255), (at, byte) => {
      const bytes = Uint8Array.from(WIRE);
      bytes[at] = byte;
      try {
        const request = decodeRequest(bytes);
        for (const input of request.inputs) expect(input).toBeInstanceOf(Uint8Array);
      } catch (error) {
        expect(error).toBeInstanceOf(MessageError);
      }
    }), { numRuns: 3000 });
  });
});

describe("msgpack", () => {
  const plain = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof({ depthSize: "small", maxDepth: 6 }, fc.string({ unit: "grapheme" }), fc.double(), fc.maxSafeInteger(), fc.boolean(), fc.constant(null), fc.uint8Array(),
      fc.date({ noInvalidDate: true, min: new Date(0), max: new Date("2200-01-01") }),
      fc.array(tie("value"), { maxLength: 20 }), fc.dictionary(fc.string({ maxLength: 40 }).filter((key) => key !== "__proto__"), tie("value"), { maxKeys: 20, noNullPrototype: true })),
  })).value;

  test("of any shape that the library packs has no fault", () => {
    fc.assert(fc.property(plain, (value) => { expect(msgpackFault(encode(value))).toBeNull(); }), { numRuns: 500 });
  });

  test("that has no fault decodes, or is refused for its keys and timestamps alone", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      if (msgpackFault(bytes) !== null) return;
      try {
        decode(bytes, { useBigInt64: true });
      } catch (error) {
        expect((error as Error).message).toMatch(/key|timestamp/i);
      }
    }), { numRuns: 3000 });
  });

  test.each([
    ["arrays in arrays", Buffer.alloc(MESSAGE_LIMIT_BYTES, 0x91), "nested deeper than 8"],
    ["large arrays in large arrays", Buffer.from(Array.from({ length: 50_000 }, () => [0xdc, 0x40, 0x00]).flat()), "nested deeper than 8"],
    ["an array of four thousand million", Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0]), "it ends too early"],
    ["a map of four thousand million", Buffer.from([0xdf, 0xff, 0xff, 0xff, 0xff, 0xc0]), "it ends too early"],
    ["a string of four gigabytes", Buffer.from([0xdb, 0xff, 0xff, 0xff, 0xff, 0x41]), "it ends too early"],
    ["a binary of four gigabytes", Buffer.from([0xc6, 0xff, 0xff, 0xff, 0xff, 0x41]), "it ends too early"],
    ["an extension of four gigabytes", Buffer.from([0xc9, 0xff, 0xff, 0xff, 0xff, 0x01]), "it ends too early"],
    ["a length cut short", Buffer.from([0xdd, 0xff]), "it ends too early"],
    ["too many values", Buffer.concat([Buffer.from([0xdc, 0x10, 0x01]), Buffer.alloc(0x1001, 0xc0)]), "more than 4096 values"],
    ["a byte that means nothing", Buffer.from([0xc1]), "0xc1"],
    ["nothing", Buffer.alloc(0), "it ends too early"],
  ])("is refused before it is decoded: %s", (_, bytes, reason) => {
    expect(msgpackFault(bytes)).toContain(reason);
  });
});

describe("a reply", () => {
  test("has the shape and the bytes that callers read", () => {
    const bytes = encodeReply({ id: "1", data: encodeOutput(["a.b"]), failure: null, protocolError: null });
    expect([...bytes]).toEqual([
      0x83, ...text("ID"), ...text("1"), ...text("Output"), 0x82, ...text("Data"), 0xc4, 0x04, ...text("a.b"), ...text("Error"), 0xc0, ...text("Error"), 0xc0,
    ]);
  });

  test("tells a method's failure and a protocol's apart", () => {
    expect(decode(encodeReply({ id: 1, data: null, failure: "taken", protocolError: null }))).toEqual({ ID: 1, Output: { Data: null, Error: { Message: "taken" } }, Error: null });
    expect(decode(encodeReply({ id: 1, data: null, failure: null, protocolError: "what?" }))).toEqual({ ID: 1, Output: { Data: null, Error: null }, Error: "what?" });
  });

  test("is bounded, however long the error is", () => {
    expect(encodeReply({ id: 1, data: null, failure: "x".repeat(1_000_000), protocolError: null }).length).toBeLessThan(10_000);
  });

  test("holds nothing, one value, or an array of several", () => {
    expect(encodeOutput([])).toBeNull();
    expect(decode(encodeOutput([["a"]]) as Uint8Array)).toEqual(["a"]);
    expect(decode(encodeOutput(["a", 2]) as Uint8Array)).toEqual(["a", 2]);
  });

  test("keeps counters beyond 32 bits as integers", () => {
    expect([...(encodeOutput([2 ** 40]) as Uint8Array)]).toEqual([0xcf, 0, 0, 1, 0, 0, 0, 0, 0]);
  });
});
