// The upstream leg alone, against a raw server: what the end-to-end tests cannot reach in time, because it waits.

import { afterEach, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { Sweeper } from "../../src/lib/deadlines.ts";
import { ConnectError, ClientGoneError, UpstreamTimeoutError } from "../../src/upstream/exchange.ts";
import { dialWebSocket, type UpstreamEvents, type UpstreamWebSocket } from "../../src/upstream/websocket.ts";
import { waitFor } from "../support/ws-client.ts";

let server: Server | null = null;
let sweeper: Sweeper | null = null;
const sockets: Socket[] = [];
/** Added to the clock that deadlines are held against. */
let aheadMs = 0;

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  server?.close();
  sweeper?.close();
  aheadMs = 0;
});

/** A server that never closes by itself, half-open sockets included. */
async function serve(accept: (socket: Socket, key: string) => void): Promise<number> {
  server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    socket.once("data", (chunk: Buffer) => accept(socket, /Sec-WebSocket-Key: (\S+)/.exec(chunk.toString("latin1"))?.[1] ?? ""));
  });
  await new Promise<void>((resolve) => { server?.listen(0, "127.0.0.1", resolve); });
  return (server.address() as AddressInfo).port;
}

function accepted(socket: Socket, key: string): void {
  const hash = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${hash}\r\n\r\n`);
}

async function dial(port: number, watch: (attempt: { abort(): void }) => void = () => {}): Promise<UpstreamWebSocket> {
  sweeper = new Sweeper(() => performance.now() + aheadMs);
  return dialWebSocket({
    address: "127.0.0.1", port, head: "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n",
    connectTimeoutMs: 5000, handshakeTimeoutMs: 60_000, messageLimitBytes: 1 << 20, protocols: [], readsRefusal: false, watcher: { slow: watch },
  }, sweeper);
}

const silent: UpstreamEvents = { batch: (run) => run(), message() {}, ping() {}, pong() {}, close() {}, drained() {}, gone() {} };

describe("dialling", () => {
  test("rejects when nobody listens", async () => {
    const port = await serve(() => {});
    server?.close();
    await expect(dial(port)).rejects.toBeInstanceOf(ConnectError);
  });

  test("gives up after connect and handshake time, and lets go of the connection", async () => {
    const port = await serve(() => { aheadMs = 65_001; });
    await expect(dial(port)).rejects.toBeInstanceOf(UpstreamTimeoutError);
    await waitFor(() => sockets.every((socket) => socket.destroyed || socket.readableEnded));
    expect(sweeper?.size).toBe(0);
  });

  test("gives up when told to, in the middle of the handshake", async () => {
    const attempt: { abort?: () => void } = {};
    const port = await serve(() => attempt.abort?.());
    await expect(dial(port, (dialled) => { attempt.abort = () => dialled.abort(); })).rejects.toBeInstanceOf(ClientGoneError);
    expect(sweeper?.size).toBe(0);
  });

  test("gives up when told to, before the connection is there", async () => {
    const port = await serve(() => {});
    await expect(dial(port, (dialled) => dialled.abort())).rejects.toBeInstanceOf(ClientGoneError);
    await waitFor(() => sockets.every((socket) => socket.destroyed || socket.readableEnded));
  });
});

describe("an ended session", () => {
  test("is cut when the upstream neither closes nor resets: a half-open one is not kept", async () => {
    const port = await serve(accepted);
    const upstream = await dial(port);
    upstream.attach(silent);
    upstream.sendClose(1000, "");
    upstream.end();
    const gone = Promise.withResolvers<void>();
    sockets[0]?.on("close", () => gone.resolve()).resume();
    expect(sweeper?.size).toBe(1);
    aheadMs = 10_100;
    await waitFor(() => sweeper?.size === 0);
    // Only a write meets the reset: our end of it is half-open on purpose.
    sockets[0]?.write("x");
    await gone.promise;
  });

  test("has its last messages and its close frame delivered to an upstream that reads late", async () => {
    let received = 0;
    const port = await serve((socket, key) => { accepted(socket, key); socket.pause(); });
    const upstream = await dial(port);
    upstream.attach(silent);
    const waiting = upstream.send(Buffer.alloc(20_000_000), false);
    expect(waiting).toBeGreaterThan(0);
    upstream.sendClose(1000, "end");
    upstream.end();
    const ended = Promise.withResolvers<void>();
    sockets[0]?.on("data", (chunk: Buffer) => { received += chunk.length; }).on("end", () => ended.resolve()).resume();
    await ended.promise;
    expect(received).toBe(20_000_000 + 14 + 6 + 5);
  });

  test("is cut when the upstream never reads what waits for it", async () => {
    const port = await serve((socket, key) => { accepted(socket, key); socket.pause(); });
    const upstream = await dial(port);
    upstream.attach(silent);
    upstream.send(Buffer.alloc(20_000_000), false);
    upstream.end();
    aheadMs = 10_100;
    await waitFor(() => sweeper?.size === 0);
  });
});

describe("a session", () => {
  test("does not pile up pongs for an upstream that pings without reading", async () => {
    const port = await serve((socket, key) => { accepted(socket, key); socket.pause(); });
    const upstream = await dial(port);
    upstream.attach(silent);
    let waiting = upstream.send(Buffer.alloc(20_000_000), false);
    for (let i = 0; i < 10_000; i += 1) upstream.sendPong(Buffer.alloc(125));
    waiting = upstream.send(Buffer.alloc(0), false) - waiting;
    expect(waiting).toBeLessThan(1000);
    upstream.terminate();
  });

  test("shows life when bytes come and when bytes are taken, and only then", async () => {
    const port = await serve((socket, key) => { accepted(socket, key); });
    const upstream = await dial(port);
    let drained = false;
    upstream.attach({ ...silent, drained: () => { drained = true; } });
    upstream.showedLife();
    expect(upstream.showedLife()).toBe(false);
    sockets[0]?.write(Buffer.from([0x82]));
    await waitFor(() => upstream.showedLife());
    expect(upstream.showedLife()).toBe(false);
    sockets[0]?.pause();
    upstream.send(Buffer.alloc(20_000_000), false);
    upstream.showedLife();
    sockets[0]?.resume();
    await waitFor(() => drained);
    expect(upstream.showedLife()).toBe(true);
    upstream.terminate();
  });

  test("reports an upstream that left between handshake and attach", async () => {
    const port = await serve((socket, key) => { accepted(socket, key); socket.resetAndDestroy(); });
    const upstream = await dial(port).catch(() => null);
    if (upstream === null) return; // The reset overtook the 101, which is a refusal like any other.
    const gone = Promise.withResolvers<void>();
    setTimeout(() => upstream.attach({ ...silent, gone: () => gone.resolve() }), 20);
    await gone.promise;
  });
});
