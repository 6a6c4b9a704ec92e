// The upstream leg of a session over TLS and Unix sockets: the same handshake, frames, backpressure and end as over TCP.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Sweeper } from "../../src/lib/deadlines.ts";
import type { TargetTls } from "../../src/target.ts";
import { ConnectError, UpstreamTimeoutError } from "../../src/upstream/exchange.ts";
import { dialWebSocket, type UpstreamEvents, type UpstreamWebSocket, type WebSocketDial } from "../../src/upstream/websocket.ts";
import { CertificateAuthority, HAS_OPENSSL, type ServerIdentity } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { SecureServer } from "./secure-server.ts";

const MUCH = 20_000_000;

let authority: CertificateAuthority;
let identity: ServerIdentity;
let directory: string;
let sweeper: Sweeper;
let aheadMs = 0;
const stops: Array<() => void> = [];

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "route websocket "));
  if (!HAS_OPENSSL) return;
  authority = new CertificateAuthority();
  identity = authority.sign({ names: ["DNS:pod.test"] });
});
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
  authority?.remove();
});
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
  sweeper?.close();
  aheadMs = 0;
});

/** Answers the handshake, and leaves the rest to the test. */
function accept(socket: Pick<Socket, "once" | "write">, then: () => void = () => {}): void {
  socket.once("data", (chunk: Buffer) => {
    const key = /Sec-WebSocket-Key: (\S+)/.exec(chunk.toString("latin1"))?.[1] ?? "";
    const hash = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${hash}\r\n\r\n`);
    then();
  });
}

async function serve(identityOfIt: ServerIdentity, then: (socket: Socket, server: SecureServer) => void = () => {}): Promise<SecureServer> {
  const server = await SecureServer.start(identityOfIt, (socket, own) => accept(socket, () => then(socket, own)));
  stops.push(() => server.stop());
  return server;
}

function dial(parts: Partial<WebSocketDial>): Promise<UpstreamWebSocket> {
  sweeper = new Sweeper(() => performance.now() + aheadMs);
  return dialWebSocket({
    address: "127.0.0.1", port: 0, head: "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n",
    connectTimeoutMs: 5000, handshakeTimeoutMs: 60_000, messageLimitBytes: 2 * MUCH, protocols: [], readsRefusal: false, watcher: { slow: () => {} }, ...parts,
  }, sweeper);
}

const trust = (serverName = "pod.test"): TargetTls => ({ ca: authority.pem, serverName, skipsVerify: false });
const silent: UpstreamEvents = { batch: (run) => run(), message() {}, ping() {}, pong() {}, close() {}, drained() {}, gone() {} };

describe.skipIf(!HAS_OPENSSL)("a session over TLS", () => {
  test("has messages both ways and the upstream's end", async () => {
    const got: Buffer[] = [];
    const server = await serve(identity, (socket) => {
      socket.on("data", (chunk: Buffer) => got.push(chunk));
      socket.write(Buffer.from([0x81, 2, 0x68, 0x69]));
    });
    const heard: string[] = [];
    const upstream = await dial({ port: server.port, tls: trust() });
    upstream.attach({ ...silent, message: (data) => heard.push(data.toString()), gone: (error) => heard.push(`gone: ${error}`) });
    upstream.send(Buffer.from("hello"), true);
    await eventually("both", () => [heard.length, Buffer.concat(got).length], ([messages, bytes]) => messages === 1 && bytes === 11);
    for (const socket of server.sockets) socket.end();
    await eventually("the end", () => heard, (all) => all.length === 2);
    expect(heard).toEqual(["hi", "gone: null"]);
    expect(server.clients).toEqual([{ serverName: "pod.test", alpn: "http/1.1" }]);
  });

  test("is not begun with a server that is another one, and no request is sent", async () => {
    const server = await serve(authority.sign({ names: ["DNS:other.test"] }));
    await expect(dial({ port: server.port, tls: trust() })).rejects.toBeInstanceOf(ConnectError);
    expect([server.receivedBytes, sweeper.size]).toEqual([0, 0]);
  });

  test("has its last messages and its close frame delivered to an upstream that reads late", async () => {
    let received = 0;
    let ended = false;
    const server = await serve(identity, (socket) => {
      socket.pause();
      socket.on("data", (chunk: Buffer) => { received += chunk.length; }).on("end", () => { ended = true; });
    });
    const upstream = await dial({ port: server.port, tls: trust() });
    upstream.attach(silent);
    expect(upstream.send(Buffer.alloc(MUCH), false)).toBeGreaterThan(0);
    upstream.sendClose(1000, "end");
    upstream.end();
    for (const socket of server.sockets) socket.resume();
    await eventually("the end", () => ended, (is) => is);
    expect(received).toBe(MUCH + 14 + 6 + 5);
  });

  test("makes a sender wait that is not read, and lets it go on", async () => {
    let sent = 0;
    const server = await serve(identity, (socket) => {
      // A binary message of 1 MiB, time and again.
      const message = Buffer.concat([Buffer.from([0x82, 127, 0, 0, 0, 0, 0, 0x10, 0, 0]), Buffer.alloc(1 << 20)]);
      const pour = (): void => {
        while (sent < 64) {
          sent += 1;
          if (!socket.write(message)) return void socket.once("drain", pour);
        }
      };
      pour();
    });
    let messages = 0;
    const upstream = await dial({ port: server.port, tls: trust() });
    upstream.attach({ ...silent, message: () => { messages += 1; if (messages === 2) upstream.pause(); } });
    const seen: number[] = [];
    await eventually("a standstill", () => { seen.push(sent); return seen.slice(-10); }, (last) => messages >= 2 && last.length === 10 && last.every((value) => value === last[0]));
    expect(sent).toBeLessThan(32);
    upstream.resume();
    await eventually("all of them", () => messages, (count) => count === 64);
    upstream.terminate();
  });

  test("is given up when the TLS handshake takes too long, and its connection with it", async () => {
    let isGone = false;
    const server = createServer((socket) => {
      aheadMs = 5001;
      socket.on("error", () => {}).on("close", () => { isGone = true; }).resume();
    });
    await new Promise<void>((resolve) => { server.listen(0, "127.0.0.1", resolve); });
    stops.push(() => server.close());
    await expect(dial({ port: (server.address() as { port: number }).port, tls: trust() })).rejects.toBeInstanceOf(UpstreamTimeoutError);
    await eventually("the end of its connection", () => isGone, (gone) => gone);
    expect(sweeper.size).toBe(0);
  });
});

describe("a session over a Unix socket", () => {
  test("has its handshake and its messages", async () => {
    const path = join(directory, "a pod's socket");
    const server = createServer((socket) => {
      socket.on("error", () => {});
      accept(socket, () => socket.on("data", () => socket.write(Buffer.from([0x81, 2, 0x68, 0x69]))));
    });
    await new Promise<void>((resolve) => { server.listen(path, resolve); });
    stops.push(() => server.close());
    let heard = "";
    const upstream = await dial({ socketPath: path });
    upstream.attach({ ...silent, message: (data) => { heard += data.toString(); } });
    upstream.send(Buffer.from("hello"), true);
    await eventually("its message", () => heard, (text) => text === "hi");
    upstream.terminate();
  });

  test("is not begun where there is none", async () => {
    await expect(dial({ socketPath: join(directory, "absent") })).rejects.toBeInstanceOf(ConnectError);
  });
});
