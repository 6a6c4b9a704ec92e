// SIGTERM to a router at work: the address is free at once, sessions hear 1012, running requests finish, and the exit code is 0.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { KeyFiles } from "../support/keys.ts";
import { Pod, type PodConnection } from "../support/pod.ts";
import { RawClient } from "../support/raw.ts";
import { clientFrame, OP, readClose, ServeProcess, WsClient } from "../support/ws-client.ts";

const SHIPPED = readFileSync(join(import.meta.dir, "../../routes.yaml"), "utf8");

let pod: Pod;
let keys: KeyFiles;
const running: ServeProcess[] = [];
const clients: Array<{ close(): void }> = [];

beforeAll(() => {
  pod = new Pod();
  keys = new KeyFiles();
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  for (const router of running.splice(0)) await router.stop();
  pod.seen.length = 0;
});
afterAll(() => {
  pod.stop();
  keys.remove();
});

async function serve(config: string = SHIPPED, http?: string): Promise<ServeProcess> {
  const file = keys.path("routes.yaml");
  writeFileSync(file, config);
  const router = await ServeProcess.start({ ...pod.env, ...keys.env, ROUTE_ALLOWED_TARGETS: "127.0.1.0/24" }, ["--config", file], http);
  running.push(router);
  return router;
}

const target = (): string => `/websockify?jwt_token=${keys.token()}`;

async function session(router: ServeProcess): Promise<WsClient> {
  const client = await WsClient.open(router.port, target());
  clients.push(client);
  return client;
}

async function request(router: ServeProcess, text: string): Promise<RawClient> {
  const client = await RawClient.open(router.port);
  clients.push(client);
  client.write(text.replace("\r\n", `\r\nHost: desk\r\nAuthorization: Bearer ${keys.token()}\r\n`));
  return client;
}

async function refused(port: number): Promise<boolean> {
  return RawClient.open(port).then((client) => { client.close(); return false; }, () => true);
}

/** WebSockets echo; a GET gets the first half of a body at once and the rest when told; a POST is answered when it is whole. */
function halfWay(): { finish: (() => void) | null } {
  const state: { finish: (() => void) | null } = { finish: null };
  pod.answer((seen, connection) => {
    if (seen.headers["upgrade"] !== undefined) return connection.accept(seen);
    if (seen.method === "POST") return connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${String(seen.body.length).length}\r\n\r\n${seen.body.length}`);
    connection.write(`HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n${"a".repeat(1_500_000)}`);
    state.finish = () => connection.write("b".repeat(1_500_000));
  });
  return state;
}

describe.each(["SIGTERM", "SIGINT"] as const)("%s", (signal) => {
  test("ends a hundred sessions with 1012 and lets an upload and a download finish; nothing is dropped", async () => {
    const half = halfWay();
    const router = await serve();
    const port = router.port;
    const all = await Promise.all(Array.from({ length: 100 }, () => session(router)));
    const upload = await request(router, "POST /filer/up HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n");
    upload.write(Buffer.alloc(400_000, 1));
    const download = await request(router, "GET /filer/down HTTP/1.1\r\n\r\n");
    await download.until(() => download.text.length > 1_000_000);
    router.signal(signal);
    await Promise.all(all.map((client) => client.ended()));
    expect(all.filter((client) => client.closing?.code === 1012).length).toBe(100);
    expect(await refused(port)).toBe(true);
    expect(router.child.exitCode).toBeNull();
    upload.write(Buffer.alloc(600_000, 1));
    half.finish?.();
    await upload.until(() => upload.text.includes("\r\n\r\n1000000"));
    await download.until(() => (download.text.match(/b/g) ?? []).length >= 1_500_000);
    expect([upload.status, download.status]).toEqual([200, 200]);
    expect(await router.exit()).toBe(0);
    expect(router.events("stopping")).toMatchObject([{ signal }]);
    expect(router.events("stopped").length).toBe(1);
    const lines = router.events("access").filter(({ status }) => status === 101);
    expect(lines.length).toBe(100);
  }, 20_000);
});

describe("a drain", () => {
  test("tells pods that their clients go away", async () => {
    halfWay();
    const router = await serve();
    await session(router);
    const end = [...pod.open].find((socket) => socket.data.isWebSocket)?.data as PodConnection;
    router.signal("SIGTERM");
    await pod.until(() => end.frames.some(({ opcode }) => opcode === OP.close));
    expect(readClose(end.frames.find(({ opcode }) => opcode === OP.close)?.data as Buffer).code).toBe(1001);
    expect(await router.exit()).toBe(0);
  });

  test("reaches clients that are sending at that very moment", async () => {
    halfWay();
    const router = await serve();
    const all = await Promise.all(Array.from({ length: 20 }, () => session(router)));
    const frame = clientFrame(OP.binary, Buffer.alloc(1000));
    const typing = setInterval(() => { for (const client of all) for (let i = 0; i < 20; i += 1) client.write(frame); }, 1);
    router.signal("SIGTERM");
    await Promise.all(all.map((client) => client.ended()));
    clearInterval(typing);
    expect(all.filter((client) => client.closing?.code === 1012).length).toBe(20);
    expect(await router.exit()).toBe(0);
  });

  test("waits for a client that is slow to take what the pod has said long ago", async () => {
    pod.answer((_seen, connection) => connection.write(`HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n${"z".repeat(8_000_000)}`));
    const router = await serve();
    const download = await request(router, "GET /filer HTTP/1.1\r\n\r\n");
    download.socket.on("data", () => {
      download.socket.pause();
      setTimeout(() => download.socket.resume(), 15);
    });
    await download.until(() => download.text !== "");
    router.signal("SIGTERM");
    await download.until(() => download.isClosed);
    expect(download.body.match(/z/g)?.length).toBe(8_000_000);
    expect(await router.exit()).toBe(0);
  });

  test("without anything to wait for is over at once", async () => {
    const router = await serve();
    const started = performance.now();
    router.signal("SIGTERM");
    expect(await router.exit()).toBe(0);
    expect(performance.now() - started).toBeLessThan(2000);
  });

  test("is not held up by idle connections", async () => {
    halfWay();
    const router = await serve();
    const idle = await request(router, "POST /filer HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    await idle.until(() => idle.status === 200);
    const mute = await RawClient.open(router.port);
    clients.push(mute);
    const started = performance.now();
    router.signal("SIGTERM");
    expect(await router.exit()).toBe(0);
    expect(performance.now() - started).toBeLessThan(3000);
  });

  test("leaves the address to the next instance while the old one still works", async () => {
    const half = halfWay();
    const old = await serve();
    const port = old.port;
    const download = await request(old, "GET /filer HTTP/1.1\r\n\r\n");
    await download.until(() => download.text.length > 1_000_000);
    old.signal("SIGTERM");
    await old.until(() => old.events("stopping").length === 1);
    const next = await serve(SHIPPED, `127.0.0.1:${port}`);
    expect(next.port).toBe(port);
    const client = await session(next);
    expect(client.status).toBe(101);
    half.finish?.();
    await download.until(() => (download.text.match(/b/g) ?? []).length >= 1_500_000);
    expect(await old.exit()).toBe(0);
    client.send(OP.text, "undisturbed");
    await client.until(() => client.messages.length === 1);
  });

  test("cuts what is still running when its time is over, and still exits with 0", async () => {
    halfWay();
    const router = await serve(SHIPPED.replace("drainTimeout: 30s", "drainTimeout: 500ms"));
    const upload = await request(router, "POST /filer HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nnot all of it");
    await pod.until(() => [...pod.open].some((socket) => !socket.data.isWebSocket && socket.data.name === "file_service_tcp_port"));
    const started = performance.now();
    router.signal("SIGTERM");
    expect(await router.exit()).toBe(0);
    expect(performance.now() - started).toBeGreaterThan(450);
    expect(performance.now() - started).toBeLessThan(4000);
    await upload.until(() => upload.isClosed);
    expect(upload.status).not.toBe(200);
    expect(router.events("stopped")).toMatchObject([{ cut: 1 }]);
  });

  test("does not wait for a handshake that an upstream never answers", async () => {
    let isAsked = false;
    pod.answer(() => { isAsked = true; });
    const router = await serve();
    const client = await WsClient.dial(router.port, target());
    clients.push(client);
    await pod.until(() => isAsked);
    router.signal("SIGTERM");
    await client.until(() => client.head !== "" || client.isClosed);
    expect(client.status).toBe(503);
    expect(await router.exit(3000)).toBe(0);
    expect(router.events("stopped")).toMatchObject([{ cut: 0 }]);
  });

  test("does not open a session whose handshake was under way", async () => {
    const pending: { accept: (() => void) | null } = { accept: null };
    pod.answer((seen, connection) => { pending.accept = () => connection.accept(seen); });
    const router = await serve();
    const client = await WsClient.dial(router.port, target());
    clients.push(client);
    await pod.until(() => pending.accept !== null);
    router.signal("SIGTERM");
    await router.until(() => router.events("stopping").length === 1);
    pending.accept?.();
    await client.until(() => client.head !== "" || client.isClosed);
    if (client.status === 101) expect((await client.ended())?.code).toBe(1012);
    else expect(client.status).toBe(503);
    expect(await router.exit()).toBe(0);
  });

  test.each([["SIGTERM", "SIGTERM"], ["SIGINT", "SIGINT"], ["SIGTERM", "SIGINT"]] as const)("that %s began is cut short by %s: exit code 1, and the log has its lines", async (first, second) => {
    halfWay();
    const router = await serve();
    const client = await session(router);
    const upload = await request(router, "POST /filer HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nnot all of it");
    await pod.until(() => [...pod.open].some((socket) => socket.data.name === "file_service_tcp_port" && !socket.data.isWebSocket));
    router.signal(first);
    await router.until(() => router.events("stopping").length === 1);
    const cutMs = performance.now();
    router.signal(second);
    expect(await router.exit(5000)).toBe(1);
    expect(performance.now() - cutMs).toBeLessThan(4000);
    expect(router.child.signalCode).toBeNull();
    await Promise.all([client.ended(), upload.until(() => upload.isClosed)]);
    expect(router.events("stopped")).toMatchObject([{ cut: 1 }]);
    expect(router.events("access").map(({ route }) => route).toSorted()).toEqual(["/filer", "/websockify"]);
  });
});
