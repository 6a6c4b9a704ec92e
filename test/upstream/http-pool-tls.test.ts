// The pool over TLS and Unix sockets: connections are reused as plain ones are, bodies of any size go both ways whole and wait
// for whoever is slow, and what the other side does to a connection is seen for what it is.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { Sweeper } from "../../src/lib/deadlines.ts";
import type { TargetTls } from "../../src/target.ts";
import { ConnectError, type UpstreamRequest, type UpstreamResponse, UpstreamClosedError } from "../../src/upstream/exchange.ts";
import type { PooledAddress } from "../../src/upstream/connect.ts";
import { HttpPool } from "../../src/upstream/http-pool.ts";
import { CertificateAuthority, HAS_OPENSSL, type ServerIdentity } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { pattern, sha256 } from "../support/tls-peer.ts";
import { answering, SecureServer } from "./secure-server.ts";

/** Far above what kernels, TLS and the pool hold, far below what is offered. */
const BOUND_BYTES = 16 * 1024 ** 2;
const MUCH = 64 * 1024 ** 2;

let authority: CertificateAuthority;
let identity: ServerIdentity;
let directory: string;
let sweeper: Sweeper;
let pool: HttpPool;
let server: SecureServer | null = null;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "route pool "));
  if (!HAS_OPENSSL) return;
  authority = new CertificateAuthority();
  identity = authority.sign({ names: ["DNS:pod.test"] });
});
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
  authority?.remove();
});
beforeEach(() => {
  sweeper = new Sweeper();
  pool = new HttpPool({ connectTimeoutMs: 2000, writeTimeoutMs: 5000, idleConnectionsPerTarget: 4, idleConnections: 8, idleTimeoutMs: 60_000,
    responseBufferBytes: 1000, responseBufferTotalBytes: 1500 }, sweeper);
});
afterEach(() => {
  pool.close();
  server?.stop();
  server = null;
  sweeper.close();
});

const trust = (): TargetTls => ({ ca: authority.pem, serverName: "pod.test", skipsVerify: false });
const secure = (key = "https://pod.test"): PooledAddress => ({ address: "127.0.0.1", port: (server as SecureServer).port, key, tls: trust() });

function request(parts: Partial<UpstreamRequest> = {}): UpstreamRequest {
  const method = parts.method ?? "GET";
  return { method, head: `${method} / HTTP/1.1\r\nHost: a\r\n\r\n`, body: null, chunked: false, bodyLimitBytes: 2 * MUCH,
    mayCollect: true, readTimeoutMs: 5000, watcher: { slow: () => {}, bodyBytes: () => {} }, ...parts };
}

const exchange = (to: PooledAddress, asked: UpstreamRequest = request()): Promise<UpstreamResponse> =>
  new Promise((resolve, reject) => pool.exchange(to, asked, { answered: resolve, failed: reject }));

async function textOf({ body }: UpstreamResponse): Promise<string> {
  return new Response(body as ConstructorParameters<typeof Response>[0]).text();
}

/** Writes all, as fast as it is taken. @returns how much was taken so far */
function pour(socket: TLSSocket, bytes: Buffer): { readonly taken: number } {
  const progress = { taken: 0 };
  const step = 256 * 1024;
  const go = (): void => {
    while (progress.taken < bytes.length) {
      const more = socket.write(bytes.subarray(progress.taken, progress.taken + step));
      progress.taken += step;
      if (!more) return void socket.once("drain", go);
    }
  };
  go();
  return progress;
}

/** Ten looks in a row (200 ms) have seen the same, which is not nothing. */
async function standstill(look: () => number): Promise<void> {
  const seen: number[] = [];
  await eventually("a standstill", () => { seen.push(look()); return seen.slice(-10); }, (last) => last.length === 10 && last.every((value) => value > 0 && value === last[0]));
}

describe.skipIf(!HAS_OPENSSL)("connections over TLS", () => {
  test("carry one request after the other, and as many as there are at a time", async () => {
    server = await SecureServer.start(identity, answering("ok"));
    for (let count = 0; count < 20; count += 1) expect(await textOf(await exchange(secure()))).toBe("ok");
    expect([server.accepted, pool.size]).toEqual([1, { open: 1, idle: 1 }]);
    await Promise.all(Array.from({ length: 4 }, async () => textOf(await exchange(secure()))));
    expect(pool.size.idle).toBeLessThanOrEqual(4);
    expect(server.accepted).toBeLessThanOrEqual(4);
  });

  test("are not shared between keys: other settings are another connection", async () => {
    server = await SecureServer.start(identity, answering("ok"));
    await exchange(secure("one"));
    await exchange(secure("two"));
    expect([server.accepted, pool.size]).toEqual([2, { open: 2, idle: 2 }]);
    await expect(exchange({ ...secure("three"), tls: { ...trust(), serverName: "other.test" } })).rejects.toBeInstanceOf(ConnectError);
    expect(pool.size).toEqual({ open: 2, idle: 2 });
  });

  test("that were closed while idle are replaced", async () => {
    server = await SecureServer.start(identity, answering("ok"));
    await exchange(secure());
    for (const socket of server.sockets) socket.end();
    await eventually("the end", () => pool.size.open, (open) => open === 0);
    expect(await textOf(await exchange(secure()))).toBe("ok");
    expect(server.accepted).toBe(2);
  });

  test("that are closed by a request which may be sent twice are replaced, and by another one are not", async () => {
    let closing = false;
    server = await SecureServer.start(identity, (socket) => {
      const answer = answering("ok");
      socket.prependListener("data", () => { if (closing) { closing = false; socket.destroy(); } });
      answer(socket);
    });
    await exchange(secure());
    closing = true;
    expect(await textOf(await exchange(secure()))).toBe("ok");
    closing = true;
    const once = request({ method: "POST", head: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" });
    await expect(exchange(secure(), once)).rejects.toBeInstanceOf(UpstreamClosedError);
  });

  test("bring a large body whole, and no more of it than a client that does not read has room for", async () => {
    const bytes = pattern(MUCH);
    let progress = { taken: 0 };
    server = await SecureServer.start(identity, (socket) => socket.once("data", () => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n`);
      progress = pour(socket, bytes);
    }));
    const { body, ended } = await exchange(secure());
    await standstill(() => progress.taken);
    expect(progress.taken).toBeLessThan(BOUND_BYTES);
    expect(sha256(new Uint8Array(await new Response(body as ReadableStream<Uint8Array>).arrayBuffer()))).toBe(sha256(bytes));
    expect(await ended).toEqual({ bytes: bytes.length, error: null });
    expect(pool.size).toEqual({ open: 1, idle: 1 });
  }, 30_000);

  test("take a large body whole, and no more of it than a server that does not read has room for", async () => {
    const bytes = pattern(MUCH);
    const received: Buffer[] = [];
    let client: TLSSocket | null = null;
    server = await SecureServer.start(identity, (socket) => {
      client = socket;
      socket.on("data", (chunk: Buffer) => {
        received.push(chunk);
        if ((server as SecureServer).receivedBytes < bytes.length) return;
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      });
      socket.pause();
    });
    let sent = 0;
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        controller.enqueue(bytes.subarray(sent, sent + 65_536));
        sent += 65_536;
        if (sent >= bytes.length) controller.close();
      },
    });
    const head = `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${bytes.length}\r\n\r\n`;
    const answer = exchange(secure(), request({ method: "POST", head, body }));
    await standstill(() => sent);
    expect(sent).toBeLessThan(BOUND_BYTES);
    (client as TLSSocket | null)?.resume();
    expect(await textOf(await answer)).toBe("ok");
    expect(sha256(Buffer.concat(received).subarray(head.length))).toBe(sha256(bytes));
    expect(pool.size).toEqual({ open: 1, idle: 1 });
  }, 30_000);

  test("take a body in hand that is larger than what a kernel takes at once", async () => {
    const bytes = pattern(MUCH);
    const received: Buffer[] = [];
    server = await SecureServer.start(identity, (socket) => socket.on("data", (chunk: Buffer) => {
      received.push(chunk);
      if ((server as SecureServer).receivedBytes >= bytes.length) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }));
    const head = `PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: ${bytes.length}\r\n\r\n`;
    expect(await textOf(await exchange(secure(), request({ method: "PUT", head, body: bytes })))).toBe("ok");
    expect(sha256(Buffer.concat(received).subarray(head.length))).toBe(sha256(bytes));
  }, 30_000);

  test("bring a body without a length to its end, and tell when it was cut", async () => {
    let cuts = false;
    server = await SecureServer.start(identity, (socket) => socket.once("data", () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\npart");
      if (!cuts) socket.end();
    }));
    const whole = await exchange(secure());
    expect(await textOf(whole)).toBe("part");
    expect(await whole.ended).toEqual({ bytes: 4, error: null });
    cuts = true;
    const cut = await exchange(secure());
    const reader = (cut.body as ReadableStream<Uint8Array>).getReader();
    expect(Buffer.from((await reader.read()).value ?? []).toString()).toBe("part");
    for (const socket of server.sockets) socket.resetAndDestroy();
    expect((await cut.ended)?.error).toBeInstanceOf(UpstreamClosedError);
    expect(pool.size).toEqual({ open: 0, idle: 0 });
  });

  test("are made to openssl's own server as well", async () => {
    const files = { key: join(directory, "key.pem"), cert: join(directory, "cert.pem") };
    await Promise.all([Bun.write(files.key, identity.key), Bun.write(files.cert, identity.cert)]);
    const child = Bun.spawn(["openssl", "s_server", "-accept", "127.0.0.1:0", "-key", files.key, "-cert", files.cert, "-www"], { stdout: "pipe", stderr: "ignore", stdin: "pipe" });
    try {
      let said = "";
      for await (const chunk of child.stdout) {
        said += Buffer.from(chunk).toString();
        if (/ACCEPT \S+:\d+/.test(said)) break;
      }
      const port = Number(/ACCEPT \S+:(\d+)/.exec(said)?.[1]);
      const answer = await exchange({ address: "127.0.0.1", port, key: "openssl", tls: trust() });
      expect(answer.head.status).toBe(200);
      expect(await textOf(answer)).toContain("TLSv1.3");
    } finally {
      child.kill(9);
    }
  });
});

describe("connections to a Unix socket", () => {
  test("carry one request after the other; one that is not there fails", async () => {
    const path = join(directory, "a pod's socket");
    let accepted = 0;
    const http = createServer((incoming, response) => { response.end(`${incoming.method} ${incoming.url}`); }).on("connection", () => { accepted += 1; });
    await new Promise<void>((resolve) => { http.listen(path, resolve); });
    const to = (socketPath: string): PooledAddress => ({ address: "", port: 0, socketPath, key: `unix:${socketPath}` });
    try {
      for (let count = 0; count < 3; count += 1) expect(await textOf(await exchange(to(path)))).toBe("GET /");
      expect([accepted, pool.size]).toEqual([1, { open: 1, idle: 1 }]);
      await expect(exchange(to(join(directory, "absent")))).rejects.toBeInstanceOf(ConnectError);
    } finally {
      pool.close();
      http.close();
    }
  });
});
