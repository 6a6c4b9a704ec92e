// The tunnel on its own, between two TCP peers that do what they are told.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import type { Socket, TCPSocketListener } from "bun";
import { Sweeper } from "../../src/lib/deadlines.ts";
import { Turns } from "../../src/upstream/turns.ts";
import { Tunnel, type TunnelAddress, type TunnelEnd, type TunnelRequest } from "../../src/upstream/tunnel.ts";
import { eventually } from "../support/eventually.ts";
import { pattern, Peer, PeerServer, sha256 } from "../support/tls-peer.ts";
import { settled } from "../support/ws-client.ts";

/** Far above what kernels and the tunnel hold, far below what is offered. */
const BOUND_BYTES = 24 * 1024 * 1024;
const MUCH = 96 * 1024 * 1024;
const MUCH_DATA = pattern(MUCH);

let skewMs = 0;
let sweeper: Sweeper;
let backend: PeerServer;
let front: TCPSocketListener<{ tunnel: Tunnel | null }>;
let request: Partial<TunnelRequest>;
let ends: TunnelEnd[];
let failed: TunnelAddress[];
let moved: { in: number; out: number };
let clients: Peer[];
const children: Bun.Subprocess[] = [];

beforeEach(() => {
  skewMs = 0;
  sweeper = new Sweeper(() => performance.now() + skewMs);
  backend = new PeerServer();
  request = {};
  ends = [];
  failed = [];
  clients = [];
  moved = { in: 0, out: 0 };
  front = Bun.listen<{ tunnel: Tunnel | null }>({
    hostname: "127.0.0.1", port: 0, allowHalfOpen: true,
    socket: {
      open: (socket) => {
        socket.data = { tunnel: null };
        socket.data.tunnel = open(socket);
      },
      data: (socket, chunk) => socket.data.tunnel?.clientData(chunk),
      drain: (socket) => socket.data.tunnel?.clientDrained(),
      end: (socket) => socket.data.tunnel?.clientEnded(),
      close: (socket, error) => socket.data.tunnel?.clientClosed(error ?? null),
      error: () => {},
    },
  });
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill(9);
  for (const client of clients) client.cut();
  backend.stop();
  front.stop(true);
  sweeper.close();
});

function open(socket: Socket<{ tunnel: Tunnel | null }>): Tunnel {
  return new Tunnel(socket, {
    backends: [{ address: "127.0.0.1", port: backend.port }], connectTimeoutMs: 2000, idleTimeoutMs: 3_600_000, halfOpen: true,
    first: new Uint8Array(0), ...request,
    failed: (address) => failed.push(address),
    moved: (bytesIn, bytesOut) => { moved.in += bytesIn; moved.out += bytesOut; },
    ended: (end) => ends.push(end),
  }, sweeper);
}

async function dial(): Promise<Peer> {
  const client = await Peer.connect(front.port);
  clients.push(client);
  return client;
}

/** Both ends of one tunnel. */
async function pair(): Promise<{ client: Peer; server: Peer }> {
  const before = backend.peers.length;
  const client = await dial();
  return { client, server: await backend.peer(before) };
}

async function ended(): Promise<TunnelEnd> {
  const found = await eventually("the end of the tunnel", () => ends, (all) => all.length > 0);
  expect(sweeper.size).toBe(0);
  return found[0] as TunnelEnd;
}

function descriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

type SilentAddress = { readonly address: TunnelAddress; /** Answers after all; resolves when the late connection came and went. */ wake(): Promise<void> };

/** An address where connecting takes for ever: the queue of its listener is full. */
async function silentAddress(): Promise<SilentAddress> {
  const child = Bun.spawn(["python3", "-c", SILENT], { stdin: "pipe", stdout: "pipe", stderr: "ignore" });
  children.push(child);
  const reader = child.stdout.getReader();
  let said = "";
  const line = async (): Promise<string> => {
    while (!said.includes("\n")) {
      const { done, value } = await reader.read();
      if (done) throw new Error(`the silent address has ended (${child.exitCode ?? child.signalCode}) after ${JSON.stringify(said)}`);
      said += Buffer.from(value).toString();
    }
    const [first = "", ...rest] = said.split("\n");
    said = rest.join("\n");
    return first;
  };
  return {
    address: { address: "127.0.0.1", port: Number(await line()) },
    wake: async () => {
      child.stdin.write("\n");
      await child.stdin.flush();
      expect(await line()).toBe("came and went");
    },
  };
}
const SILENT = `
import socket, sys
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(0)
queue = []
for _ in range(3):
    own = socket.socket()
    own.setblocking(False)
    try: own.connect(listener.getsockname())
    except BlockingIOError: pass
    queue.append(own)
ports = [own.getsockname()[1] for own in queue]
print(listener.getsockname()[1], flush=True)
sys.stdin.readline()
for own in queue: own.close()
while True:
    late, peer = listener.accept()
    if peer[1] in ports: continue
    try: late.recv(1)
    except ConnectionError: pass
    print("came and went", flush=True)
`;
const HAS_PYTHON = Bun.which("python3") !== null;

describe("tunnel", () => {
  test("brings bytes both ways as they are, the first ones included", async () => {
    request = { first: Buffer.from("before ") };
    const { client, server } = await pair();
    client.write("client");
    await server.until(() => server.text === "before client");
    server.write("server");
    await client.until(() => client.text === "server");
    expect(moved).toEqual({ in: 13, out: 6 });
  });

  test("passes the client's end on while the backend goes on", async () => {
    const { client, server } = await pair();
    client.write("question");
    client.end();
    await server.until(() => server.hasEnded);
    expect(server.text).toBe("question");
    server.write("answer");
    await client.until(() => client.text === "answer");
    expect(client.hasEnded).toBe(false);
    server.end();
    await client.until(() => client.hasEnded);
    expect(await ended()).toEqual({ bytesIn: 8, bytesOut: 6, reason: null });
    expect(client.error).toBeNull();
  });

  test("passes the backend's end on while the client goes on", async () => {
    const { client, server } = await pair();
    server.write("banner");
    server.end();
    await client.until(() => client.hasEnded);
    expect(client.text).toBe("banner");
    client.write("more");
    await server.until(() => server.text === "more");
    expect(server.hasEnded).toBe(false);
    client.end();
    await server.until(() => server.hasEnded);
    expect(await ended()).toEqual({ bytesIn: 4, bytesOut: 6, reason: null });
    expect(server.error).toBeNull();
  });

  test("carries 64 MiB each way at the same time, every byte in its place", async () => {
    const data = pattern(64 * 1024 * 1024);
    const { client, server } = await pair();
    client.write(data);
    client.end();
    server.write(data);
    server.end();
    await Promise.all([client.until(() => client.hasEnded, 30_000), server.until(() => server.hasEnded, 30_000)]);
    const hash = sha256(data);
    expect([client.hash, server.hash]).toEqual([hash, hash]);
    expect(await ended()).toEqual({ bytesIn: data.length, bytesOut: data.length, reason: null });
    expect(moved).toEqual({ in: data.length, out: data.length });
  });

  for (const [slow, quick] of [["client", "server"], ["server", "client"]] as const) {
    test(`stops reading the ${quick} while the ${slow} does not read, and goes on when it does`, async () => {
      const ends = await pair();
      const data = MUCH_DATA;
      ends[slow].pause();
      ends[quick].write(data);
      ends[quick].end();
      const taken = await settled(() => ends[quick].sentBytes);
      expect(taken).toBeGreaterThan(0);
      expect(taken).toBeLessThan(BOUND_BYTES);
      // The other direction does not wait for this one.
      ends[slow].write("still here");
      await ends[quick].until(() => ends[quick].text === "still here");
      ends[slow].resume();
      await ends[slow].until(() => ends[slow].hasEnded, 30_000);
      expect(ends[slow].hash).toBe(sha256(data));
    });
  }

  test("brings a half-closed client everything that it reads slowly, though the backend left long ago", async () => {
    const { client, server } = await pair();
    const data = pattern(32 * 1024 * 1024);
    client.end();
    await server.until(() => server.hasEnded);
    client.pause();
    server.write(data);
    server.end();
    await settled(() => server.sentBytes);
    client.resume();
    await client.until(() => client.hasEnded, 30_000);
    expect(client.hash).toBe(sha256(data));
    expect((await ended()).reason).toBeNull();
  });

  test("brings a slow backend everything that a client said before it left in order", async () => {
    const { client, server } = await pair();
    const data = pattern(32 * 1024 * 1024);
    server.end();
    await client.until(() => client.hasEnded);
    server.pause();
    client.write(data);
    client.end();
    await settled(() => client.sentBytes);
    server.resume();
    await server.until(() => server.hasEnded, 30_000);
    expect(server.hash).toBe(sha256(data));
    expect((await ended()).reason).toBeNull();
  });

  test.skipIf(!HAS_PYTHON)("reads no more of a client than is sent at once while it dials", async () => {
    const silent = await silentAddress();
    request = { backends: [silent.address], connectTimeoutMs: 60_000 };
    const client = await dial();
    client.write(MUCH_DATA);
    expect(await settled(() => client.sentBytes)).toBeLessThan(BOUND_BYTES);
  });

  test("counts what has crossed while it is still open", async () => {
    const { client, server } = await pair();
    client.write(pattern(1_000_000));
    server.write(pattern(2_000_000));
    await server.until(() => server.receivedBytes === 1_000_000);
    await client.until(() => client.receivedBytes === 2_000_000);
    expect(ends).toEqual([]);
    expect(moved).toEqual({ in: 1_000_000, out: 2_000_000 });
  });
});

describe("what breaks a tunnel", () => {
  test("a backend's reset in the middle is a reset for the client, no clean end", async () => {
    const { client, server } = await pair();
    server.write("half an ans");
    await client.until(() => client.text === "half an ans");
    server.cut();
    await client.until(() => client.isClosed);
    expect(client.hasEnded).toBe(false);
    expect((client.error as NodeJS.ErrnoException).code).toBe("ECONNRESET");
    expect((await ended()).reason).toBe("backend closed the connection");
  });

  test("a client's reset is a reset for the backend", async () => {
    const { client, server } = await pair();
    client.write("half a quest");
    await server.until(() => server.text === "half a quest");
    client.cut();
    await server.until(() => server.isClosed);
    expect((server.error as NodeJS.ErrnoException).code).toBe("ECONNRESET");
    expect((await ended()).reason).toBe("client closed the connection");
  });

  test("a client that resets while it is not read, because the backend is slow, ends the tunnel at once", async () => {
    const { client, server } = await pair();
    server.pause();
    client.write(MUCH_DATA);
    await settled(() => client.sentBytes);
    client.cut();
    expect((await ended()).reason).toBe("client closed the connection");
  });

  test.skipIf(!HAS_PYTHON)("a client that leaves while its backend is dialled frees everything", async () => {
    const silent = await silentAddress();
    request = { backends: [silent.address], connectTimeoutMs: 60_000 };
    const client = await dial();
    await eventually("the dial", () => sweeper.size, (size) => size === 1);
    client.cut();
    expect((await ended()).reason).toBe("client closed the connection");
  });

  test("a backend that answers early and wants no more gets its answer through to a client that still sends", async () => {
    const { client, server } = await pair();
    client.write(MUCH_DATA);
    await server.until(() => server.receivedBytes > 0);
    // It waits for the backend, and is not read any more.
    server.pause();
    await settled(() => client.sentBytes);
    server.write("413");
    server.end();
    await client.until(() => client.text === "413" && client.hasEnded);
    server.cut();
    await eventually("the client's bytes to be dropped", () => client.sentBytes, (bytes) => bytes === MUCH);
    expect(ends).toEqual([]);
    expect(client.isClosed).toBe(false);
    client.end();
    expect((await ended()).reason).toBeNull();
    expect(client.error).toBeNull();
  });

  test("a client that does not go when all is over is sent away after ten seconds", async () => {
    const { client, server } = await pair();
    server.write("413");
    server.end();
    await client.until(() => client.hasEnded);
    server.cut();
    client.write("x"); // Tells the tunnel that the backend is gone.
    await settled(() => descriptors());
    expect(ends).toEqual([]);
    skewMs = 11_000;
    expect((await ended()).reason).toBeNull();
  });

  test("a backend that is done is done where it cannot be half-closed: the client has ten seconds to go", async () => {
    request = { halfOpen: false, idleTimeoutMs: Infinity };
    const { client, server } = await pair();
    server.write("bye");
    server.end();
    await client.until(() => client.hasEnded);
    expect(client.text).toBe("bye");
    expect(ends).toEqual([]);
    skewMs = 11_000;
    expect((await ended()).reason).toBeNull();
    await server.until(() => server.isClosed);
  });

  for (const [slow, quick, said] of [["client", "server", "client"], ["server", "client", "backend"]] as const) {
    test(`a ${said} that stops reading is given up after five minutes where nobody else would see it, whatever it says meanwhile`, async () => {
      request = { halfOpen: false, idleTimeoutMs: Infinity };
      const both = await pair();
      both[slow].pause();
      both[quick].write(MUCH_DATA);
      await settled(() => both[quick].sentBytes);
      skewMs = 290_000;
      both[slow].write("alive");
      await both[quick].until(() => both[quick].text === "alive");
      await Bun.sleep(250);
      expect(ends).toEqual([]);
      skewMs = 301_000;
      expect((await ended()).reason).toBe(`${said} stopped reading`);
    });
  }

  test("a client that takes a little now and then, and less than it has to, is given up all the same", async () => {
    request = { halfOpen: false, idleTimeoutMs: Infinity, stall: { ms: 500, bytes: MUCH } };
    const { client, server } = await pair();
    client.pause();
    server.write(MUCH_DATA);
    while (ends.length === 0 && client.receivedBytes < MUCH) {
      const before = client.receivedBytes;
      client.resume();
      await client.until(() => client.receivedBytes > before || client.isClosed);
      client.pause();
      await Bun.sleep(20);
    }
    expect(ends[0]?.reason).toBe("client stopped reading");
    expect(client.receivedBytes).toBeLessThan(MUCH);
  });

  test("a backend that takes a little now and then is not: it may be slow for reasons of its own", async () => {
    request = { halfOpen: false, idleTimeoutMs: Infinity, stall: { ms: 200, bytes: MUCH } };
    const { client, server } = await pair();
    server.pause();
    client.write(MUCH_DATA);
    await settled(() => client.sentBytes);
    await Bun.sleep(500);
    server.resume();
    await server.until(() => server.receivedBytes === MUCH, 30_000);
    expect(ends).toEqual([]);
  });

  test("a passed-through client that reads nothing for long is not: that is what its idle limit is for", async () => {
    const { client, server } = await pair();
    const data = MUCH_DATA;
    client.pause();
    server.write(data);
    server.end();
    await settled(() => server.sentBytes);
    skewMs = 3_000_000;
    await Bun.sleep(250);
    expect(ends).toEqual([]);
    client.resume();
    await client.until(() => client.hasEnded, 30_000);
    expect(client.hash).toBe(sha256(data));
  });

  test("silence in both directions ends it at the limit, not before", async () => {
    request = { idleTimeoutMs: 60_000 };
    const { client, server } = await pair();
    client.write("x");
    await server.until(() => server.text === "x");
    skewMs = 55_000;
    await Bun.sleep(250);
    expect(ends).toEqual([]);
    skewMs = 61_000;
    expect((await ended()).reason).toBe("idle");
    await Promise.all([client.until(() => client.isClosed), server.until(() => server.isClosed)]);
  });
});

describe("a tunnel that waits for its turn", () => {
  test("dials when it comes, does not read its client meanwhile, and loses nothing of what it said", async () => {
    const turns = new Turns(1);
    turns.take(() => {});
    request = { turns };
    const client = await dial();
    client.write(MUCH_DATA);
    await settled(() => client.sentBytes);
    expect(client.sentBytes).toBeLessThan(BOUND_BYTES);
    expect([backend.peers.length, turns.size]).toEqual([0, { running: 1, waiting: 1 }]);
    turns.leave();
    await eventually("the backend has the connection", () => backend.peers.length, (count) => count === 1);
    await backend.peers[0]?.until(() => backend.peers[0]?.receivedBytes === MUCH, 30_000);
    expect([backend.peers[0]?.hash, turns.size]).toEqual([sha256(MUCH_DATA), { running: 0, waiting: 0 }]);
  });

  test("keeps it until the first byte of an answer where one is due at once, or until its end", async () => {
    const turns = new Turns(1);
    request = { turns, isAnsweredInTurn: true };
    const { server } = await pair();
    const second = await dial();
    await eventually("the second one waits", () => turns.size, ({ waiting }) => waiting === 1);
    expect(turns.size).toEqual({ running: 1, waiting: 1 });
    server.write("x");
    await eventually("it has its turn", () => turns.size, ({ waiting }) => waiting === 0);
    expect(turns.size).toEqual({ running: 1, waiting: 0 });
    second.cut();
    await eventually("nobody has one", () => turns.size, ({ running }) => running === 0);
  });

  test("which is not answered after a second keeps nobody waiting", async () => {
    const turns = new Turns(1);
    request = { turns, isAnsweredInTurn: true };
    await pair();
    await dial();
    await eventually("the second one waits", () => turns.size, ({ waiting }) => waiting === 1);
    skewMs = 1100;
    await eventually("it has its turn", () => turns.size, ({ waiting }) => waiting === 0);
    expect(ends).toEqual([]);
  });

  test("is out of the queue when its client leaves, and leaves the turn to the next one", async () => {
    const turns = new Turns(1);
    turns.take(() => {});
    request = { turns };
    const [gone, next] = [await dial(), await dial()];
    await eventually("two wait", () => turns.size.waiting, (waiting) => waiting === 2);
    gone.cut();
    await eventually("one waits", () => turns.size.waiting, (waiting) => waiting === 1);
    turns.leave();
    next.write("here");
    await eventually("the backend hears it", () => backend.peers[0]?.text, (text) => text === "here");
    expect([backend.peers.length, turns.size]).toEqual([1, { running: 0, waiting: 0 }]);
  });

  test("is given up when it does not come in time", async () => {
    const turns = new Turns(1);
    turns.take(() => {});
    request = { turns };
    const client = await dial();
    await eventually("one waits", () => turns.size.waiting, (waiting) => waiting === 1);
    skewMs = 2500;
    expect((await ended()).reason).toBe("no backend could be connected to");
    await client.until(() => client.isClosed);
    expect(turns.size).toEqual({ running: 1, waiting: 0 });
  });
});

describe("backends of a tunnel", () => {
  const DEAD = { address: "127.0.0.1", port: 1 };

  test("are tried in turn; the client's bytes reach the one that is there", async () => {
    request = { backends: [DEAD, { address: "127.0.0.1", port: backend.port }] };
    const client = await dial();
    client.write("hello");
    const server = await backend.peer();
    await server.until(() => server.text === "hello");
    expect(failed).toEqual([DEAD]);
  });

  test("that are all down close the client's connection and say so", async () => {
    request = { backends: [DEAD, DEAD] };
    const client = await dial();
    await client.until(() => client.isClosed);
    expect(await ended()).toEqual({ bytesIn: 0, bytesOut: 0, reason: "no backend could be connected to" });
    expect(failed).toEqual([DEAD, DEAD]);
  });

  test("of which there are none end it as well", async () => {
    request = { backends: [] };
    const client = await dial();
    await client.until(() => client.isClosed);
    expect((await ended()).reason).toBe("no backend could be connected to");
  });

  test.skipIf(!HAS_PYTHON)("that do not answer are passed over in time", async () => {
    const silent = await silentAddress();
    request = { backends: [silent.address, { address: "127.0.0.1", port: backend.port }], connectTimeoutMs: 300 };
    const { client, server } = await pair();
    client.write("hello");
    await server.until(() => server.text === "hello");
    expect(failed).toEqual([silent.address]);
  });

  test.skipIf(!HAS_PYTHON)("that open after they were given up do not disturb the one that took their place", async () => {
    const silent = await silentAddress();
    request = { backends: [silent.address, { address: "127.0.0.1", port: backend.port }], connectTimeoutMs: 300 };
    const { client, server } = await pair();
    await silent.wake();
    client.write("hello");
    await server.until(() => server.text === "hello");
    expect(ends).toEqual([]);
  });
});

test("500 tunnels, ended in every way, leave no descriptor and no timer behind", async () => {
  const before = descriptors();
  for (let round = 0; round < 10; round += 1) {
    const pairs = await Promise.all(Array.from({ length: 50 }, async () => {
      const client = await dial();
      client.write("hello");
      return client;
    }));
    await eventually("backends", () => backend.peers.length, (length) => length === (round + 1) * 50);
    for (const [index, client] of pairs.entries()) {
      const server = backend.peers[round * 50 + index] as Peer;
      if (index % 4 === 0) client.cut();
      else if (index % 4 === 1) server.cut();
      else {
        (index % 4 === 2 ? client : server).end();
        (index % 4 === 2 ? server : client).end();
      }
    }
    await eventually("all of them to end", () => ends.length, (length) => length === (round + 1) * 50);
  }
  expect(sweeper.size).toBe(0);
  await eventually("descriptors", descriptors, (now) => now <= before + 1);
}, 30_000);
