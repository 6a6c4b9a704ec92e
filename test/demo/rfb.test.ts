import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Picture } from "../../src/demo/picture.ts";
import { CUT_TEXT_LIMIT_BYTES, ENCODING_LIMIT } from "../../src/demo/rfb/client-message.ts";
import { RfbConnection } from "../../src/demo/rfb/connection.ts";
import { keyOf } from "../../src/demo/rfb/keysym.ts";
import { NATIVE_FORMAT, type PixelFormat, readPixelFormat, writePixelFormat } from "../../src/demo/rfb/pixel-format.ts";
import { RfbError } from "../../src/demo/rfb/reading.ts";
import { Tiles } from "../../src/demo/tiles.ts";
import { HANDSHAKE, RfbClient, say } from "./rfb-client.ts";

const RGB565: PixelFormat = {
  bitsPerPixel: 16, depth: 16, isBigEndian: false,
  red: { max: 31, shift: 11 }, green: { max: 63, shift: 5 }, blue: { max: 31, shift: 0 },
};
const RGB332: PixelFormat = {
  bitsPerPixel: 8, depth: 8, isBigEndian: false,
  red: { max: 7, shift: 5 }, green: { max: 7, shift: 2 }, blue: { max: 3, shift: 0 },
};
/** What noVNC asks for. */
const NOVNC: PixelFormat = {
  ...NATIVE_FORMAT, red: { max: 255, shift: 0 }, green: { max: 255, shift: 8 }, blue: { max: 255, shift: 16 },
};
const bigEndian = (format: PixelFormat): PixelFormat => ({ ...format, isBigEndian: true });

/** A screen of 3 x 2 tiles of 16 x 10, a client of it, and all that happened. */
function start(bytes: Uint8Array = HANDSHAKE) {
  const picture = new Picture(48, 20);
  const tiles = new Tiles(picture, 16, 10);
  const happened: unknown[] = [];
  const sent: Uint8Array[] = [];
  const client = new RfbClient();
  const peer = { isBusy: false };
  const connection = new RfbConnection({
    name: "tiny", width: 48, height: 20, tiles,
    key: (keysym, isDown) => happened.push(["key", keysym, isDown]),
    pointer: (x, y, buttons) => happened.push(["pointer", x, y, buttons]),
    cutText: (text) => happened.push(["cutText", text]),
  }, {
    send: (piece) => { sent.push(piece); client.receive(piece); },
    isBusy: () => peer.isBusy,
  });
  connection.receive(bytes);
  /** Paints, and lets the client know. */
  const change = (...where: [number, number][]) => {
    for (const [x, y] of where) picture.blend(x, y, [200, 100, 50], 1);
    tiles.look(picture);
    connection.update();
  };
  const output = () => Buffer.concat(sent);
  return { connection, client, picture, peer, happened, change, output };
}

describe("RFB handshake", () => {
  test("goes from the version over no security to the screen's size, format and name", () => {
    const { client, output } = start();
    expect(output().subarray(0, 18).toString("latin1")).toBe("RFB 003.008\n\x01\x01\0\0\0\0");
    expect(client.screen).toEqual({ width: 48, height: 20, name: "tiny", format: NATIVE_FORMAT });
  });

  test("says its version before the client says anything, and nothing else", () => {
    expect(start(Buffer.alloc(0)).output().toString()).toBe("RFB 003.008\n");
  });

  test("does not depend on how the bytes are cut", () => {
    const { client, connection } = start(Buffer.alloc(0));
    for (const byte of HANDSHAKE) connection.receive(Buffer.from([byte]));
    expect(client.screen?.name).toBe("tiny");
  });

  test.each(["RFB 003.003\n", "RFB 004.000\n", "RFB 003.008\r", "GET / HTTP/1"])("refuses the version %j", (version) => {
    expect(() => start(Buffer.from(version))).toThrow(RfbError);
  });

  test("refuses a security type that was not offered, and says so first", () => {
    const { connection, output } = start(Buffer.from("RFB 003.008\n"));
    expect(() => connection.receive(Buffer.from([2]))).toThrow("unknown security type 2");
    const result = output().subarray(14);
    expect(result.readUInt32BE(0)).toBe(1);
    expect(result.subarray(8).toString()).toBe("that security type was not offered");
    expect(result.readUInt32BE(4)).toBe(result.length - 8);
  });
});

describe("RFB pixel formats", () => {
  test.each([
    ["32 bits", NATIVE_FORMAT], ["32 bits, big-endian", bigEndian(NATIVE_FORMAT)], ["noVNC's", NOVNC],
    ["16 bits", RGB565], ["16 bits, big-endian", bigEndian(RGB565)], ["8 bits", RGB332], ["8 bits, big-endian", bigEndian(RGB332)],
  ] as const)("sends pixels as the client asked: %s", (_name, format) => {
    const { connection, client, picture, change } = start();
    picture.rectangle(0, 0, 48, 20, [255, 0, 128]);
    change([47, 19]);
    client.expect(format);
    connection.receive(Buffer.concat([say.setPixelFormat(format), say.request(false)]));
    const inFormat = (color: readonly number[]) =>
      [format.red, format.green, format.blue].map(({ max }, index) => Math.round((color[index]! * max) / 255));
    expect(client.colorAt(0, 0) as readonly number[]).toEqual(inFormat([255, 0, 128]));
    expect(client.colorAt(47, 19) as readonly number[]).toEqual(inFormat([200, 100, 50]));
  });

  test("puts the bytes of a pixel in the order that the standard names", () => {
    const { connection, output, picture, change } = start();
    picture.rectangle(0, 0, 48, 20, [0x11, 0x22, 0x33]);
    change([47, 19]);
    connection.receive(say.request(false));
    expect([...output().subarray(-48 * 10 * 4).subarray(0, 4)]).toEqual([0x33, 0x22, 0x11, 0]);
  });

  test("reads back what it writes", () => {
    for (const format of [NATIVE_FORMAT, NOVNC, RGB565, RGB332, bigEndian(RGB565)]) {
      expect(readPixelFormat(writePixelFormat(format))).toEqual(format);
    }
  });

  test.each([
    ["a colour map", { at: 3, byte: 0 }, "no colour maps"],
    ["24 bits", { at: 0, byte: 24 }, "no pixels of 24 bits"],
    ["no bits", { at: 0, byte: 0 }, "no pixels of 0 bits"],
    ["a colour with no values", { at: 5, byte: 0 }, "a maximum of 0"],
    ["a maximum that is no power of two less one", { at: 7, byte: 100 }, "a maximum of 100"],
    ["a colour beyond its pixel", { at: 10, byte: 25 }, "leaves a pixel of 32"],
    ["a shift of 255", { at: 12, byte: 255 }, "leaves a pixel of 32"],
  ])("refuses %s", (_name, { at, byte }, message) => {
    const bytes = say.setPixelFormat(NATIVE_FORMAT);
    bytes[4 + at] = byte;
    expect(() => start().connection.receive(bytes)).toThrow(message);
  });
});

describe("RFB updates", () => {
  test("a first request brings the whole screen, rows of tiles as one rectangle each", () => {
    const { connection, client } = start();
    connection.receive(say.request(false));
    expect(client.updates).toEqual([[{ x: 0, y: 0, width: 48, height: 10 }, { x: 0, y: 10, width: 48, height: 10 }]]);
    expect(client.isAtEnd).toBe(true);
  });

  test("an incremental request waits until something changed, and brings only that", () => {
    const { connection, client, change } = start();
    connection.receive(Buffer.concat([say.request(false), say.request(true)]));
    change();
    expect(client.updates.length).toBe(1);
    change([20, 3], [40, 15]);
    expect(client.updates[1]).toEqual([{ x: 16, y: 0, width: 16, height: 10 }, { x: 32, y: 10, width: 16, height: 10 }]);
    expect(client.colorAt(20, 3)).toEqual([200, 100, 50]);
    change([0, 0]);
    expect(client.updates.length).toBe(2);
  });

  test("a change before the request is not lost", () => {
    const { connection, client, change } = start();
    connection.receive(say.request(false));
    change([0, 0]);
    connection.receive(say.request(true));
    expect(client.updates[1]).toEqual([{ x: 0, y: 0, width: 16, height: 10 }]);
  });

  test("a request for a part brings that part's tiles, and the rest stays new", () => {
    const { connection, client, change } = start();
    connection.receive(Buffer.concat([say.request(false), say.request(true, 17, 1, 1, 1)]));
    change([0, 0], [20, 3]);
    expect(client.updates[1]).toEqual([{ x: 16, y: 0, width: 16, height: 10 }]);
    connection.receive(say.request(true));
    expect(client.updates[2]).toEqual([{ x: 0, y: 0, width: 16, height: 10 }]);
  });

  test("several requests that wait get one answer", () => {
    const { connection, client, change } = start();
    connection.receive(Buffer.concat([say.request(false), say.request(true, 0, 0, 1, 1), say.request(true, 47, 19, 1, 1)]));
    change([0, 0], [47, 19]);
    change([0, 1], [47, 18]);
    expect(client.updates.slice(1)).toEqual([[{ x: 0, y: 0, width: 16, height: 10 }, { x: 32, y: 10, width: 16, height: 10 }]]);
  });

  test.each([[48, 0, 1, 1], [0, 20, 1, 1], [65_535, 65_535, 65_535, 65_535], [0, 0, 0, 5]])(
    "ignores a request for what is not on the screen: %d, %d, %d x %d", (x, y, width, height) => {
      const { connection, client, change } = start();
      connection.receive(say.request(false, x, y, width, height));
      change([0, 0]);
      expect(client.updates).toEqual([]);
    });

  test("a client that has not taken the last update waits for the next, however often it asks", () => {
    const { connection, client, peer, change } = start();
    peer.isBusy = true;
    for (let count = 0; count < 1000; count++) connection.receive(say.request(false));
    change([0, 0]);
    expect(client.updates).toEqual([]);
    peer.isBusy = false;
    connection.update();
    expect(client.updates.length).toBe(1);
  });
});

describe("RFB input", () => {
  test("keys, the pointer and the clipboard reach the machine", () => {
    const { connection, happened } = start();
    connection.receive(Buffer.concat([
      say.setEncodings(0, 1, -239, -223), say.key(0x61), say.key(0x61, false), say.pointer(7, 8, 1), say.cutText("h\xe4"),
    ]));
    expect(happened).toEqual([["key", 0x61, true], ["key", 0x61, false], ["pointer", 7, 8, 1], ["cutText", "hä"]]);
  });

  test("a pointer beyond the screen is at its edge", () => {
    const { connection, happened } = start();
    connection.receive(say.pointer(65_535, 20));
    expect(happened).toEqual([["pointer", 47, 19, 0]]);
  });

  test("the machine's clipboard goes out in Latin-1, and not before the client can read it", () => {
    const early = start(Buffer.alloc(0));
    early.connection.sendCutText("too early");
    expect(early.output().toString()).toBe("RFB 003.008\n");
    const { connection, client } = start();
    connection.sendCutText("grün, 5 €, 🎈");
    expect(client.cutTexts).toEqual(["grün, 5 ?, ?"]);
  });

  test("a clipboard and a list of encodings may be as long as the limits, and no longer", () => {
    const { connection, happened } = start();
    connection.receive(say.cutText("x".repeat(CUT_TEXT_LIMIT_BYTES)));
    connection.receive(say.setEncodings(...Array.from({ length: ENCODING_LIMIT }, (_, index) => index)));
    expect(happened.length).toBe(1);
    // The length alone is enough: nothing of it is waited for.
    expect(() => connection.receive(say.cutText("", CUT_TEXT_LIMIT_BYTES + 1))).toThrow("at most 65536");
    const encodings = say.setEncodings(...Array.from({ length: ENCODING_LIMIT + 1 }, (_, index) => index));
    expect(() => start().connection.receive(encodings.subarray(0, 4))).toThrow("at most 256");
  });

  test("an extended clipboard, which has a negative length, is refused", () => {
    expect(() => start().connection.receive(say.cutText("", -4))).toThrow(RfbError);
  });

  test.each([1, 7, 150, 248, 255])("refuses the unknown message %d", (type) => {
    expect(() => start().connection.receive(Buffer.from([type]))).toThrow(`unknown message ${type}`);
  });

  test("after a refusal nothing is read any more", () => {
    const { connection, happened } = start();
    expect(() => connection.receive(Buffer.from([99]))).toThrow(RfbError);
    expect(() => connection.receive(say.key(0x61))).toThrow(RfbError);
    expect(happened).toEqual([]);
  });

  const message = fc.oneof(
    fc.tuple(fc.nat(0x1ff_ffff), fc.boolean()).map(([keysym, isDown]) => say.key(keysym, isDown)),
    fc.tuple(fc.nat(65_535), fc.nat(65_535), fc.nat(255)).map(([x, y, buttons]) => say.pointer(x, y, buttons)),
    fc.tuple(fc.boolean(), fc.nat(60), fc.nat(60), fc.nat(65_535), fc.nat(65_535)).map((request) => say.request(...request)),
    fc.array(fc.integer({ min: -400, max: 400 }), { maxLength: 20 }).map((encodings) => say.setEncodings(...encodings)),
    fc.string({ maxLength: 50 }).map((text) => say.cutText(text)),
  );

  test("whatever the messages and however they are cut, the same happens", () => {
    fc.assert(fc.property(fc.array(message, { maxLength: 12 }), fc.array(fc.nat(40), { maxLength: 30 }), (messages, cuts) => {
      const bytes = Buffer.concat(messages);
      const whole = start();
      whole.connection.receive(bytes);
      const pieces = start();
      let at = 0;
      for (const cut of cuts) pieces.connection.receive(bytes.subarray(at, (at += cut)));
      pieces.connection.receive(bytes.subarray(at));
      expect(pieces.happened).toEqual(whole.happened);
      expect(pieces.output()).toEqual(whole.output());
      expect(pieces.client.isAtEnd).toBe(true);
    }), { numRuns: 200 });
  });

  test("whatever bytes come, they are read or refused, and nothing else goes wrong", () => {
    const hostile = fc.oneof(fc.uint8Array({ maxLength: 200 }), message.map((bytes) => new Uint8Array(bytes)),
      fc.tuple(message, fc.nat(63), fc.nat(255)).map(([bytes, at, byte]) => bytes.with(at % bytes.length, byte)));
    fc.assert(fc.property(fc.boolean(), fc.array(hostile, { maxLength: 8 }), (isReady, pieces) => {
      const { connection, client } = start(isReady ? HANDSHAKE : Buffer.alloc(0));
      try {
        for (const piece of pieces) connection.receive(piece);
      } catch (error) {
        expect(error).toBeInstanceOf(RfbError);
      }
      if (isReady) expect(client.isAtEnd).toBe(true);
    }), { numRuns: 500 });
  });
});

describe("keysyms", () => {
  test.each([
    [0x61, "a"], [0x20, " "], [0x7e, "~"], [0xe4, "ä"], [0x0100_20ac, "€"], [0xffb7, "7"], [0xffab, "+"],
    [0xff0d, "Enter"], [0xff8d, "Enter"], [0xff08, "Backspace"], [0xffe4, "Control"],
  ])("%d is %j", (keysym, key) => {
    expect(keyOf(keysym)).toBe(key);
  });

  test.each([0, 0x1f, 0x7f, 0xffe1, 0xffff, 0x0100_0041, 0x0111_0000, 0xffff_ffff])("%d is no character", (keysym) => {
    expect(keyOf(keysym)).toBeNull();
  });
});
