// Slow and greedy clients against the real program: what they get, how long they may, and that nobody else notices. The waits
// are real ones, and run beside each other.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { Pod } from "../support/pod.ts";
import { RawClient } from "../support/raw.ts";
import { TestRouter } from "../support/router.ts";

const MIB = 1024 * 1024;

type Kind = "direct" | "counted";

let pod: Pod;
let directory: string;
const routers: Partial<Record<Kind, TestRouter>> = {};

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "route-slow-"));
  writeFileSync(join(directory, "large"), "");
  truncateSync(join(directory, "large"), 64 * MIB);
  pod = new Pod("127.0.1.1", ["any"]);
  // As far as anybody reads.
  pod.answer((seen, connection) => {
    if (seen.target !== "/endless") return connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${1024 * MIB}\r\n\r\n`);
    const pump = (): void => { while (connection.pending === 0 && !connection.isClosed) connection.write(PIECE); };
    connection.onDrained = pump;
    pump();
  });
  routers.direct = await start("");
  routers.counted = await start("  connections: 3000\n");
});
const PIECE = Buffer.alloc(256 * 1024);

afterAll(async () => {
  for (const router of Object.values(routers)) await router.stop();
  pod.stop();
  rmSync(directory, { recursive: true });
});

function start(limits: string): Promise<TestRouter> {
  return TestRouter.start({ config: `
limits:
  minimumRate: 4MiB
${limits}
upstream: { writeTimeout: 2s }
services: { any: { url: "http://127.0.1.1:${pod.port("any")}" }, files: { directory: "${directory}" } }
routes: [{ path: /, service: any, bodyLimit: 100MiB }, { path: /files, service: files, upstreamPath: strip }]
` });
}

/** How long it took to be closed, ms; answered or not. */
async function untilClosed(client: RawClient, limitMs = 25_000): Promise<number> {
  const startedMs = performance.now();
  await client.until(() => client.isClosed, limitMs);
  return performance.now() - startedMs;
}

/** Sends a piece now and then, as long as somebody is there. */
function drip(client: RawClient, piece: string, everyMs: number): void {
  const timer = setInterval(() => client.isClosed ? clearInterval(timer) : client.write(piece), everyMs);
}

async function answersWithinMs(port: number): Promise<number> {
  const startedMs = performance.now();
  expect((await RawClient.ask(port, "GET /quick HTTP/1.1\r\nHost: a.test\r\n\r\n")).status).toBe(200);
  return performance.now() - startedMs;
}

describe.each<Kind>(["direct", "counted"])("plain HTTP, %s", (kind) => {
  const port = (): number => (routers[kind] as TestRouter).port;

  test.concurrent("a head that comes a line a second is cut after ten seconds or little more", async () => {
    const client = await RawClient.open(port());
    client.write("GET / HTTP/1.1\r\nHost: a.test\r\n");
    drip(client, "X-More: 1\r\n", 1000);
    const ms = await untilClosed(client);
    expect(ms).toBeGreaterThan(7000);
    expect(ms).toBeLessThan(16_000);
    expect([0, 408]).toContain(client.status);
  }, 30_000);

  test.concurrent("a body that stops gets 408 when its time is over", async () => {
    const client = await RawClient.open(port());
    client.write(`POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${MIB}\r\n\r\n${"x".repeat(1000)}`);
    const ms = await untilClosed(client);
    expect(client.status).toBe(408);
    expect(ms).toBeLessThan(6000);
  }, 30_000);

  test.concurrent("a body below the minimum rate gets 408 after ten seconds", async () => {
    const client = await RawClient.open(port());
    client.write(`POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${MIB}\r\n\r\n`);
    drip(client, "x".repeat(500), 500);
    const ms = await untilClosed(client);
    expect(client.status).toBe(408);
    expect(ms).toBeGreaterThan(9000);
    expect(ms).toBeLessThan(20_000);
  }, 30_000);

  test.concurrent("a body above it passes, however long it takes", async () => {
    const client = await RawClient.open(port());
    const piece = Buffer.alloc(3 * MIB);
    client.write(`POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${24 * piece.length}\r\n\r\n`);
    for (let pieces = 0; pieces < 24; pieces += 1) {
      client.write(piece);
      await Bun.sleep(500);
    }
    await client.until(() => client.status !== 0);
    expect(client.status).toBe(200);
    client.close();
  }, 30_000);

  test.concurrent("an answer that nobody reads is given up, at the upstream as well", async () => {
    const client = await RawClient.open(port());
    const { localPort } = client.socket;
    client.socket.pause();
    client.write("GET /endless HTTP/1.1\r\nHost: a.test\r\n\r\n");
    await pod.until(() => pod.seen.some(({ target }) => target === "/endless"));
    const logged = (): Array<Record<string, unknown>> => (routers[kind] as TestRouter).lines.filter(({ path }) => path === "/endless");
    // 4 MiB/s: a second for what kernels hold, ten for the client.
    const [line] = await eventually("the line about it", logged, (lines) => lines.length > 0, 20_000);
    // The listener that counts may be the first to give it up; to the server behind, the client has then gone.
    expect(["client stopped reading", ...(kind === "counted" ? ["client went away"] : [])]).toContain(line?.["reason"] as string);
    expect(line?.["duration_ms"]).toBeGreaterThan(9000);
    // Nor is the client's connection kept, though it still takes nothing.
    await eventually("its connection to be gone", () => hasConnection(port(), localPort as number), (has) => !has, 10_000);
    // What the kernel has may still be read; then the connection ends, short of what was announced.
    client.socket.resume();
    await client.until(() => client.isClosed);
    expect(client.text.length).toBeLessThan(64 * MIB);
  }, 30_000);

  test.concurrent("a file that nobody reads is given up as well", async () => {
    const client = await RawClient.open(port());
    client.socket.pause();
    client.write("GET /files/large HTTP/1.1\r\nHost: a.test\r\n\r\n");
    const logged = (): Array<Record<string, unknown>> => (routers[kind] as TestRouter).lines.filter(({ path }) => path === "/files/large");
    const [line] = await eventually("the line about it", logged, (lines) => lines.length > 0, 20_000);
    expect(["client stopped reading", ...(kind === "counted" ? ["client went away"] : [])]).toContain(line?.["reason"] as string);
    client.close();
  }, 30_000);

  test.concurrent("a thousand connections that say nothing are in nobody's way", async () => {
    const idle: Socket[] = [];
    for (let opened = 0; opened < 1000; opened += 1) idle.push(await open(port()));
    expect(await answersWithinMs(port())).toBeLessThan(1000);
    for (const socket of idle) socket.destroy();
  }, 30_000);
});

/** Of a process, not of the kernel alone: established, or left by the other end only; proc(5), net/tcp. */
function hasConnection(port: number, peerPort: number): boolean {
  const hex = (number: number): string => number.toString(16).toUpperCase().padStart(4, "0");
  return new RegExp(`:${hex(port)} [0-9A-F]+:${hex(peerPort)} 0[18] `).test(readFileSync("/proc/net/tcp", "latin1"));
}

function open(port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1").on("error", () => {});
  return new Promise((resolve) => socket.once("connect", () => resolve(socket)));
}
