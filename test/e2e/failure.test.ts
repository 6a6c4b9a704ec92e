// What fails, and what the other side sees of it: pods that are not there, say nothing or leave; clients that leave in the
// middle; connections that nobody uses.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Pod, type PodConnection, type Seen } from "../support/pod.ts";
import { RawClient } from "../support/raw.ts";
import { TestRouter } from "../support/router.ts";
import { OP, WsClient } from "../support/ws-client.ts";

const SHIPPED = readFileSync(join(import.meta.dir, "../../routes.yaml"), "utf8");
const QUICK = SHIPPED.replace("  - path: /filer\n", "  - path: /filer\n    readTimeout: 400ms\n").replace("connectTimeout: 5s", "connectTimeout: 400ms");

let pod: Pod;
let router: TestRouter;
const clients: RawClient[] = [];

beforeAll(async () => {
  pod = new Pod();
  router = await TestRouter.start({ env: pod.env, config: QUICK });
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await pod.until(() => router.app.counts.running === 0 && router.app.counts.sessions === 0);
  pod.seen.length = 0;
});
afterAll(async () => {
  await router.stop();
  pod.stop();
});

async function send(text: string | Buffer): Promise<RawClient> {
  const client = await RawClient.open(router.port);
  clients.push(client);
  client.write(text);
  return client;
}

const head = (method: string, path: string, more = "", host = "127.0.1.1"): string =>
  `${method} ${path} HTTP/1.1\r\nHost: desk\r\nAuthorization: Bearer ${router.token(host)}\r\n${more}\r\n`;

/** The pod's end of the next request. */
function nextRequest(answer: (seen: Seen, connection: PodConnection) => void = () => {}): { seen: Seen | null; connection: PodConnection | null } {
  const next: { seen: Seen | null; connection: PodConnection | null } = { seen: null, connection: null };
  pod.answer((seen, connection) => { next.seen = seen; next.connection = connection; answer(seen, connection); });
  return next;
}

describe("a pod", () => {
  test("that is not there gives 502", async () => {
    const client = await send(head("GET", "/filer", "", "127.0.1.88"));
    await client.until(() => client.status !== 0);
    expect([client.status, client.body]).toEqual([502, "bad gateway\n"]);
  });

  test("that takes the request and never answers gives 504, and is hung up on", async () => {
    const next = nextRequest();
    const client = await send(head("GET", "/filer"));
    await client.until(() => client.status !== 0);
    expect([client.status, client.body]).toEqual([504, "gateway timeout\n"]);
    await pod.until(() => next.connection?.isClosed === true);
  });

  test("that closes before its answer gives 502", async () => {
    nextRequest((_seen, connection) => connection.close());
    const client = await send(head("POST", "/filer", "Content-Length: 0\r\n"));
    await client.until(() => client.status !== 0);
    expect(client.status).toBe(502);
  });

  test.each<[string, string, (end: PodConnection) => void]>([
    ["by length", "Content-Length: 5000000\r\n\r\nhalf", (end) => end.cut()], ["by length, with a FIN", "Content-Length: 5000000\r\n\r\nhalf", (end) => end.close()],
    ["in chunks", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", (end) => end.close()],
  ])("that dies in the middle of a body never makes it look complete: %s", async (_name, rest, die) => {
    const next = nextRequest((_seen, connection) => connection.write(`HTTP/1.1 200 OK\r\n${rest}`));
    const client = await send(head("GET", "/filer"));
    await pod.until(() => next.connection !== null);
    await Bun.sleep(20); // Before or after the head left: both must end badly.
    die(next.connection as PodConnection);
    await client.until(() => client.isClosed || client.status >= 500);
    if (client.status === 200) expect(client.text.endsWith("0\r\n\r\n")).toBe(false);
    else expect(client.status).toBe(502);
  });

  test("that stalls in the middle of a body does not hold its client for ever", async () => {
    nextRequest((_seen, connection) => connection.write("HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\nhalf"));
    const client = await send(head("GET", "/filer"));
    await client.until(() => client.isClosed || client.status >= 500);
    expect(client.text.endsWith("0\r\n\r\n")).toBe(false);
  });
});

describe("a client", () => {
  test("that leaves in the middle of an upload: the pod sees an abort, not an end", async () => {
    let bytes = 0;
    const ended: { connection: PodConnection | null } = { connection: null };
    const raw = await podUpload((connection, chunk) => { ended.connection = connection; bytes += chunk.length; });
    raw.write(Buffer.alloc(200_000));
    await pod.until(() => bytes > 100_000);
    const started = performance.now();
    raw.socket.resetAndDestroy();
    await pod.until(() => ended.connection?.isClosed === true);
    expect(performance.now() - started).toBeLessThan(1000);
    expect(bytes).toBeLessThan(1_000_000);
    await pod.until(() => router.lines.at(-1)?.["status"] === 499);
  });

  test("that leaves while the pod thinks: the pod's connection is closed", async () => {
    const next = nextRequest();
    const client = await send(head("GET", "/spawner"));
    await pod.until(() => next.connection !== null);
    client.socket.resetAndDestroy();
    await pod.until(() => next.connection?.isClosed === true);
  });

  test("that leaves in the middle of a download: the pod's connection is closed", async () => {
    const next = nextRequest((_seen, connection) => {
      connection.write("HTTP/1.1 200 OK\r\nContent-Length: 500000000\r\n\r\n");
      const more = (): void => { while (!connection.isClosed && connection.pending === 0) { connection.onDrained = null; connection.write(Buffer.alloc(65536)); } connection.onDrained = more; };
      more();
    });
    const client = await send(head("GET", "/spawner"));
    await client.until(() => client.text.length > 1_000_000);
    client.socket.resetAndDestroy();
    await pod.until(() => next.connection?.isClosed === true);
  });

  /** An upload of 1 MB by length whose pieces go to `onChunk` at the pod. */
  async function podUpload(onChunk: (connection: PodConnection, chunk: Buffer) => void): Promise<RawClient> {
    const original = pod.port("spawner_service_tcp_port");
    expect(original).toBeGreaterThan(0);
    const known = new Set(pod.open);
    const client = await send(head("POST", "/spawner", "Content-Length: 1000000\r\n"));
    client.write(Buffer.alloc(1000));
    await pod.until(() => [...pod.open].some((socket) => !known.has(socket)));
    const socket = [...pod.open].find((one) => !known.has(one)) as (typeof pod.open extends Set<infer S> ? S : never);
    socket.data.onRaw = (chunk) => { onChunk(socket.data, chunk); pod.changed(); };
    return client;
  }
});

describe("connections that nobody uses", () => {
  test("a thousand of them do not keep a real request waiting", async () => {
    pod.answer((_seen, connection) => connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    const idle = await Promise.all(Array.from({ length: 1000 }, (_, i) => send(i % 2 === 0 ? "" : "GET /spawner HTTP/1.1\r\nHost: de")));
    const started = performance.now();
    const client = await send(head("GET", "/spawner"));
    await client.until(() => client.status !== 0);
    expect(client.status).toBe(200);
    expect(performance.now() - started).toBeLessThan(1000);
    expect(idle.length).toBe(1000);
  });
});

describe("a thousand sessions cut at once", () => {
  async function sessions(count: number): Promise<WsClient[]> {
    pod.answer((seen, connection) => { connection.accept(seen); connection.onFrame = () => {}; });
    const all: WsClient[] = [];
    const target = `/websockify?jwt_token=${router.token()}`;
    for (let i = 0; i < count; i += 100) all.push(...await Promise.all(Array.from({ length: 100 }, () => WsClient.open(router.port, target))));
    return all;
  }

  test("by their clients: every pod connection is told and closed", async () => {
    const ends: PodConnection[] = [];
    const all = await sessions(1000);
    for (const socket of pod.open) if (socket.data.isWebSocket) ends.push(socket.data);
    expect(ends.length).toBe(1000);
    for (const client of all) client.cut();
    await pod.until(() => ends.every(({ isClosed }) => isClosed));
    expect(ends.every(({ frames }) => frames.some(({ opcode, data }) => opcode === OP.close && data.readUInt16BE(0) === 1001))).toBe(true);
    await pod.until(() => router.app.counts.sessions === 0);
  }, 20_000);

  test("by their pods: every client hears 1011", async () => {
    const all = await sessions(1000);
    for (const socket of pod.open) if (socket.data.isWebSocket) socket.data.cut();
    await Promise.all(all.map((client) => client.ended()));
    expect(all.filter((client) => client.closing?.code === 1011).length).toBe(1000);
    for (const client of all) client.close();
    await pod.until(() => router.app.counts.sessions === 0);
  }, 20_000);
});
