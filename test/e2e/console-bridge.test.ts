// The bridge between a browser and a virtual machine's console, over TLS: every byte and every message crosses, who does not
// read stops the other side, closes and pings mean the same on both legs, and nothing is left behind.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { CONSOLES_TEXT } from "../../src/config/consoles.ts";
import { flood, floodFrom } from "../support/flood.ts";
import {
  CONSOLE_SECRET, type ConsoleRouter, consoleRouter, consoleTarget, HAS_OPENSSL, KUBEVIRT_PROTOCOL, KubernetesApi, NAMESPACE,
} from "../support/kubernetes.ts";
import { eventually } from "../support/eventually.ts";
import type { PodConnection } from "../support/pod.ts";
import { TlsPod } from "../support/tls-pod.ts";
import { type Bridge, closeData, OP, readClose, ServeProcess, settled, waitFor, WsClient } from "../support/ws-client.ts";

const MIB = 1024 * 1024;
const CONSOLES_YAML = join(import.meta.dir, "../../consoles.yaml");

const open: Bridge[] = [];
let peer: TlsPod;
let router: ConsoleRouter;

beforeAll(async () => {
  if (!HAS_OPENSSL) return;
  peer = new TlsPod();
  router = await consoleRouter(peer);
});
afterEach(async () => {
  for (const { client } of open.splice(0)) client.close();
  await peer?.pod.until(() => peer.pod.open.size === 0);
});
afterAll(async () => {
  await router?.stop();
  peer?.stop();
});

/** A session whose far end is ours, frame by frame; it answers nothing by itself. */
async function bridge(port: number = router.port): Promise<Bridge> {
  let end: PodConnection | null = null;
  peer.pod.answer((seen, connection) => {
    end = connection;
    connection.onFrame = () => {};
    connection.accept(seen, KUBEVIRT_PROTOCOL);
  });
  const client = await WsClient.open(port, consoleTarget("ubuntu"));
  const both = { client, pod: end as unknown as PodConnection };
  open.push(both);
  return both;
}

/** Random bytes in pieces of 1 byte to 64 KiB, small ones often: as a screen comes. */
function pieces(bytes: number): Buffer[] {
  const all = randomBytes(bytes);
  const sizes = randomBytes(bytes >> 6);
  const cut: Buffer[] = [];
  for (let at = 0, i = 0; at < bytes; i += 2) {
    const size = 1 + (((sizes[i] as number) << 8 | (sizes[i + 1] as number)) >> (i % 16));
    cut.push(all.subarray(at, at + size));
    at += size;
  }
  return cut;
}

function sha256(parts: readonly Buffer[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
}

async function closingAt({ pod: end }: Bridge): Promise<{ code: number | null; reason: string }> {
  await peer.pod.until(() => end.frames.some(({ opcode }) => opcode === OP.close) || end.isClosed);
  return readClose(end.frames.find(({ opcode }) => opcode === OP.close)?.data ?? Buffer.from("no close frame"));
}

describe.skipIf(!HAS_OPENSSL)("the bytes of a console (needs openssl)", () => {
  test("8 MiB in pieces of any size come back from the machine as they went", async () => {
    const api = await KubernetesApi.start();
    api.addVm({ namespace: NAMESPACE, name: "ubuntu" });
    const own = await consoleRouter(api);
    try {
      const client = await WsClient.open(own.port, own.path("ubuntu"));
      const sent = pieces(8 * MIB);
      for (const piece of sent) if (!client.send(OP.binary, piece)) await new Promise((resume) => client.socket.once("drain", resume));
      await client.until(() => client.dataBytes >= 8 * MIB, 15_000);
      expect(sha256(client.frames.map(({ data }) => data))).toBe(sha256(sent));
      expect(new Set(client.frames.map(({ opcode }) => opcode))).toEqual(new Set([OP.binary]));
      client.close();
    } finally {
      await own.stop();
      await api.stop();
    }
  }, 20_000);

  test("each message of the client arrives at the API as that one message, masked and binary", async () => {
    const { client, pod: end } = await bridge();
    const sent = pieces(2 * MIB);
    for (const piece of sent) if (!client.send(OP.binary, piece)) await new Promise((resume) => client.socket.once("drain", resume));
    await peer.pod.until(() => end.frames.length >= sent.length);
    expect(end.frames.map(({ data }) => data.length)).toEqual(sent.map(({ length }) => length));
    expect(sha256(end.frames.map(({ data }) => data))).toBe(sha256(sent));
    expect(end.frames.every(({ opcode, masked }) => opcode === OP.binary && masked)).toBe(true);
  });

  test("each message of the API arrives at the client as that one message, binary", async () => {
    const { client, pod: end } = await bridge();
    const sent = pieces(2 * MIB);
    for (const piece of sent) end.send(OP.binary, piece);
    await client.until(() => client.frames.length >= sent.length);
    expect(client.frames.map(({ data }) => data.length)).toEqual(sent.map(({ length }) => length));
    expect(sha256(client.frames.map(({ data }) => data))).toBe(sha256(sent));
    expect(client.frames.every(({ opcode, masked }) => opcode === OP.binary && !masked)).toBe(true);
  });

  test("what a machine says first, right behind the API's 101, is not lost", async () => {
    peer.pod.answer((seen, connection) => {
      const key = seen.headers["sec-websocket-key"]?.[0] ?? "";
      const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
      const head = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`;
      connection.isWebSocket = true;
      connection.onFrame = () => {};
      connection.write(Buffer.concat([Buffer.from(head), Buffer.from([0x82, 12]), Buffer.from("RFB 003.008\n")]));
    });
    const client = await WsClient.open(router.port, router.path("ubuntu"));
    await client.until(() => client.dataBytes === 12);
    expect(client.messages[0]?.data.toString()).toBe("RFB 003.008\n");
    client.close();
  });

  test("the access line counts them", async () => {
    const both = await bridge();
    both.client.send(OP.binary, Buffer.alloc(1000));
    both.pod.send(OP.binary, Buffer.alloc(70_000));
    await both.client.until(() => both.client.dataBytes === 70_000);
    await peer.pod.until(() => both.pod.frames.length === 1);
    both.client.sendClose(1000);
    await both.client.until(() => both.client.isClosed);
    const line = await eventually("the access line", () => router.lines.at(-1), (found) => found?.["bytes_in"] === 1000);
    expect(line).toMatchObject({ path: "/[token]/ubuntu", status: 101, bytes_in: 1000, bytes_out: 70_000 });
  });
});

describe.skipIf(!HAS_OPENSSL)("a close frame of a console (needs openssl)", () => {
  const CLOSINGS: Array<[number | null, string]> = [[1000, ""], [1001, "away"], [1011, "oops"], [4000, "ünïcödé"], [4999, "r".repeat(123)], [null, ""]];

  test.each(CLOSINGS)("of the API with %p %p reaches the client as it is", async (code, reason) => {
    const both = await bridge();
    both.pod.send(OP.binary, "last words");
    both.pod.send(OP.close, closeData(code, reason));
    expect(await both.client.ended()).toEqual({ code, reason });
    expect(both.client.messages.map(({ data }) => data.toString())).toEqual(["last words"]);
    expect((await closingAt(both)).code).toBe(code);
  });

  test.each(CLOSINGS)("of the client with %p %p reaches the API as it is", async (code, reason) => {
    const both = await bridge();
    both.client.send(OP.binary, "last words");
    both.client.sendClose(code, reason);
    expect(await closingAt(both)).toEqual({ code, reason });
    expect(both.pod.frames[0]?.data.toString()).toBe("last words");
    await both.client.until(() => both.client.isClosed);
  });

  test("is what the client gets when the API's connection is cut or ends without one", async () => {
    for (const leave of ["cut", "close"] as const) {
      const both = await bridge();
      both.pod[leave]();
      expect(await both.client.ended()).toEqual({ code: 1011, reason: "" });
    }
  });

  test("is what the API gets when the client vanishes", async () => {
    const both = await bridge();
    both.client.cut();
    expect(await closingAt(both)).toEqual({ code: 1001, reason: "" });
  });

  test("comes when the machine's side ends, through a real bridge", async () => {
    const vm = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { open: (socket) => { socket.end("RFB 003.008\n"); }, data() {} } });
    const api = await KubernetesApi.start();
    api.addVm({ namespace: NAMESPACE, name: "ubuntu", vnc: { host: "127.0.0.1", port: vm.port } });
    const own = await consoleRouter(api);
    try {
      const client = await WsClient.open(own.port, own.path("ubuntu"));
      expect(await client.ended()).toEqual({ code: 1000, reason: "" });
      expect(client.messages.map(({ data }) => data.toString())).toEqual(["RFB 003.008\n"]);
      expect(api.open).toBe(0);
    } finally {
      await own.stop();
      await api.stop();
      vm.stop(true);
    }
  });
});

describe.skipIf(!HAS_OPENSSL)("a ping (needs openssl)", () => {
  test("of the client is answered with its own payload", async () => {
    const { client } = await bridge();
    client.send(OP.ping, "are you there");
    await client.until(() => client.of(OP.pong).length === 1);
    expect(client.of(OP.pong)[0]?.data.toString()).toBe("are you there");
  });

  test("of the API is answered with its own payload, masked", async () => {
    const { pod: end } = await bridge();
    end.send(OP.ping, "are you there");
    await peer.pod.until(() => end.frames.some(({ opcode }) => opcode === OP.pong));
    expect(end.frames).toEqual([{ opcode: OP.pong, data: Buffer.from("are you there"), masked: true }]);
  });

  test("goes out on both legs, and a side that answers none ends the session", async () => {
    const own = await consoleRouter(peer, { config: `${CONSOLES_TEXT}\nwebsocket:\n  pingInterval: 200ms\n  missedPongs: 2\n` });
    try {
      const both = await bridge(own.port);
      both.client.onFrame = ({ opcode, data }) => { if (opcode === OP.ping) both.client.send(OP.pong, data); };
      await both.client.until(() => both.client.of(OP.ping).length > 0);
      await peer.pod.until(() => both.pod.frames.some(({ opcode }) => opcode === OP.ping));
      expect(await both.client.ended()).toEqual({ code: 1011, reason: "" });
      expect(own.lines.at(-1)).toMatchObject({ status: 101, reason: "upstream silent" });
    } finally {
      await own.stop();
    }
  });
});

describe.skipIf(!HAS_OPENSSL)("the end of the router (needs openssl)", () => {
  test("tells clients 1012 and the API 1001, and closes every connection", async () => {
    const own = await consoleRouter(peer);
    const all = [await bridge(own.port), await bridge(own.port), await bridge(own.port)];
    const stopped = own.app.stop(2000);
    for (const both of all) {
      expect(await both.client.ended()).toEqual({ code: 1012, reason: "service restart" });
      expect((await closingAt(both)).code).toBe(1001);
    }
    expect(await stopped).toBe(true);
    for (const { client } of all) await client.until(() => client.isClosed);
    await peer.pod.until(() => peer.pod.open.size === 0);
  });
});

describe.skipIf(!HAS_OPENSSL)("a router of consoles in a process of its own (needs openssl)", () => {
  /** Far more than all buffers between the two ends together. */
  const PLENTY = 200 * MIB;
  let served: ServeProcess;

  beforeAll(async () => {
    served = await ServeProcess.start({ SECRET_KEY: CONSOLE_SECRET, ...peer.env }, ["--config", CONSOLES_YAML]);
    // What the first megabytes cost (compiled code, first buffers) is not the price of a stalled session.
    const both = await bridge(served.port);
    both.client.keep = false;
    forget(both.pod);
    const counts = [flood(both.pod, 40 * MIB), floodFrom(both.client, 40 * MIB)];
    await both.client.until(() => both.client.dataBytes >= 40 * MIB && counts.every(({ sent }) => sent >= 40 * MIB), 20_000);
    both.client.close();
  }, 30_000);
  afterAll(() => served?.stop());

  function forget(end: PodConnection): { bytes: number } {
    const received = { bytes: 0 };
    end.onFrame = (opcode, data) => { if (opcode === OP.binary) received.bytes += data.length; end.frames.length = 0; };
    return received;
  }

  const grown = (before: number): number => (served.rssBytes() - before) / MIB;

  test("a client that stops reading stops the API, for at most 8 MiB; reading on, it gets every byte", async () => {
    const both = await bridge(served.port);
    both.client.keep = false;
    both.client.socket.pause();
    const before = served.rssBytes();
    const count = flood(both.pod, PLENTY);
    const stopped = await settled(() => count.sent);
    expect(stopped).toBeGreaterThan(0);
    expect(stopped).toBeLessThan(40 * MIB);
    expect(grown(before)).toBeLessThanOrEqual(8);
    both.client.socket.resume();
    await both.client.until(() => both.client.dataBytes >= PLENTY, 20_000);
    expect(both.client.dataBytes).toBe(PLENTY);
  }, 30_000);

  test("an API that stops reading stops the client, for at most 8 MiB; reading on, it gets every byte", async () => {
    const both = await bridge(served.port);
    const received = forget(both.pod);
    both.pod.socket.pause();
    const before = served.rssBytes();
    const count = floodFrom(both.client, 60 * MIB);
    const stopped = await settled(() => count.sent);
    expect(stopped).toBeGreaterThan(0);
    expect(stopped).toBeLessThan(40 * MIB);
    expect(grown(before)).toBeLessThanOrEqual(8);
    both.pod.socket.resume();
    await waitFor(() => received.bytes >= 60 * MIB, 20_000, () => `${received.bytes} bytes`);
    expect(received.bytes).toBe(60 * MIB);
  }, 30_000);

  const ENDINGS: ReadonlyArray<(both: Bridge) => unknown> = [
    ({ client }) => client.sendClose(1000),
    ({ client }) => client.cut(),
    ({ client }) => client.close(),
    ({ pod: end }) => end.send(OP.close, closeData(4000)),
    ({ pod: end }) => end.cut(),
    ({ pod: end }) => end.close(),
  ];

  test("200 sessions and 50 refusals leave no descriptor behind, however they end", async () => {
    await eventually("earlier sessions to end", () => peer.pod.open.size, (size) => size === 0);
    const before = await settled(() => served.descriptors());
    for (let round = 0; round < 10; round += 1) {
      const all: Bridge[] = [];
      for (let i = 0; i < 20; i += 1) all.push(await bridge(served.port));
      expect(served.descriptors()).toBeGreaterThanOrEqual(before + 40);
      all.forEach((both, i) => ENDINGS[i % ENDINGS.length]?.(both));
      await Promise.all(all.map(({ client }) => client.ended()));
      for (const { client } of all) client.close();
      peer.pod.answer((_seen, connection) => connection.write("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"));
      for (let i = 0; i < 5; i += 1) {
        const client = await WsClient.try(served.port, consoleTarget("ubuntu"));
        expect(client.status).toBe(502);
        client.close();
      }
    }
    await eventually("the descriptors", () => served.descriptors(), (now) => now <= before, 15_000);
    expect(peer.pod.open.size).toBe(0);
    expect(served.log).not.toContain("request failed");
    expect(served.log).not.toContain(peer.token);
  }, 40_000);
});
