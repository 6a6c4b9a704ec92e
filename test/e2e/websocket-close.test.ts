// How sessions end, as each side sees it on the wire: codes and reasons cross both ways, 1005, 1006 and 1015 are never
// written, and whoever vanishes takes the other side along within a second.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { Pod } from "../support/pod.ts";
import { TestRouter } from "../support/router.ts";
import { type Bridge, clientFrame, closeData, OP, openBridge, readClose } from "../support/ws-client.ts";

let pod: Pod;
let router: TestRouter;
const open: Bridge[] = [];

beforeAll(async () => {
  pod = new Pod();
  router = await TestRouter.start({ env: pod.env });
});
afterEach(async () => {
  for (const { client } of open.splice(0)) client.close();
  await pod.until(() => pod.open.size === 0 && router.app.counts.sessions === 0);
});
afterAll(async () => {
  await router.stop();
  pod.stop();
});

async function bridge(): Promise<Bridge> {
  const both = await openBridge(router.port, pod, `/websockify?jwt_token=${router.token()}`);
  // The pod's end answers nothing by itself: each test sees what the router does.
  both.pod.onFrame = () => {};
  open.push(both);
  return both;
}

/** The close frame that the pod's end got, once it did. */
async function podClosing({ pod: end }: Bridge): Promise<{ code: number | null; reason: string }> {
  await pod.until(() => end.frames.some(({ opcode }) => opcode === OP.close) || end.isClosed);
  const frame = end.frames.find(({ opcode }) => opcode === OP.close);
  if (frame === undefined) throw new Error("the pod's connection ended without a close frame");
  expect(frame.masked).toBe(true);
  return readClose(frame.data);
}

const LONG = "r".repeat(123);
const CLOSINGS: Array<[number | null, string]> = [
  [1000, ""], [1000, "bye"], [1001, "going away"], [1002, ""], [1003, "no binary"], [1007, ""], [1008, "policy"], [1009, ""], [1010, ""],
  [1011, "oops"], [1012, "restart"], [1013, "later"], [1014, ""], [3000, "registered"], [3999, ""], [4000, "private"], [4999, LONG],
  [4001, "ünïcödé → 🙂"], [1000, `${"é".repeat(61)}x`], [null, ""],
];

describe("a close frame", () => {
  test("behind a bulk of messages in one write comes after all of them, and so does a violation's", async () => {
    const both = await bridge();
    const frames = (count: number): Buffer => Buffer.concat(Array.from({ length: count }, () => Buffer.concat([Buffer.from([0x82, 126, 0x40, 0x00]), Buffer.alloc(0x4000, 7)])));
    const farewell = closeData(4001, "done");
    both.pod.write(Buffer.concat([frames(20), Buffer.from([0x88, farewell.length]), farewell]));
    expect(await both.client.ended()).toEqual({ code: 4001, reason: "done" });
    expect(both.client.dataBytes).toBe(20 * 0x4000);

    const other = await bridge();
    // Reserved bits: RFC 6455 section 5.2.
    other.pod.write(Buffer.concat([frames(20), Buffer.from([0xf2, 0])]));
    expect(await other.client.ended()).toMatchObject({ code: 1011 });
    expect(other.client.dataBytes).toBe(20 * 0x4000);
  });

  test.each(CLOSINGS)("of the pod with %p %p reaches the client as it is", async (code, reason) => {
    const both = await bridge();
    both.pod.send(OP.close, closeData(code, reason));
    expect(await both.client.ended()).toEqual({ code, reason });
    // The answer that the pod is owed (RFC 6455 section 5.5.1), with its own code.
    expect((await podClosing(both)).code).toBe(code);
    both.client.sendClose(code);
    await both.client.until(() => both.client.isClosed);
  });

  test.each(CLOSINGS)("of the client with %p %p reaches the pod as it is", async (code, reason) => {
    const both = await bridge();
    both.client.sendClose(code, reason);
    expect(await podClosing(both)).toEqual({ code, reason });
    expect((await both.client.ended())?.code ?? null).toBe(code);
    await both.client.until(() => both.client.isClosed);
  });

  test("is the last frame: what the pod sends after it goes nowhere", async () => {
    const both = await bridge();
    both.pod.send(OP.text, "before");
    both.pod.send(OP.close, closeData(4000));
    both.pod.send(OP.text, "after");
    both.pod.send(OP.close, closeData(4001));
    expect(await both.client.ended()).toEqual({ code: 4000, reason: "" });
    expect(both.client.messages.map(({ data }) => data.toString())).toEqual(["before"]);
    expect(both.client.of(OP.close).length).toBe(1);
  });

  test.each([["pod", 0], ["pod", 999], ["pod", 1004], ["pod", 1005], ["pod", 1006], ["pod", 1015], ["pod", 1016], ["pod", 2999], ["pod", 5000], ["pod", 65535]] as const)(
    "of the %s with the forbidden code %d is answered with 1002 and becomes 1011 for the client", async (_side, code) => {
      const both = await bridge();
      both.pod.send(OP.close, closeData(code));
      expect(await both.client.ended()).toEqual({ code: 1011, reason: "" });
      expect((await podClosing(both)).code).toBe(1002);
    });

  test.each([0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535])(
    "of the client with the forbidden code %d never puts that code on the pod's wire", async (code) => {
      const both = await bridge();
      both.client.sendClose(code);
      const seen = (await podClosing(both)).code;
      expect(seen).not.toBe(code);
      expect([null, 1001, 1002]).toContain(seen);
      await both.client.until(() => both.client.isClosed);
    });

  test("with a reason that is no UTF-8 is answered with 1007", async () => {
    const both = await bridge();
    both.pod.send(OP.close, Buffer.concat([closeData(1000), Buffer.from([0xff, 0xfe])]));
    expect((await podClosing(both)).code).toBe(1007);
    expect(await both.client.ended()).toEqual({ code: 1011, reason: "" });
  });

  test("of one byte is answered with 1002", async () => {
    const both = await bridge();
    both.pod.send(OP.close, Buffer.from([3]));
    expect((await podClosing(both)).code).toBe(1002);
  });

  test("of both sides at once ends the session once", async () => {
    const lines = router.lines.length;
    const both = await bridge();
    both.pod.send(OP.close, closeData(4000, "pod"));
    both.client.sendClose(4001, "client");
    await both.client.until(() => both.client.isClosed);
    await pod.until(() => pod.open.size === 0);
    expect(router.lines.slice(lines).filter(({ status }) => status === 101).length).toBe(1);
  });
});

describe("a side that vanishes", () => {
  const ends: Array<[string, (both: Bridge) => void]> = [
    ["with a reset", ({ pod: end }) => end.cut()], ["with a FIN and no close frame", ({ pod: end }) => end.close()],
    ["in the middle of a frame", ({ pod: end }) => { end.write(Buffer.from([0x82, 126, 0xff, 0xff, 1, 2, 3])); end.close(); }],
    ["in the middle of a message", ({ pod: end }) => { end.send(OP.text, "half", false); end.close(); }],
  ];
  test.each(ends)("is the pod, %s: the client hears 1011 within a second", async (_name, end) => {
    const both = await bridge();
    const started = performance.now();
    end(both);
    expect(await both.client.ended()).toEqual({ code: 1011, reason: "" });
    expect(performance.now() - started).toBeLessThan(1000);
    expect(both.client.messages).toEqual([]);
    await both.client.until(() => { both.client.sendClose(1011); return both.client.isClosed; });
  });

  const leaves: Array<[string, (both: Bridge) => void]> = [
    ["with a reset", ({ client }) => client.cut()], ["with a FIN and no close frame", ({ client }) => client.close()],
    ["in the middle of a frame", ({ client }) => { client.write(Buffer.from([0x82, 0xfe, 0xff, 0xff, 1, 2, 3])); client.socket.end(); }],
  ];
  test.each(leaves)("is the client, %s: the pod hears 1001 within a second", async (_name, leave) => {
    const both = await bridge();
    const started = performance.now();
    leave(both);
    expect(await podClosing(both)).toEqual({ code: 1001, reason: "" });
    expect(performance.now() - started).toBeLessThan(1000);
  });

  test("after its own close frame is no surprise to anybody", async () => {
    const both = await bridge();
    both.client.sendClose(1000, "bye");
    both.client.cut();
    expect(await podClosing(both)).toEqual({ code: 1000, reason: "bye" });
  });
});

describe("a side that does not take its leave", () => {
  test("is cut when it is a pod that ignores the close frame", async () => {
    const both = await bridge();
    both.pod.socket.pause();
    both.client.sendClose(1000);
    await both.client.until(() => both.client.isClosed);
    both.pod.socket.resume();
    await pod.until(() => pod.open.size === 0, 4000);
  });

  test("is cut when it is a client that ignores the close frame and keeps its connection", async () => {
    const both = await bridge();
    both.pod.send(OP.close, closeData(1000));
    await both.client.ended();
    // Bun's own limit, four to eight seconds: the test stays, in case that goes away.
    await both.client.until(() => both.client.isClosed, 12_000);
  }, 15_000);
});

describe("bytes before a close", () => {
  const BIG = Buffer.alloc(3_000_000, 7);

  test("of a client all reach a pod that was slow to read them", async () => {
    const both = await bridge();
    both.pod.socket.pause();
    for (let i = 0; i < 10; i += 1) both.client.send(OP.binary, BIG);
    both.client.sendClose(4002, "done");
    setTimeout(() => both.pod.socket.resume(), 200);
    expect(await podClosing(both)).toEqual({ code: 4002, reason: "done" });
    expect(both.pod.frames.filter(({ opcode }) => opcode === OP.binary).map(({ data }) => data.length)).toEqual(Array.from({ length: 10 }, () => BIG.length));
  });

  test("of a client reach a slow pod, close included, when one message and the close come in one piece", async () => {
    const both = await bridge();
    both.pod.socket.pause();
    both.client.write(Buffer.concat([clientFrame(OP.binary, Buffer.alloc(20_000_000, 7)), clientFrame(OP.close, closeData(1000, "end"))]));
    setTimeout(() => both.pod.socket.resume(), 300);
    expect(await podClosing(both)).toEqual({ code: 1000, reason: "end" });
    expect(both.pod.frames[0]?.data.length).toBe(20_000_000);
  });

  test("of a pod all reach a client that was slow to read them", async () => {
    const both = await bridge();
    both.client.socket.pause();
    for (let i = 0; i < 10; i += 1) both.pod.send(OP.binary, BIG);
    both.pod.send(OP.close, closeData(4003, "done"));
    setTimeout(() => both.client.socket.resume(), 200);
    expect(await both.client.ended()).toEqual({ code: 4003, reason: "done" });
    expect(both.client.dataBytes).toBe(10 * BIG.length);
  });
});

test("the access line of a session has its bytes, its duration and what ended it", async () => {
  const both = await bridge();
  both.client.send(OP.text, "12345");
  await pod.until(() => both.pod.frames.length === 1);
  both.pod.send(OP.text, "123");
  await both.client.until(() => both.client.messages.length === 1);
  both.client.sendClose(1000);
  await both.client.until(() => both.client.isClosed);
  const line = router.lines.at(-1);
  expect(line).toMatchObject({ status: 101, bytes_in: 5, bytes_out: 3, route: "/websockify", service: "vnc", close_code: 1000 });
  expect(line?.["reason"]).toBeUndefined();
});

test.each<[string, (both: Bridge) => void, number]>([
  ["a client that says why it leaves", ({ client }) => client.sendClose(4001, "bye"), 4001],
  ["a client that does not", ({ client }) => client.sendClose(null), 1005],
  ["a client that vanishes", ({ client }) => client.cut(), 1006],
  ["a pod that says why it leaves", ({ pod: end }) => end.send(OP.close, closeData(4002, "bye")), 4002],
  ["a pod that vanishes", ({ pod: end }) => end.cut(), 1011],
])("the access line of a session has the code that closed it: %s", async (_who, leave, code) => {
  const both = await bridge();
  leave(both);
  await pod.until(() => router.app.counts.sessions === 0);
  expect(router.lines.at(-1)).toMatchObject({ status: 101, close_code: code });
});
