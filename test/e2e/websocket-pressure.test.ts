// Backpressure through a router in a process of its own: who does not read stops the other side, nobody else, and costs at
// most 8 MiB of memory.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { flood, floodFrom } from "../support/flood.ts";
import { KeyFiles } from "../support/keys.ts";
import { Pod } from "../support/pod.ts";
import { type Bridge, closeData, OP, openBridge, ServeProcess, settled, waitFor } from "../support/ws-client.ts";

const MIB = 1024 * 1024;
/** Far more than all buffers between the two ends together. */
const PLENTY = 400 * MIB;

let pod: Pod;
let keys: KeyFiles;
let router: ServeProcess;
const open: Bridge[] = [];

beforeAll(async () => {
  pod = new Pod();
  keys = new KeyFiles();
  router = await ServeProcess.start({ ...pod.env, ...keys.env, ROUTE_ALLOWED_TARGETS: "127.0.1.0/24" });
  // What the first megabytes cost (compiled code, first buffers) is not the price of a stalled session.
  const both = await bridge();
  await Promise.all([flood(both.pod, 60 * MIB), floodFrom(both.client, 60 * MIB), both.client.until(() => both.client.dataBytes >= 60 * MIB, 20_000)]);
  both.client.close();
}, 30_000);
afterEach(() => {
  for (const { client } of open.splice(0)) client.close();
});
afterAll(async () => {
  await router.stop();
  pod.stop();
  keys.remove();
});

async function bridge(): Promise<Bridge> {
  const both = await openBridge(router.port, pod, `/websockify?jwt_token=${keys.token()}`);
  both.client.keep = false;
  both.pod.onFrame = () => { both.pod.frames.length = 0; };
  open.push(both);
  return both;
}

async function echoMs({ client }: Bridge): Promise<number> {
  const started = performance.now();
  const before = client.dataBytes;
  client.send(OP.binary, "x".repeat(64));
  await client.until(() => client.dataBytes >= before + 64);
  return performance.now() - started;
}

const grown = (before: number): number => Math.round((router.rssBytes() - before) / MIB * 10) / 10;

describe("backpressure", () => {
  test("a client that stops reading stops the pod, for at most 8 MiB; reading on, it gets every byte", async () => {
    const both = await bridge();
    both.client.socket.pause();
    const before = router.rssBytes();
    const count = flood(both.pod, PLENTY);
    const stopped = await settled(() => count.sent);
    expect(stopped).toBeGreaterThan(0);
    expect(stopped).toBeLessThan(40 * MIB);
    expect(grown(before)).toBeLessThanOrEqual(8);
    both.client.socket.resume();
    await both.client.until(() => both.client.dataBytes >= PLENTY, 20_000);
    expect(both.client.dataBytes).toBe(PLENTY);
  }, 30_000);

  test("a pod that stops reading stops the client, for at most 8 MiB; reading on, it gets every byte", async () => {
    const both = await bridge();
    let received = 0;
    both.pod.onFrame = (opcode, data) => { if (opcode === OP.binary) received += data.length; both.pod.frames.length = 0; };
    both.pod.socket.pause();
    const before = router.rssBytes();
    const count = floodFrom(both.client, 100 * MIB);
    const stopped = await settled(() => count.sent);
    expect(stopped).toBeGreaterThan(0);
    expect(stopped).toBeLessThan(40 * MIB);
    expect(grown(before)).toBeLessThanOrEqual(8);
    both.pod.socket.resume();
    await waitFor(() => received >= 100 * MIB, 20_000);
    expect(received).toBe(100 * MIB);
  }, 30_000);

  test("a stalled session does not slow another one down", async () => {
    const quick = await bridge();
    quick.pod.onFrame = (opcode, data) => { if (opcode === OP.binary) quick.pod.send(OP.binary, data); };
    const quiet: number[] = [];
    for (let i = 0; i < 100; i += 1) quiet.push(await echoMs(quick));
    const stalled = await bridge();
    stalled.client.socket.pause();
    const count = flood(stalled.pod, PLENTY);
    await settled(() => count.sent);
    const beside: number[] = [];
    for (let i = 0; i < 100; i += 1) beside.push(await echoMs(quick));
    const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] as number;
    expect(median(beside)).toBeLessThan(median(quiet) * 3 + 2);
  }, 20_000);

  test("a slow reader loses nothing to a pod that takes its leave: the close comes last", async () => {
    const both = await bridge();
    both.client.socket.pause();
    both.pod.send(OP.binary, Buffer.alloc(30 * MIB, 1));
    both.pod.send(OP.close, closeData(4000, "done"));
    const slow = setInterval(() => { both.client.socket.resume(); setTimeout(() => both.client.socket.pause(), 5); }, 50);
    try {
      expect(await both.client.ended(20_000)).toEqual({ code: 4000, reason: "done" });
      expect(both.client.dataBytes).toBe(30 * MIB);
    } finally {
      clearInterval(slow);
    }
  }, 25_000);

  test("messages behind a very large one are not dropped while it waits", async () => {
    const both = await bridge();
    both.client.keep = true;
    both.client.socket.pause();
    both.pod.send(OP.binary, Buffer.alloc(40 * MIB, 1));
    for (let i = 0; i < 20; i += 1) both.pod.send(OP.text, `behind ${i}`);
    setTimeout(() => both.client.socket.resume(), 300);
    await both.client.until(() => both.client.frames.length === 21, 15_000);
    expect(both.client.messages.slice(1).map(({ data }) => data.toString())).toEqual(Array.from({ length: 20 }, (_, i) => `behind ${i}`));
  }, 20_000);
});
