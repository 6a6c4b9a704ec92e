// Who lives and who does not: pings on both legs at shortened settings. A silent end is closed, a still or a busy one is not.
// Times are lower bounds or generous: the order of events decides, not the clock.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Pod } from "../support/pod.ts";
import { TestRouter } from "../support/router.ts";
import { type Bridge, clientFrame, OP, openBridge, readClose } from "../support/ws-client.ts";

const SHIPPED = readFileSync(join(import.meta.dir, "../../routes.yaml"), "utf8");
const INTERVAL_MS = 150;

let pod: Pod;
let router: TestRouter;
let idle: TestRouter;
const open: Bridge[] = [];

beforeAll(async () => {
  pod = new Pod();
  const pinging = SHIPPED.replace("pingInterval: 30s", `pingInterval: ${INTERVAL_MS}ms`);
  router = await TestRouter.start({ env: pod.env, config: pinging });
  idle = await TestRouter.start({ env: pod.env, config: pinging.replaceAll("idleTimeout: 1800s", "idleTimeout: 600ms") });
});
afterEach(async () => {
  for (const { client } of open.splice(0)) client.close();
  await pod.until(() => pod.open.size === 0);
});
afterAll(async () => {
  await router.stop();
  await idle.stop();
  pod.stop();
});

/** @param alive which ends answer pings */
async function bridge(alive: { client: boolean; pod: boolean }, through: TestRouter = router, path = "/websockify"): Promise<Bridge> {
  const both = await openBridge(through.port, pod, `${path}?jwt_token=${through.token()}`);
  both.pod.onFrame = (opcode, data) => { if (alive.pod && opcode === OP.ping) both.pod.send(OP.pong, data); };
  both.client.onFrame = ({ opcode, data }) => { if (alive.client && opcode === OP.ping) both.client.send(OP.pong, data); };
  open.push(both);
  return both;
}

const podPings = ({ pod: end }: Bridge): number => end.frames.filter(({ opcode }) => opcode === OP.ping).length;
const podCode = ({ pod: end }: Bridge): number | null | undefined => {
  const frame = end.frames.find(({ opcode }) => opcode === OP.close);
  return frame === undefined ? undefined : readClose(frame.data).code;
};
const lastReason = (through: TestRouter): unknown => through.lines.filter(({ status }) => status === 101).at(-1)?.["reason"];

describe("keep-alive", () => {
  test("pings both ends, masked to the pod and unmasked to the client, and keeps a still session open", async () => {
    const both = await bridge({ client: true, pod: true });
    await pod.until(() => podPings(both) >= 8);
    await both.client.until(() => both.client.of(OP.ping).length >= 8);
    expect(both.pod.frames.every(({ masked }) => masked)).toBe(true);
    expect(both.client.frames.some(({ masked }) => masked)).toBe(false);
    expect([both.client.isClosed, both.client.closing, podCode(both)]).toEqual([false, null, undefined]);
    both.client.send(OP.text, "alive");
    await pod.until(() => both.pod.frames.some(({ opcode }) => opcode === OP.text));
  });

  test("closes a client that misses two pongs, and tells the pod that it went away", async () => {
    const both = await bridge({ client: false, pod: true });
    await both.client.until(() => both.client.isClosed);
    expect(both.client.of(OP.ping).length).toBe(2);
    await pod.until(() => podCode(both) !== undefined);
    expect(podCode(both)).toBe(1001);
    expect(lastReason(router)).toBe("client silent");
  });

  test("closes a pod that misses two pongs, and tells the client with 1011", async () => {
    const both = await bridge({ client: true, pod: false });
    expect((await both.client.ended())?.code).toBe(1011);
    expect(podPings(both)).toBe(2);
    expect(lastReason(router)).toBe("upstream silent");
  });

  test("spares a client that sends data and no pongs", async () => {
    const both = await bridge({ client: false, pod: true });
    both.client.onFrame = ({ opcode }) => { if (opcode === OP.ping) both.client.send(OP.text, "busy"); };
    await both.client.until(() => both.client.of(OP.ping).length >= 6);
    expect(both.client.closing).toBeNull();
  });

  test("spares a client that sends pings of its own and no pongs", async () => {
    const both = await bridge({ client: false, pod: true });
    both.client.onFrame = ({ opcode }) => { if (opcode === OP.ping) both.client.send(OP.ping, "busy"); };
    await both.client.until(() => both.client.of(OP.ping).length >= 6);
    expect(both.client.closing).toBeNull();
  });

  test("spares a pod that sends data and no pongs", async () => {
    const both = await bridge({ client: true, pod: false });
    both.pod.onFrame = (opcode) => { if (opcode === OP.ping) both.pod.send(OP.binary, "busy"); };
    await both.client.until(() => both.client.of(OP.ping).length >= 6);
    expect(both.client.closing).toBeNull();
  });

  test("spares a pod in the middle of one long message", async () => {
    const both = await bridge({ client: true, pod: false });
    both.pod.write(Buffer.from([0x82, 126, 0x03, 0xe8]));
    both.pod.onFrame = (opcode) => { if (opcode === OP.ping) both.pod.write(Buffer.from([1])); };
    await both.client.until(() => both.client.of(OP.ping).length >= 6);
    both.pod.write(Buffer.alloc(1000 - podPings(both), 1));
    await both.client.until(() => both.client.messages.length === 1);
    expect(both.client.messages[0]?.data.length).toBe(1000);
  });

  test("closes a pod that stopped reading while the client still sends", async () => {
    const both = await bridge({ client: true, pod: false });
    both.pod.socket.pause();
    const frame = clientFrame(OP.binary, Buffer.alloc(1_000_000));
    for (let i = 0; i < 20; i += 1) both.client.write(frame);
    expect((await both.client.ended(8000))?.code).toBe(1011);
    both.pod.socket.resume();
    expect(lastReason(router)).toBe("upstream silent");
  });

  test("closes a session whose ends both stopped reading, with much on its way between them", async () => {
    const both = await bridge({ client: false, pod: false });
    both.pod.socket.pause();
    both.client.socket.pause();
    const frame = clientFrame(OP.binary, Buffer.alloc(1_000_000));
    for (let i = 0; i < 20; i += 1) { both.client.write(frame); both.pod.send(OP.binary, Buffer.alloc(1_000_000)); }
    await pod.until(() => router.app.counts.sessions === 0);
    both.pod.socket.resume();
    both.client.socket.resume();
    await both.client.until(() => both.client.isClosed);
  });

  test("does not count pings that a paused client could not answer", async () => {
    const both = await bridge({ client: true, pod: true });
    both.pod.socket.pause();
    const frame = clientFrame(OP.binary, Buffer.alloc(1_000_000));
    for (let i = 0; i < 20; i += 1) both.client.write(frame);
    const before = both.client.of(OP.ping).length;
    await both.client.until(() => both.client.of(OP.ping).length > before);
    both.pod.socket.resume();
    await pod.until(() => both.pod.frames.filter(({ opcode }) => opcode === OP.binary).length === 20);
    await pod.until(() => podPings(both) >= 5);
    expect(both.client.closing).toBeNull();
  });
});

describe("the idle limit", () => {
  test("closes a session without data with 1001 on both sides, though both answer pings", async () => {
    const both = await bridge({ client: true, pod: true }, idle, "/broadcast");
    const started = performance.now();
    expect(await both.client.ended()).toEqual({ code: 1001, reason: "idle" });
    expect(performance.now() - started).toBeGreaterThan(500);
    await pod.until(() => podCode(both) !== undefined);
    expect(podCode(both)).toBe(1001);
    expect(lastReason(idle)).toBe("idle");
  });

  test("spares a session with data from either side", async () => {
    const both = await bridge({ client: true, pod: true }, idle, "/broadcast");
    both.client.onFrame = ({ opcode, data }) => {
      if (opcode !== OP.ping) return;
      both.client.send(OP.pong, data);
      both.client.send(OP.text, "typing");
    };
    await both.client.until(() => both.client.of(OP.ping).length >= 8);
    expect(both.client.closing).toBeNull();
  });

  test("is not set where the route does not set it: a still screen stays", async () => {
    const both = await bridge({ client: true, pod: true }, idle);
    await both.client.until(() => both.client.of(OP.ping).length >= 8);
    expect(both.client.closing).toBeNull();
  });
});
