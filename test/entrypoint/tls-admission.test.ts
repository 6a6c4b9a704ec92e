// The TLS address where connections are counted, or come through proxies that say whom they stand for: before the ClientHello.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { connect as connectPlain } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import { Admission } from "../../src/entrypoint/admission.ts";
import { ConnectionLimits, type ConnectionLimitOptions } from "../../src/entrypoint/connection-limits.ts";
import { TlsFront } from "../../src/entrypoint/tls.ts";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { helloOf, TlsGateway } from "../support/tls-front.ts";
import { Peer, PeerServer } from "../support/tls-peer.ts";

const V1 = "PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n";
const V2 = Buffer.from("0d0a0d0a000d0a515549540a2111000ccb007109c0000201dc0401bb", "hex");

describe.skipIf(!HAS_OPENSSL)("the TLS address", () => {
  let gateway: TlsGateway;
  let backend: PeerServer;
  let front: TlsFront;
  let admission: Admission;
  const said: unknown[] = [];

  beforeEach(() => {
    said.length = 0;
    gateway = new TlsGateway();
    backend = new PeerServer();
    gateway.certify("here.test");
  });
  afterEach(async () => {
    front.stop();
    await gateway.stop();
    backend.stop();
  });

  function start(limits: Partial<ConnectionLimitOptions>, proxies: readonly string[] = []): void {
    admission = new Admission(new ConnectionLimits({ connections: 0, connectionsPerAddress: 0, refused: (...line) => said.push(line), ...limits }), proxies);
    front = new TlsFront({
      listen: { host: "127.0.0.1", port: 0 }, admission, servers: gateway.servers, connectTimeoutMs: 1000, tunnelIdleTimeoutMs: 60_000, moved() {},
      route: (serverName) => {
        if (serverName === "pass.test") return { kind: "passthrough", service: "pass", backends: [{ address: "127.0.0.1", port: backend.port }] };
        const certificate = serverName === null ? null : gateway.certificateFor(serverName);
        return certificate === null ? null : { kind: "terminate", certificate };
      },
      log: { refused: (client, _serverName, reason) => said.push([client, reason]), tunnelled: ({ client }) => said.push([client, "tunnelled"]) },
    }, gateway.sweeper);
  }

  /** A TLS connection with this before its ClientHello. */
  async function secure(before: Buffer | string = ""): Promise<TLSSocket> {
    const socket = connectPlain(front.port, "127.0.0.1");
    socket.on("error", () => {});
    await new Promise((resolve) => socket.once("connect", resolve));
    if (before.length > 0) socket.write(before);
    const tls = connect({ socket, servername: "here.test", ca: gateway.authority.pem });
    return new Promise((resolve, reject) => {
      tls.once("secureConnect", () => resolve(tls));
      tls.once("error", reject);
      tls.once("close", () => reject(new Error("closed")));
    });
  }

  /** Status of a request on it; the client that the access line then names. */
  async function ask(tls: TLSSocket): Promise<[status: number, client: unknown]> {
    const { promise, resolve } = Promise.withResolvers<string>();
    tls.once("data", (chunk: Buffer) => resolve(chunk.toString("latin1")));
    tls.write("GET /table HTTP/1.1\r\nHost: here.test\r\n\r\n");
    const status = Number(/^HTTP\/1\.1 (\d+)/.exec(await promise)?.[1] ?? 0);
    return [status, gateway.lines.at(-1)?.["client"]];
  }

  async function untilEmpty(): Promise<void> {
    await eventually("all to have left", () => [front.size, admission.limits.size, admission.limits.clients].join(), (counts) => counts === "0,0,0");
  }

  test("closes at once who is over the limit, without a handshake", async () => {
    start({ connections: 2 });
    const inside = [await secure(), await secure()];
    await expect(secure()).rejects.toThrow();
    expect(await ask(inside[1] as TLSSocket)).toEqual([200, "127.0.0.1"]);
    expect(said).toEqual([["127.0.0.1", "too many connections", 0]]);
    for (const socket of inside) socket.destroy();
    await untilEmpty();
    (await secure()).destroy();
  });

  test("counts passed-through connections, too", async () => {
    start({ connectionsPerAddress: 1 });
    const tunnelled = await Peer.connect(front.port);
    tunnelled.write(await helloOf("pass.test"));
    await backend.peer();
    await expect(secure()).rejects.toThrow();
    tunnelled.cut();
    await untilEmpty();
    (await secure()).destroy();
  });

  test("one count stands for all addresses that share it", async () => {
    start({ connections: 1 });
    admission.limits.enter("192.0.2.1");
    await expect(secure()).rejects.toThrow();
    admission.limits.leave("192.0.2.1");
    (await secure()).destroy();
  });

  test.each<[string, Buffer | string, string]>([
    ["version 1", V1, "203.0.113.9"],
    ["version 2", V2, "203.0.113.9"],
    ["version 2 in one piece with the hello's first byte", Buffer.concat([V2]), "203.0.113.9"],
    ["LOCAL", Buffer.from("0d0a0d0a000d0a515549540a20000000", "hex"), "127.0.0.1"],
  ])("a trusted proxy says before the ClientHello whom it stands for: %s", async (_what, header, client) => {
    start({}, ["127.0.0.1"]);
    const tls = await secure(header);
    expect(await ask(tls)).toEqual([200, client]);
    tls.destroy();
    await untilEmpty();
  });

  test("header and ClientHello may come in any pieces, and what is passed through begins with the ClientHello", async () => {
    start({}, ["127.0.0.1"]);
    const hello = await helloOf("pass.test");
    const all = Buffer.concat([V2, hello]);
    for (const [index, cut] of [1, 12, 16, V2.length - 1, V2.length, V2.length + 1, V2.length + 5, all.length - 1].entries()) {
      const client = await Peer.connect(front.port);
      client.socket.setNoDelay(true);
      client.write(all.subarray(0, cut));
      await new Promise((resolve) => setImmediate(resolve));
      client.write(all.subarray(cut));
      const peer = await backend.peer(index);
      await peer.until(() => peer.receivedBytes === hello.length);
      expect(peer.text).toBe(hello.toString("latin1"));
      client.cut();
    }
    await untilEmpty();
    expect(said).toEqual(Array.from({ length: 8 }, () => ["203.0.113.9", "tunnelled"]));
  });

  test("a trusted proxy that says nothing of it, or says it wrong, is closed", async () => {
    start({}, ["127.0.0.1"]);
    await expect(secure()).rejects.toThrow();
    await expect(secure("PROXY TCP4 203.0.113.9\r\n")).rejects.toThrow();
    await untilEmpty();
    expect(said[0]).toEqual(["127.0.0.1", "no PROXY header", 0]);
  });

  test("one that says nothing at all is closed after ten seconds", async () => {
    start({}, ["127.0.0.1"]);
    const silent = await Peer.connect(front.port);
    await eventually("it to come in", () => front.size, (size) => size === 1);
    gateway.skewMs = 10_100;
    await silent.until(() => silent.isClosed);
    expect(said).toEqual([["127.0.0.1", "no PROXY header in time"]]);
  });

  test("its clients are counted one by one", async () => {
    start({ connectionsPerAddress: 1 }, ["127.0.0.1"]);
    const first = await secure(V1);
    await expect(secure(V2)).rejects.toThrow();
    const other = await secure(V1.replace("203.0.113.9", "203.0.113.10"));
    expect(said).toEqual([["203.0.113.9", "too many connections of this address", 0]]);
    for (const socket of [first, other]) socket.destroy();
    await untilEmpty();
  });

  test("from anybody else a header is not TLS, and nobody believes it", async () => {
    start({}, ["192.0.2.0/24"]);
    await expect(secure(V1)).rejects.toThrow();
    await expect(secure(V2)).rejects.toThrow();
    // To a look at its first byte, "PROXY" might become a POST.
    expect(said).toEqual([["127.0.0.1", "plain HTTP on the TLS address"], ["127.0.0.1", "not TLS"]]);
  });

  test("a handshake that stops after the ClientHello is cut within 15 s, and stands in nobody's way before", async () => {
    start({ connections: 1000 });
    const hello = await helloOf("here.test");
    const startedMs = performance.now();
    const halves = await Promise.all(Array.from({ length: 300 }, async () => {
      const peer = await Peer.connect(front.port);
      peer.write(hello);
      return peer;
    }));
    await eventually("them to be answered", () => halves.filter((peer) => peer.receivedBytes > 0).length, (count) => count === 300);
    const askedMs = performance.now();
    const tls = await secure();
    expect((await ask(tls))[0]).toBe(200);
    expect(performance.now() - askedMs).toBeLessThan(1000);
    tls.destroy();
    await Promise.all(halves.map((peer) => peer.until(() => peer.hasEnded || peer.isClosed, 20_000)));
    expect(performance.now() - startedMs).toBeLessThan(15_000);
    for (const peer of halves) peer.cut();
    await untilEmpty();
  }, 30_000);
});

