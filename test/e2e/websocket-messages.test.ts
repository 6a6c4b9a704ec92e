// What crosses a session: every message whole, in order, as text or binary as it was, whatever its fragments; and what a
// violation does to either leg.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Pod } from "../support/pod.ts";
import { TestRouter } from "../support/router.ts";
import { type Bridge, clientFrame, type FrameOptions, OP, openBridge, readClose, WsClient } from "../support/ws-client.ts";

const SHIPPED = readFileSync(join(import.meta.dir, "../../routes.yaml"), "utf8");
const LIMIT = 64 * 1024;

let pod: Pod;
let router: TestRouter;
let small: TestRouter;
const open: Bridge[] = [];

beforeAll(async () => {
  pod = new Pod();
  router = await TestRouter.start({ env: pod.env });
  small = await TestRouter.start({ env: pod.env, config: SHIPPED.replace("messageLimit: 64MiB", "messageLimit: 64KiB") });
});
afterEach(async () => {
  for (const { client } of open.splice(0)) client.close();
  await pod.until(() => pod.open.size === 0);
});
afterAll(async () => {
  await router.stop();
  await small.stop();
  pod.stop();
});

async function bridge(through: TestRouter = router): Promise<Bridge> {
  const both = await openBridge(through.port, pod, `/websockify?jwt_token=${through.token()}`);
  both.pod.onFrame = () => {};
  open.push(both);
  return both;
}

const podMessages = ({ pod: end }: Bridge): Array<{ isText: boolean; data: Buffer }> =>
  end.frames.filter(({ opcode }) => opcode <= 2).map(({ opcode, data }) => ({ isText: opcode === OP.text, data }));

async function podEnd({ pod: end }: Bridge): Promise<number | null> {
  await pod.until(() => end.frames.some(({ opcode }) => opcode === OP.close) || end.isClosed);
  const frame = end.frames.find(({ opcode }) => opcode === OP.close);
  return frame === undefined ? null : readClose(frame.data).code;
}

const SIZES = [0, 1, 2, 7, 124, 125, 126, 127, 128, 1000, 65_534, 65_535, 65_536, 65_537, 200_000, 1_000_000, 20_000_000];
const TEXTS = ["", "plain", "\u0000", "\ufeffwith a mark", "ünïcödé", "🙂".repeat(1000), "\u{10ffff}", "a\r\nb\tc", "x".repeat(70_000)];

function bytes(length: number): Buffer {
  const data = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i += 1) data[i] = (i * 31 + (i >> 8)) & 255;
  return data;
}

describe("messages", () => {
  test.each(SIZES)("of %d bytes cross whole, both ways", async (length) => {
    const both = await bridge();
    const data = bytes(length);
    both.client.send(OP.binary, data);
    await pod.until(() => both.pod.frames.length === 1);
    expect(both.pod.frames[0]).toMatchObject({ opcode: OP.binary, masked: true });
    expect(both.pod.frames[0]?.data.equals(data)).toBe(true);
    both.pod.send(OP.binary, data);
    await both.client.until(() => both.client.messages.length === 1);
    expect(both.client.messages[0]?.data.equals(data)).toBe(true);
    expect(both.client.frames[0]).toMatchObject({ masked: false, rsv: 0, opcode: OP.binary });
  });

  test.each(TEXTS.map((text) => [JSON.stringify(text.slice(0, 20)), text]))("of text cross as text, byte for byte: %s", async (_name, text) => {
    const both = await bridge();
    both.client.send(OP.text, text);
    both.pod.send(OP.text, text);
    await pod.until(() => both.pod.frames.length === 1);
    await both.client.until(() => both.client.messages.length === 1);
    expect(podMessages(both)[0]).toEqual({ isText: true, data: Buffer.from(text) });
    expect(both.client.messages[0]).toEqual({ isText: true, data: Buffer.from(text) });
  });

  test("keep their order among thousands, text and binary mixed", async () => {
    const both = await bridge();
    const frames = Array.from({ length: 5000 }, (_, i) => clientFrame(i % 2 === 0 ? OP.text : OP.binary, String(i)));
    both.client.write(Buffer.concat(frames));
    for (let i = 0; i < 5000; i += 1) both.pod.send(i % 2 === 0 ? OP.text : OP.binary, String(i));
    await pod.until(() => both.pod.frames.length === 5000);
    await both.client.until(() => both.client.frames.length === 5000);
    const expected = Array.from({ length: 5000 }, (_, i) => `${i % 2 === 0}${i}`);
    expect(podMessages(both).map(({ isText, data }) => `${isText}${data}`)).toEqual(expected);
    expect(both.client.messages.map(({ isText, data }) => `${isText}${data}`)).toEqual(expected);
  });

  test("in fragments with control frames between them arrive whole", async () => {
    const both = await bridge();
    both.client.send(OP.text, "on", { fin: false });
    both.client.send(OP.ping, "mid");
    both.client.send(OP.continuation, "", { fin: false });
    both.client.send(OP.continuation, "e");
    both.client.send(OP.binary, "two");
    both.pod.send(OP.text, "th", false);
    both.pod.send(OP.ping, "mid");
    both.pod.send(OP.continuation, "r", false);
    both.pod.send(OP.continuation, "ee");
    await pod.until(() => podMessages(both).length === 2 && both.pod.frames.some(({ opcode }) => opcode === OP.pong));
    await both.client.until(() => both.client.messages.length === 1 && both.client.of(OP.pong).length === 1);
    expect(podMessages(both).map(({ data }) => data.toString())).toEqual(["one", "two"]);
    expect(both.client.messages.map(({ data }) => data.toString())).toEqual(["three"]);
  });

  test("in fragments that split a character are still one text", async () => {
    const both = await bridge();
    const euro = Buffer.from("€uro");
    both.client.send(OP.text, euro.subarray(0, 1), { fin: false });
    both.client.send(OP.continuation, euro.subarray(1));
    both.pod.send(OP.text, euro.subarray(0, 2), false);
    both.pod.send(OP.continuation, euro.subarray(2));
    await pod.until(() => both.pod.frames.length === 1);
    await both.client.until(() => both.client.messages.length === 1);
    expect([podMessages(both)[0]?.data.toString(), both.client.messages[0]?.data.toString()]).toEqual(["€uro", "€uro"]);
  });

  test("that come a byte at a time arrive whole", async () => {
    const both = await bridge();
    for (const byte of clientFrame(OP.text, "slowly")) both.client.write(Buffer.from([byte]));
    const frame = Buffer.concat([Buffer.from([0x81, 6]), Buffer.from("slowly")]);
    for (const byte of frame) both.pod.write(Buffer.from([byte]));
    await pod.until(() => both.pod.frames.length === 1);
    await both.client.until(() => both.client.messages.length === 1);
    expect([podMessages(both)[0]?.data.toString(), both.client.messages[0]?.data.toString()]).toEqual(["slowly", "slowly"]);
  });

  test("of VNC, binary, are never compressed for a client that offers it", async () => {
    pod.answer((seen, connection) => { connection.accept(seen); connection.send(OP.binary, Buffer.alloc(5000, 1)); });
    const client = await WsClient.open(router.port, `/websockify?jwt_token=${router.token()}`, { headers: { "Sec-WebSocket-Extensions": "permessage-deflate" } });
    await client.until(() => client.frames.length === 1);
    expect([client.frames[0]?.rsv, client.frames[0]?.data.length]).toEqual([0, 5000]);
    client.close();
  });
});

describe("pings", () => {
  test("of the client are answered with their own payload, without asking the pod", async () => {
    const both = await bridge();
    for (const payload of ["", "x", "p".repeat(125)]) both.client.send(OP.ping, payload);
    await both.client.until(() => both.client.of(OP.pong).length === 3);
    expect(both.client.of(OP.pong).map(({ data }) => data.toString())).toEqual(["", "x", "p".repeat(125)]);
    both.client.send(OP.text, "after");
    await pod.until(() => both.pod.frames.length > 0);
    expect(both.pod.frames.map(({ opcode }) => opcode)).toEqual([OP.text]);
  });

  test("of the pod are answered with their own payload, without asking the client", async () => {
    const both = await bridge();
    for (const payload of ["", "x", "p".repeat(125)]) both.pod.send(OP.ping, payload);
    await pod.until(() => both.pod.frames.length === 3);
    expect(both.pod.frames.map(({ opcode, data }) => [opcode, data.toString()])).toEqual([[OP.pong, ""], [OP.pong, "x"], [OP.pong, "p".repeat(125)]]);
    expect(both.client.frames).toEqual([]);
  });

  test("that nobody asked for, pongs, disturb nobody", async () => {
    const both = await bridge();
    both.client.send(OP.pong, "unasked");
    both.pod.send(OP.pong, "unasked");
    both.client.send(OP.text, "still here");
    await pod.until(() => both.pod.frames.length === 1);
    expect(podMessages(both)[0]?.data.toString()).toBe("still here");
  });
});

describe("the message limit", () => {
  test("lets a message of exactly its size through, both ways", async () => {
    const both = await bridge(small);
    both.client.send(OP.binary, Buffer.alloc(LIMIT, 1));
    both.pod.send(OP.binary, Buffer.alloc(LIMIT, 2));
    await pod.until(() => both.pod.frames.length === 1);
    await both.client.until(() => both.client.messages.length === 1);
    expect([podMessages(both)[0]?.data.length, both.client.messages[0]?.data.length]).toEqual([LIMIT, LIMIT]);
  });

  test.each<[string, (both: Bridge) => void]>([
    ["one byte more", ({ client }) => client.send(OP.binary, Buffer.alloc(LIMIT + 1))],
    ["fragments that add up", ({ client }) => { client.send(OP.binary, Buffer.alloc(LIMIT), { fin: false }); client.send(OP.continuation, "x"); }],
    ["an announced terabyte", ({ client }) => client.send(OP.binary, "", { length: 2 ** 40 })],
  ])("closes the client with 1009, and the pod hears that it went away: %s", async (_name, send) => {
    const both = await bridge(small);
    send(both);
    expect((await both.client.ended())?.code).toBe(1009);
    expect(await podEnd(both)).toBe(1001);
    expect(podMessages(both)).toEqual([]);
    expect(small.lines.at(-1)).toMatchObject({ status: 101, close_code: 1009, reason: "client: Received too big message" });
  });

  test.each<[string, (both: Bridge) => void]>([
    ["one byte more", ({ pod: end }) => end.send(OP.binary, Buffer.alloc(LIMIT + 1))],
    ["fragments that add up", ({ pod: end }) => { end.send(OP.binary, Buffer.alloc(LIMIT), false); end.send(OP.continuation, "x"); }],
    ["an announced exabyte", ({ pod: end }) => end.write(Buffer.from([0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]))],
  ])("closes both with 1009: %s", async (_name, send) => {
    const both = await bridge(small);
    send(both);
    expect(await podEnd(both)).toBe(1009);
    expect((await both.client.ended())?.code).toBe(1009);
    expect(both.client.messages).toEqual([]);
  });
});

describe("a violation", () => {
  const bad = Buffer.from([0x66, 0xff, 0xfe]);
  const CLIENT: Array<[string, (both: Bridge) => void, number]> = [
    ["text that is no UTF-8", ({ client }) => client.send(OP.text, bad), 1007],
    ["an overlong encoding", ({ client }) => client.send(OP.text, Buffer.from([0xc0, 0x80])), 1007],
    ["a surrogate", ({ client }) => client.send(OP.text, Buffer.from([0xed, 0xa0, 0x80])), 1007],
    ...[1, 2, 4].map((rsv): [string, (both: Bridge) => void, number] => [`reserved bit ${rsv}`, ({ client }) => client.send(OP.text, "x", { rsv }), 1002]),
    ...[3, 7, 11, 15].map((opcode): [string, (both: Bridge) => void, number] => [`opcode ${opcode}`, ({ client }) => client.send(opcode, ""), 1002]),
    ["a long ping", ({ client }) => client.send(OP.ping, "x".repeat(126)), 1002],
    ["a fragmented ping", ({ client }) => client.send(OP.ping, "x", { fin: false }), 1002],
    ["a continuation of nothing", ({ client }) => client.send(OP.continuation, "x"), 1002],
    ["a message within a message", ({ client }) => { client.send(OP.text, "x", { fin: false }); client.send(OP.text, "y"); }, 1002],
    ["an unmasked frame", ({ client }) => client.send(OP.text, "x", { mask: false } satisfies FrameOptions), 1002],
  ];
  test.each(CLIENT)("of the client ends the session and never reaches the pod: %s", async (_name, violate, code) => {
    const both = await bridge();
    violate(both);
    const closing = await both.client.ended();
    // Bun drops some of them without a close frame, which RFC 6455 section 7.1.7 allows.
    if (closing !== null) expect(closing.code).toBe(code);
    expect(await podEnd(both)).toBe(1001);
    expect(podMessages(both)).toEqual([]);
    expect(router.lines.at(-1)).toMatchObject({ status: 101, close_code: code, reason: expect.stringMatching(/^client: Received ./) });
  });

  const POD: Array<[string, (both: Bridge) => void, number]> = [
    ["text that is no UTF-8", ({ pod: end }) => end.send(OP.text, bad), 1007],
    ["text that stops within a character", ({ pod: end }) => end.send(OP.text, Buffer.from([0xe2, 0x82])), 1007],
    ...[0x10, 0x20, 0x40].map((bit): [string, (both: Bridge) => void, number] => [`reserved bit 0x${bit.toString(16)}`, ({ pod: end }) => end.write(Buffer.from([0x81 | bit, 0])), 1002]),
    ...[3, 7, 11, 15].map((opcode): [string, (both: Bridge) => void, number] => [`opcode ${opcode}`, ({ pod: end }) => end.send(opcode, ""), 1002]),
    ["a masked frame", ({ pod: end }) => end.write(clientFrame(OP.text, "x")), 1002],
    ["a long ping", ({ pod: end }) => end.send(OP.ping, "x".repeat(126)), 1002],
    ["a fragmented ping", ({ pod: end }) => end.send(OP.ping, "x", false), 1002],
    ["a continuation of nothing", ({ pod: end }) => end.send(OP.continuation, "x"), 1002],
    ["a message within a message", ({ pod: end }) => { end.send(OP.text, "x", false); end.send(OP.text, "y"); }, 1002],
  ];
  test.each(POD)("of the pod is answered with its code, and the client hears 1011: %s", async (_name, violate, code) => {
    const both = await bridge();
    both.pod.send(OP.text, "good");
    violate(both);
    expect(await podEnd(both)).toBe(code);
    expect((await both.client.ended())?.code).toBe(1011);
    expect(both.client.messages.map(({ data }) => data.toString())).toEqual(["good"]);
    expect(router.lines.at(-1)).toMatchObject({ status: 101, close_code: 1011, reason: expect.any(String) });
  });
});
