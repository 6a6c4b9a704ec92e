// Bodies on their way: streamed in both directions with backpressure, and what each side sees when the other one leaves,
// stalls or takes its time. Upstreams here are raw sockets, so that a test decides about every byte and every pause.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { createServer, type Server, type Socket } from "node:net";
import { Cluster, head, ok, readAnswers } from "../support/http.ts";
import { RawClient } from "../support/raw.ts";

const MIB = 1024 ** 2;
/** What kernels, Bun and we may hold of a body that nobody takes. Loopback sockets alone hold up to 10 MiB. */
const HELD_LIMIT_BYTES = 32 * MIB;

/** An upstream whose connections the test drives by hand. */
class Hand {
  readonly connections: Connection[] = [];
  readonly #server: Server;
  #waiters: Array<() => void> = [];

  private constructor(server: Server) {
    this.#server = server;
  }

  static async open(): Promise<Hand> {
    const server = createServer({ allowHalfOpen: true });
    const hand = new Hand(server);
    server.on("connection", (socket) => { hand.connections.push(new Connection(socket, () => hand.#wake())); hand.#wake(); });
    await new Promise<void>((resolve) => { server.listen(0, "127.0.1.6", resolve); });
    return hand;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  /** The next connection that carries a request head. */
  async request(): Promise<Connection> {
    const from = this.connections.length;
    const fresh = (): Connection | undefined => this.connections.slice(Math.max(0,
      from - 1)).find((connection) => connection.text.includes("\r\n\r\n") && !connection.isTaken);
    await this.until(() => fresh() !== undefined);
    const connection = fresh() as Connection;
    connection.isTaken = true;
    return connection;
  }

  async until(condition: () => boolean, timeoutMs = 4000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!condition()) {
      if (Date.now() > deadline) throw new Error(`the upstream waited in vain; of ${this.connections.length} the last: ${this.connections.at(-1)?.text.slice(0, 200)}`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.push(resolve);
      const timer = setTimeout(resolve, 20);
      await promise;
      clearTimeout(timer);
    }
  }

  reset(): void {
    for (const { socket } of this.connections.splice(0)) socket.destroy();
  }

  stop(): void {
    this.reset();
    this.#server.close();
  }

  #wake(): void {
    for (const waiter of this.#waiters.splice(0)) waiter();
  }
}

class Connection {
  /** The start of what arrived; of long bodies only the length is kept. */
  text = "";
  bytes = 0;
  isTaken = false;
  /** The other side closed or reset it. */
  isEnded = false;

  constructor(readonly socket: Socket, changed: () => void) {
    socket.on("data", (chunk: Buffer) => {
      this.bytes += chunk.length;
      if (this.text.length < MIB) this.text += chunk.toString("latin1");
      changed();
    });
    const ended = (): void => { this.isEnded = true; changed(); };
    socket.on("end", () => { ended(); socket.destroy(); });
    socket.on("error", ended);
    socket.on("close", ended);
  }

  /** Bytes behind the head. */
  get bodyBytes(): number {
    return this.bytes - this.text.indexOf("\r\n\r\n") - 4;
  }

  write(text: string | Buffer): void {
    this.socket.write(typeof text === "string" ? Buffer.from(text, "latin1") : text);
  }

  /** Bytes that the kernel took. */
  get sentBytes(): number {
    return this.socket.bytesWritten - this.socket.writableLength;
  }
}

let hand: Hand;
let cluster: Cluster;
beforeAll(async () => {
  hand = await Hand.open();
  cluster = await Cluster.start({ config: `
entrypoints: { http: "127.0.0.1:0" }
services: { hand: { host: 127.0.1.6, port: ${hand.port} }, healthz: { text: "OK" } }
routes:
  - { path: /, service: hand, bodyLimit: 1GiB }
  - { path: /hasty, service: hand, readTimeout: 300ms }
  - { path: /healthz, service: healthz }
` });
});
afterAll(async () => {
  await cluster.stop();
  hand.stop();
});
beforeEach(() => hand.reset());

async function open(request: string): Promise<RawClient> {
  const client = await RawClient.open(cluster.port);
  client.write(request);
  return client;
}

/** Waits until `figure` has not grown for 400 ms, and gives it. */
async function settled(figure: () => number): Promise<number> {
  let last = -1;
  for (let quietSince = Date.now(); Date.now() - quietSince < 400;) {
    if (figure() !== last) {
      last = figure();
      quietSince = Date.now();
    }
    await Bun.sleep(20);
  }
  return last;
}

/** The access line for `path`, once it is there. */
async function accessLine(path: string): Promise<Record<string, unknown>> {
  const find = (): Record<string, unknown> | undefined => cluster.router.lines.find((line) => line["path"] === path);
  await hand.until(() => find() !== undefined);
  return find() as Record<string, unknown>;
}

const BIG = 200 * MIB;

describe("a body from the upstream", () => {
  test("arrives as it is sent, piece by piece: a stream of events is not held back", async () => {
    const client = await open(head("GET", "/events"));
    const upstream = await hand.request();
    upstream.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (const word of ["one", "two", "three"]) {
      upstream.write(`${word.length.toString(16)}\r\n${word}\r\n`);
      await client.until(() => client.text.includes(word));
    }
    upstream.write("0\r\n\r\n");
    await client.until(() => readAnswers(client.text).length === 1);
    expect(readAnswers(client.text)[0]?.body).toBe("onetwothree");
    client.close();
  });

  test("is not read while the client does not read: what is held is bounded", async () => {
    const client = await open(head("GET", "/download"));
    client.socket.pause();
    const upstream = await hand.request();
    upstream.write(`HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: ${BIG}\r\n\r\n`);
    const piece = Buffer.alloc(MIB, "x");
    for (let i = 0; i < BIG / MIB; i += 1) upstream.socket.write(piece);
    const held = await settled(() => upstream.sentBytes);
    expect(held).toBeLessThan(HELD_LIMIT_BYTES);
    // And goes on as soon as the client does, to the last byte.
    let got = 0;
    client.socket.removeAllListeners("data");
    client.socket.on("data", (chunk: Buffer) => { got += chunk.length; });
    client.socket.resume();
    await hand.until(() => got >= BIG, 20_000);
    await hand.until(() => cluster.router.app.counts.running === 0);
    client.close();
  }, 30_000);

  test("is cut at the upstream when the client leaves", async () => {
    const client = await open(head("GET", "/left-while-reading"));
    const upstream = await hand.request();
    upstream.write(`HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: ${BIG}\r\n\r\n${"x".repeat(100_000)}`);
    await client.until(() => client.text.length > 1000);
    client.close();
    const pump = setInterval(() => upstream.socket.write(Buffer.alloc(65_536)), 5);
    await hand.until(() => upstream.isEnded);
    clearInterval(pump);
    expect(await accessLine("/left-while-reading")).toMatchObject({ status: 200, reason: "client went away" });
    await hand.until(() => cluster.router.app.counts.running === 0);
  });

  const CUTS: ReadonlyArray<readonly [name: string, framing: string, body: string,
    cut: (upstream: Connection) => void]> = [
    ["of a known length that ends early", `Content-Length: ${2 * MIB}`,
      "x".repeat(100_000), (upstream) => upstream.socket.end()],
    ["of a known length that is reset", `Content-Length: ${2 * MIB}`,
      "x".repeat(100_000), (upstream) => upstream.socket.resetAndDestroy()],
    ["in chunks that ends early", "Transfer-Encoding: chunked", "5\r\nhello\r\n", (upstream) => upstream.socket.end()],
    ["in chunks that is reset", "Transfer-Encoding: chunked",
      "5\r\nhello\r\n", (upstream) => upstream.socket.resetAndDestroy()],
    ["in chunks that ends inside of one", "Transfer-Encoding: chunked",
      "5\r\nhel", (upstream) => upstream.socket.end()],
    ["in chunks that become malformed", "Transfer-Encoding: chunked",
      "5\r\nhello\r\n", (upstream) => upstream.write("0x3\r\nabc\r\n0\r\n\r\n")],
    ["without a length that is reset", "X-None: 1", "hello", (upstream) => upstream.socket.resetAndDestroy()],
  ];
  test.each(CUTS)("%s is never a whole answer to the client: its connection is cut", async (name, framing,
    body, cut) => {
    const path = `/cut-${CUTS.findIndex(([other]) => other === name)}`;
    const client = await open(head("GET", path));
    const upstream = await hand.request();
    upstream.write(`HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n${framing}\r\n\r\n${body}`);
    await client.until(() => client.text.includes("\r\n\r\n") && client.body.length >= 3);
    cut(upstream);
    await client.until(() => client.isClosed);
    expect(client.header("transfer-encoding")).toBe("chunked");
    expect(client.text.endsWith("0\r\n\r\n")).toBe(false);
    expect((await accessLine(path))["reason"]).toBeString();
  });

  test("that stalls for longer than the route's read timeout is cut on both sides", async () => {
    const client = await open(head("GET", "/hasty/stalled"));
    const upstream = await hand.request();
    upstream.write("HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    await client.until(() => client.isClosed);
    expect(client.text.endsWith("0\r\n\r\n")).toBe(false);
    await hand.until(() => upstream.isEnded);
    expect(await accessLine("/hasty/stalled")).toMatchObject({ status: 200,
      reason: "upstream did not answer in time" });
  });

  test("may take longer than the read timeout in all, as long as it moves", async () => {
    const client = await open(head("GET", "/hasty/slow"));
    const upstream = await hand.request();
    upstream.write("HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (let i = 0; i < 6; i += 1) {
      // The pace is what is tested: six times 100 ms, with 300 ms allowed between two.
      await Bun.sleep(100);
      upstream.write("1\r\nx\r\n");
    }
    upstream.write("0\r\n\r\n");
    await client.until(() => readAnswers(client.text).length === 1);
    expect(readAnswers(client.text)[0]?.body).toBe("xxxxxx");
    client.close();
  });
});

describe("a body from the client", () => {
  test.each([["announced", [`Content-Length: 200000`], "x".repeat(100_000), "y".repeat(100_000), 200_000],
    ["chunked", ["Transfer-Encoding: chunked"], "5\r\nhello\r\n", "5\r\nworld\r\n0\r\n\r\n",
      25]] as const)("%s, arrives while it is sent", async (_name, lines, first, second, wireBytes) => {
    const client = await open(head("POST", "/upload", [...lines]) + first);
    const upstream = await hand.request();
    await hand.until(() => upstream.bodyBytes >= first.length);
    client.write(second);
    await hand.until(() => upstream.bodyBytes >= wireBytes);
    upstream.write(ok("done"));
    await client.until(() => client.text.endsWith("done"));
    client.close();
  });

  test("is not read while the upstream does not read: what is held is bounded", async () => {
    const client = await open(head("POST", "/stalled-upload", [`Content-Length: ${BIG}`]));
    const upstream = await hand.request();
    upstream.socket.pause();
    const piece = Buffer.alloc(MIB, "x");
    for (let i = 0; i < BIG / MIB; i += 1) client.write(piece);
    const held = await settled(() => client.socket.bytesWritten - client.socket.writableLength);
    expect(held).toBeLessThan(HELD_LIMIT_BYTES);
    upstream.socket.resume();
    await hand.until(() => upstream.bodyBytes >= BIG, 20_000);
    upstream.write(ok("done"));
    await client.until(() => client.text.endsWith("done"));
    client.close();
  }, 30_000);

  test.each([["announced", ["Content-Length: 500000"], "x".repeat(100_000)],
    ["chunked", ["Transfer-Encoding: chunked"], "5\r\nhello\r\n"]] as const)(
    "%s, that the client leaves in the middle of is an abort for the upstream, not an end", async (name,
      lines, part) => {
      const client = await open(head("POST", `/left-${name}`, [...lines]) + part);
      const upstream = await hand.request();
      await hand.until(() => upstream.bodyBytes >= part.length);
      client.close();
      await hand.until(() => upstream.isEnded);
      expect(upstream.text.endsWith("0\r\n\r\n")).toBe(false);
      expect(await accessLine(`/left-${name}`)).toMatchObject({ status: 499 });
      await hand.until(() => cluster.router.app.counts.running === 0 && cluster.router.app.counts.upstream.open === 0);
    });

  test("a short one that the client leaves in the middle of reaches nobody, and is no error of ours", async () => {
    const client = await open(`${head("POST", "/left-short", ["Content-Length: 1000"])}hello`);
    await hand.until(() => cluster.router.app.counts.running === 1);
    client.close();
    expect(await accessLine("/left-short")).toMatchObject({ status: 499 });
    expect(hand.connections).toHaveLength(0);
    expect(cluster.router.lines.filter((line) => line["level"] === "error")).toEqual([]);
  });

  test("is given up when the upstream leaves in the middle of it: 502", async () => {
    const client = await open(`${head("POST", "/refused-upload", ["Content-Length: 500000"])}${"x".repeat(100_000)}`);
    const upstream = await hand.request();
    upstream.socket.resetAndDestroy();
    await client.until(() => client.text.includes("\r\n\r\n") || client.isClosed);
    expect(client.status).toBe(502);
    client.close();
  });

  test("and one from the upstream cross each other: neither waits for the other's end", async () => {
    const client = await open(`${head("POST", "/duplex", ["Transfer-Encoding: chunked"])}4\r\nping\r\n`);
    const upstream = await hand.request();
    await hand.until(() => upstream.text.includes("ping"));
    upstream.write("HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npong\r\n");
    await client.until(() => client.text.includes("pong"));
    client.write("5\r\nagain\r\n0\r\n\r\n");
    await hand.until(() => upstream.text.endsWith("again\r\n0\r\n\r\n"));
    upstream.write("3\r\nend\r\n0\r\n\r\n");
    await client.until(() => readAnswers(client.text).length === 1);
    expect(readAnswers(client.text)[0]?.body).toBe("pongend");
    client.close();
  });
});

describe("waiting for an answer", () => {
  test("ends for the upstream when the client leaves", async () => {
    const client = await open(head("GET", "/long-poll"));
    const upstream = await hand.request();
    client.close();
    await hand.until(() => upstream.isEnded);
    expect(await accessLine("/long-poll")).toMatchObject({ status: 499, upstream_ms: null });
    await hand.until(() => cluster.router.app.counts.running === 0 && cluster.router.app.counts.upstream.open === 0);
  });

  test("ends for the upstream as well when the client leaves at once and the connection had been used before", async () => {
    const first = await open(head("GET", "/first"));
    const upstream = await hand.request();
    upstream.write(ok("first"));
    await first.until(() => first.text.endsWith("first"));
    first.write(head("GET", "/left-at-once"));
    await hand.until(() => upstream.text.includes("/left-at-once"));
    first.close();
    await hand.until(() => upstream.isEnded);
    expect(hand.connections).toHaveLength(1);
    expect(await accessLine("/left-at-once")).toMatchObject({ status: 499 });
  });

  test("of one client does not hold up another one", async () => {
    const waiting = await open(head("GET", "/long-poll-2"));
    const upstream = await hand.request();
    const other = await RawClient.ask(cluster.port, head("GET", "/healthz"));
    expect(other.status).toBe(200);
    upstream.write(ok("at last"));
    await waiting.until(() => waiting.text.endsWith("at last"));
    waiting.close();
  });

  test("starts when the request is whole: a slow upload is not counted", async () => {
    const client = await open(`${head("POST", "/hasty/slow-upload", ["Content-Length: 70000"])}${"x".repeat(69_990)}`);
    const upstream = await hand.request();
    for (let i = 0; i < 5; i += 1) {
      // Slower in all than the 300 ms that the upstream has for its answer.
      await Bun.sleep(100);
      client.write("yy");
    }
    await hand.until(() => upstream.bodyBytes === 70_000);
    upstream.write(ok("done"));
    await client.until(() => client.text.endsWith("done"));
    expect(client.status).toBe(200);
    client.close();
  });

  test("500 clients that leave at once leave nothing behind", async () => {
    const clients = await Promise.all(Array.from({ length: 500 }, () => open(head("GET", "/crowd"))));
    await hand.until(() => hand.connections.filter(({ text }) => text.includes("\r\n\r\n")).length === 500);
    expect(cluster.router.app.counts).toMatchObject({ running: 500, upstream: { open: 500, idle: 0 } });
    for (const client of clients) client.close();
    await hand.until(() => hand.connections.every(({ isEnded }) => isEnded));
    await hand.until(() => cluster.router.app.counts.running === 0);
    expect(cluster.router.app.counts).toEqual({ running: 0, sessions: 0, upstream: { open: 0, idle: 0 } });
  }, 20_000);
});
