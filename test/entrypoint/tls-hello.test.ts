// What comes before a server name is known: a ClientHello in any pieces, things that are none, silence, and crowds.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { TLSSocket } from "node:tls";
import { connect } from "node:tls";
import { Duplex } from "node:stream";
import { connect as connectPlain, type Socket } from "node:net";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { helloOf, TlsGateway, type TlsGatewayOptions } from "../support/tls-front.ts";
import { Peer, PeerServer } from "../support/tls-peer.ts";

/** A TLS alert in the clear: fatal, with this description. */
const alert = (description: number): string => Buffer.from([21, 3, 3, 0, 2, 2, description]).toString("latin1");

describe.skipIf(!HAS_OPENSSL)("a connection that has not said its name", () => {
  let gateway: TlsGateway;
  let backend: PeerServer;

  beforeEach(() => start());
  afterEach(async () => {
    await gateway.stop();
    backend.stop();
  });

  function start(options: TlsGatewayOptions = {}): void {
    backend = new PeerServer();
    gateway = new TlsGateway(options);
    gateway.register("pass.test", [{ address: "127.0.0.1", port: backend.port }], true);
  }

  /** A fresh gateway in place of the one that `beforeEach` made. */
  async function restart(options: TlsGatewayOptions): Promise<void> {
    await gateway.stop();
    backend.stop();
    start(options);
  }

  /** Its bytes in these parts, each on its own; whole at the backend. */
  async function arrives(hello: Buffer, parts: readonly Buffer[]): Promise<void> {
    const client = await Peer.connect(gateway.port);
    client.socket.setNoDelay(true);
    for (const part of parts) {
      client.write(part);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const server = await backend.peer(served);
    served += 1;
    await server.until(() => server.receivedBytes === hello.length);
    expect(server.text).toBe(hello.toString("latin1").slice(0, server.text.length));
    client.cut();
  }
  let served = 0;
  beforeEach(() => { served = 0; });

  describe("and says it", () => {
    test("in two parts, cut at any byte, arrives untouched", async () => {
      const hello = await helloOf("pass.test");
      for (let cut = 1; cut < hello.length; cut += 1) await arrives(hello, [hello.subarray(0, cut), hello.subarray(cut)]);
      expect(gateway.refused).toEqual([]);
    }, 30_000);

    test("a byte at a time", async () => {
      const hello = await helloOf("pass.test", { ALPNProtocols: ["h2"] });
      await arrives(hello, Array.from(hello, (byte) => Buffer.from([byte])));
    });

    test("over several records", async () => {
      const hello = inRecords((await helloOf("pass.test")).subarray(5), 50);
      await arrives(hello, [hello]);
    });

    test("with 60 KiB of extensions", async () => {
      const hello = inRecords(padded((await helloOf("pass.test")).subarray(5), 60 * 1024), 16_384);
      expect(hello.length).toBeGreaterThan(60 * 1024);
      await arrives(hello, [hello.subarray(0, 20_000), hello.subarray(20_000)]);
    });

    test("with more behind it, which arrives as well", async () => {
      const hello = await helloOf("pass.test");
      const all = Buffer.concat([hello, Buffer.alloc(100_000, 7)]);
      await arrives(all, [all]);
    });

    test("and TLS that ends here works with a hello in pieces, too", async () => {
      gateway.certify("here.test");
      const socket = await connectInPieces(gateway.port, "here.test", gateway.authority.pem);
      expect(socket.authorized).toBe(true);
      socket.destroy();
    });
  });

  describe("and says something else", () => {
    /** The whole answer to these bytes. */
    async function answer(bytes: Buffer | string): Promise<string> {
      const client = await Peer.connect(gateway.port);
      client.write(bytes);
      await client.until(() => client.isClosed || client.hasEnded);
      client.cut();
      return client.text;
    }

    test("plain HTTP is told in words that it is at the wrong door", async () => {
      const said = await answer("GET / HTTP/1.1\r\nHost: here.test\r\n\r\n");
      expect(said).toStartWith("HTTP/1.1 400 Bad Request\r\n");
      expect(said).toEndWith("this address speaks HTTPS, not HTTP\n");
      expect(gateway.refused[0]?.reason).toBe("plain HTTP on the TLS address");
    });

    test("garbage, SSLv2 and other protocols are closed without a word", async () => {
      for (const bytes of [Buffer.from("SSH-2.0-OpenSSH_9.2\r\n"), Buffer.from([0x80, 0x2e, 1, 3, 1, 0, 0x15]), Buffer.alloc(200, 0xff), Buffer.from([0])]) {
        expect(await answer(bytes)).toBe("");
      }
      expect(new Set(gateway.refused.map(({ reason }) => reason))).toEqual(new Set(["not TLS"]));
    });

    test("TLS that breaks its rules gets the alert that says so", async () => {
      const hello = await helloOf("pass.test");
      const body = hello.subarray(5);
      expect(await answer(inRecords(padded(body, 70 * 1024), 16_384))).toBe(alert(47));
      expect(await answer(Buffer.from([22, 2, 0, 0, 5, 1, 2, 3, 4, 5]))).toBe(alert(70));
      expect(await answer(Buffer.concat([Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0]), hello]))).toBe(alert(10));
      expect(await answer(Buffer.from([22, 3, 1, 0xff, 0xff, 1]))).toBe(alert(22));
      expect(backend.peers).toEqual([]);
    });

    test("a hello with more to come in its record is refused where TLS ends here, however many come: nobody waits for the rest of it", async () => {
      gateway.certify("here.test");
      const hello = await helloOf("here.test");
      // The record is to have a hundred bytes more than the ClientHello, and they don't come.
      hello.writeUInt16BE(hello.readUInt16BE(3) + 100, 3);
      for (let round = 0; round < 20; round += 1) expect(await answer(hello)).toBe(alert(10));
      expect(new Set(gateway.refused.map(({ reason }) => reason))).toEqual(new Set(["bytes behind the ClientHello in its record"]));
      const socket = await connectInPieces(gateway.port, "here.test", gateway.authority.pem);
      expect(socket.authorized).toBe(true);
      socket.destroy();
    });

    test("an answer reaches a client that is still sending", async () => {
      const client = await Peer.connect(gateway.port);
      const hello = await helloOf("unknown.test");
      client.write(Buffer.concat([hello, Buffer.alloc(3_000_000, 1)]));
      await client.until(() => client.text === alert(112) && client.hasEnded);
      expect(client.error).toBeNull();
      client.cut();
    });

    test("a client that stays after its refusal is cut", async () => {
      const client = await Peer.connect(gateway.port);
      client.write("GET / HTTP/1.1\r\n\r\n");
      await client.until(() => client.hasEnded);
      expect(gateway.front.size).toBe(1);
      gateway.skewMs = 3000;
      await client.until(() => { client.write("x"); return client.isClosed; });
      await eventually("the front to forget it", () => gateway.front.size, (size) => size === 0);
      expect(gateway.refused.length).toBe(1);
      expect(gateway.sweeper.size).toBe(0);
    });

    test("a server name goes to the log only if it can be one", async () => {
      const hello = await helloOf("a-name-of-some-length.test");
      const evil = Buffer.from(hello.toString("latin1").replace("a-name-of-some-length", "a\r\n{\"x\":1}\u0000-of-length"), "latin1");
      expect(await answer(evil)).toBe(alert(50));
      expect(gateway.refused).toEqual([{ client: "127.0.0.1", serverName: null, reason: "malformed extension" }]);
    });
  });

  describe("and says nothing", () => {
    test("is closed after ten seconds, not before", async () => {
      const silent = await Peer.connect(gateway.port);
      const dripping = await Peer.connect(gateway.port);
      dripping.write((await helloOf("pass.test")).subarray(0, 100));
      await eventually("both", () => gateway.front.size, (size) => size === 2);
      gateway.skewMs = 9500;
      await Bun.sleep(250);
      expect(gateway.front.size).toBe(2);
      gateway.skewMs = 10_001;
      await Promise.all([silent.until(() => silent.isClosed), dripping.until(() => dripping.isClosed)]);
      expect(gateway.refused.map(({ reason }) => reason)).toEqual(["no ClientHello in time", "no ClientHello in time"]);
      expect([gateway.front.size, gateway.sweeper.size]).toEqual([0, 0]);
    });

    test("and goes, by whichever end, is one line and leaves nothing behind", async () => {
      const quiet = await Peer.connect(gateway.port);
      quiet.end();
      const loud = await Peer.connect(gateway.port);
      loud.cut();
      await eventually("both lines", () => gateway.refused.length, (length) => length >= 2);
      await eventually("the front to forget them", () => gateway.front.size, (size) => size === 0);
      expect(gateway.refused.map(({ reason }) => reason)).toEqual(["left before the ClientHello", "left before the ClientHello"]);
      expect(gateway.sweeper.size).toBe(0);
    });

    /** So many connections, a hundred at a time: more than a listener's queue holds would wait for retransmissions. */
    async function crowd<T>(count: number, open: () => Promise<T>): Promise<T[]> {
      const all: T[] = [];
      while (all.length < count) {
        all.push(...await Promise.all(Array.from({ length: Math.min(100, count - all.length) }, open)));
        await eventually("them to come in", () => gateway.front.size, (size) => size === all.length);
      }
      return all;
    }

    test("a thousand of them are in nobody's way", async () => {
      gateway.certify("here.test");
      const idle = await crowd(1000, () => idleSocket(gateway.port));
      await eventually("all of them", () => gateway.front.size, (size) => size === 1000);
      const startedMs = performance.now();
      (await gateway.connect("here.test")).destroy();
      expect(performance.now() - startedMs).toBeLessThan(1000);
      for (const socket of idle) socket.destroy();
      await eventually("the front to forget them", () => gateway.front.size, (size) => size === 0);
    });

    test("too many of them: the oldest go, and who says its name is served", async () => {
      await restart({ peekingLimit: 5 });
      gateway.certify("here.test");
      const served = await gateway.connect("here.test");
      const idle: Peer[] = [];
      for (let index = 0; index < 8; index += 1) {
        idle.push(await Peer.connect(gateway.port));
        await eventually("it to come in", () => gateway.front.size + gateway.refused.length, (count) => count >= index + 2);
      }
      await Promise.all(idle.slice(0, 3).map((peer) => peer.until(() => peer.isClosed)));
      expect(idle.slice(3).map(({ isClosed }) => isClosed)).toEqual([false, false, false, false, false]);
      expect(gateway.refused.map(({ reason }) => reason)).toEqual(Array.from({ length: 3 }, () => "too many connections without a ClientHello"));
      (await gateway.connect("here.test")).destroy();
      expect(served.destroyed).toBe(false);
      served.destroy();
      for (const peer of idle) peer.cut();
    });

    test("one that is refused at once, because none may wait, does no harm", async () => {
      await restart({ peekingLimit: 0 });
      const client = await Peer.connect(gateway.port);
      await client.until(() => client.isClosed);
      await eventually("the front to forget it", () => gateway.front.size, (size) => size === 0);
      expect(gateway.refused.length).toBe(1);
    });

    test("what they hold in all is bounded: large halves of hellos push the oldest out", async () => {
      const half = inRecords(padded((await helloOf("pass.test")).subarray(5), 60 * 1024), 16_384).subarray(0, 60 * 1024);
      const peers = await crowd(1150, () => Peer.connect(gateway.port));
      for (const peer of peers) peer.write(half);
      await eventually("refusals", () => gateway.refused.length, (length) => length > 0);
      expect(gateway.refused[0]?.reason).toBe("too many connections without a ClientHello");
      // 64 MiB of halves are 1,092.
      await eventually("the rest to be held", () => gateway.front.size, (size) => size <= 1093);
      for (const peer of peers) peer.cut();
      await eventually("the front to forget them", () => gateway.front.size, (size) => size === 0);
    }, 30_000);
  });

  test("a stop cuts whatever there is, and says so", async () => {
    await Peer.connect(gateway.port);
    const tunnelled = await Peer.connect(gateway.port);
    tunnelled.write(await helloOf("pass.test"));
    await backend.peer();
    await eventually("both", () => gateway.front.size, (size) => size === 2);
    gateway.front.stopAccepting();
    await expect(Peer.connect(gateway.port)).rejects.toThrow();
    expect(gateway.front.size).toBe(2);
    gateway.front.stop();
    await tunnelled.until(() => tunnelled.isClosed);
    expect(gateway.front.size).toBe(0);
    expect(gateway.refused.map(({ reason }) => reason)).toEqual(["shutdown"]);
    expect(gateway.tunnelled.map(({ reason }) => reason)).toEqual(["shutdown"]);
  });
});

/** A handshake message in records of at most `size` bytes. */
function inRecords(message: Buffer, size: number): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const part = message.subarray(at, at + size);
    parts.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part);
  }
  return Buffer.concat(parts);
}

/** A ClientHello message with extensions of no meaning, so that it has about this many bytes. */
function padded(message: Buffer, bytes: number): Buffer {
  // The list of extensions is last; its length stands before it.
  const session = 4 + 2 + 32;
  const ciphers = session + 1 + message[session]!;
  const compression = ciphers + 2 + message.readUInt16BE(ciphers);
  const list = compression + 1 + message[compression]!;
  const more: Buffer[] = [];
  for (let left = bytes - message.length, type = 0xaa00; left > 0; left -= 15_000, type += 1) {
    const data = Buffer.alloc(Math.max(0, Math.min(left, 15_000) - 4));
    more.push(Buffer.from([type >> 8, type & 255, data.length >> 8, data.length & 255]), data);
  }
  const extensions = Buffer.concat([message.subarray(list + 2), ...more]);
  const body = Buffer.concat([message.subarray(4, list), Buffer.from([(extensions.length >> 8) & 255, extensions.length & 255]), extensions]);
  return Buffer.concat([Buffer.from([1, body.length >> 16, (body.length >> 8) & 255, body.length & 255]), body]);
}

function idleSocket(port: number): Promise<Socket> {
  const socket = connectPlain(port, "127.0.0.1");
  socket.on("error", () => {});
  return new Promise((resolve) => socket.once("connect", () => resolve(socket)));
}

/** node:tls over a connection that sends whatever it is given three bytes at a time. */
async function connectInPieces(port: number, servername: string, ca: string): Promise<TLSSocket> {
  const plain = await idleSocket(port);
  plain.setNoDelay(true);
  const pieces = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      void (async () => {
        for (let at = 0; at < chunk.length; at += 3) {
          plain.write(chunk.subarray(at, at + 3));
          await new Promise((resolve) => setImmediate(resolve));
        }
        done();
      })();
    },
  });
  plain.on("data", (chunk) => pieces.push(chunk));
  plain.on("close", () => pieces.destroy());
  const socket = connect({ socket: pieces, servername, ca });
  await new Promise<void>((resolve, reject) => {
    socket.once("secureConnect", resolve);
    socket.once("error", reject);
  });
  return socket;
}
