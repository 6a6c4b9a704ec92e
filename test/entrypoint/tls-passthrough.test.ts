// Passthrough: the client speaks TLS with the backend itself, and we bring the bytes.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { createServer, type Server, type TLSSocket } from "node:tls";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { helloOf, TlsGateway } from "../support/tls-front.ts";
import { pattern, Peer, PeerServer, sha256 } from "../support/tls-peer.ts";

const DEAD = { address: "127.0.0.1", port: 1 };

describe.skipIf(!HAS_OPENSSL)("passthrough", () => {
  let gateway: TlsGateway;
  let backend: Server;
  let port: number;
  let onConnection: (socket: TLSSocket) => void = () => {};
  let other: PeerServer;

  beforeAll(async () => {
    gateway = new TlsGateway();
    other = new PeerServer();
    // Of the gateway's authority, but not one of the gateway's certificates: only the backend has its key.
    const { cert, key } = gateway.authority.sign({ names: ["DNS:pass.gw.test", "DNS:backend-only.test"] });
    backend = createServer({ cert, key, ALPNProtocols: ["acme-tls/1", "h2", "echo"] }, (socket) => {
      socket.on("error", () => {});
      onConnection(socket);
    });
    await new Promise<void>((resolve) => backend.listen(0, "127.0.0.1", resolve));
    port = (backend.address() as { port: number }).port;
    gateway.certify("*.gw.test");
    gateway.register("pass.gw.test", [{ address: "127.0.0.1", port }], true);
  });
  afterEach(async () => {
    await eventually("all connections to end", () => gateway.front.size, (size) => size === 0);
    onConnection = () => {};
    gateway.refused.length = 0;
    gateway.tunnelled.length = 0;
    gateway.moved.clear();
  });
  afterAll(async () => {
    await gateway.stop();
    backend.close();
    other.stop();
  });

  test("the client verifies the backend's own certificate, though we have one for the name", async () => {
    const socket = await gateway.connect("pass.gw.test");
    expect(socket.authorized).toBe(true);
    expect(socket.getPeerCertificate().subjectaltname).toBe("DNS:pass.gw.test, DNS:backend-only.test");
    socket.destroy();
  });

  test("whatever protocol they agree on is theirs: ACME's tls-alpn-01 gets to the backend", async () => {
    const socket = await gateway.connect("PASS.gw.test.", { ALPNProtocols: ["acme-tls/1"], rejectUnauthorized: false });
    expect(socket.alpnProtocol).toBe("acme-tls/1");
    socket.destroy();
  });

  test("64 MiB through TLS and back, every byte in its place; bytes are counted as they flow", async () => {
    const data = pattern(64 * 1024 * 1024);
    onConnection = (socket) => socket.pipe(socket);
    const socket = await gateway.connect("pass.gw.test");
    const hash = new Bun.CryptoHasher("sha256");
    let received = 0;
    socket.on("data", (chunk: Buffer) => { hash.update(chunk); received += chunk.length; });
    socket.write(data);
    await eventually("all of it", () => received, (bytes) => bytes === data.length, 30_000);
    expect(hash.digest("hex")).toBe(sha256(data));
    const moved = gateway.moved.get("service-pass.gw.test");
    expect(moved?.in).toBeGreaterThan(data.length);
    expect(moved?.out).toBeGreaterThan(data.length);
    expect(gateway.tunnelled).toEqual([]);
    socket.destroy();
    const line = await eventually("the line", () => gateway.tunnelled[0], (found) => found !== undefined);
    expect({ in: line?.bytesIn ?? 0, out: line?.bytesOut ?? 0 }).toEqual(gateway.moved.get("service-pass.gw.test")!);
  }, 40_000);

  test("an end in order is a line with everything in it", async () => {
    onConnection = (socket) => socket.end("bye");
    const socket = await gateway.connect("pass.gw.test");
    socket.resume();
    await new Promise((resolve) => socket.once("end", resolve));
    socket.end();
    const [line] = await eventually("the line", () => gateway.tunnelled, (lines) => lines.length === 1);
    expect(line).toMatchObject({ serverName: "pass.gw.test", service: "service-pass.gw.test", target: `127.0.0.1:${port}`, reason: null });
    expect(line?.durationMs).toBeGreaterThan(0);
  });

  test("a client that is done sending with its first bytes still gets its answer", async () => {
    gateway.register("half.test", [{ address: "127.0.0.1", port: other.port }], true);
    const hello = await helloOf("half.test");
    const before = other.peers.length;
    const client = await Peer.connect(gateway.port);
    client.write(hello);
    client.end();
    const server = await other.peer(before);
    await server.until(() => server.hasEnded);
    expect(server.receivedBytes).toBe(hello.length);
    server.write("answer");
    server.end();
    await client.until(() => client.hasEnded);
    expect([client.text, client.error]).toEqual(["answer", null]);
  });

  test("a backend that leads back here is cut at the first round, and later tunnels are none the worse", async () => {
    const to = { address: "127.0.0.1", port: gateway.port };
    gateway.register("loop.test", [to], true);
    await expect(gateway.connect("loop.test")).rejects.toThrow(/internal.error/i);
    await eventually("the line", () => gateway.tunnelled, (lines) => lines.length === 1);
    expect(gateway.refused).toMatchObject([{ serverName: "loop.test", reason: "a passthrough backend that leads back here" }]);
    expect(gateway.front.tunnelEnds.size).toBe(0);
    (await gateway.connect("pass.gw.test")).destroy();
  });

  test("a backend that is down is passed over, and tried last from then on", async () => {
    gateway.register("two.test", [DEAD, { address: "127.0.0.1", port: other.port }], true);
    const hello = await helloOf("two.test");
    for (let index = 0; index < 4; index += 1) {
      const before = other.peers.length;
      const client = await Peer.connect(gateway.port);
      client.write(hello);
      const server = await other.peer(before);
      await server.until(() => server.receivedBytes === hello.length);
      client.cut();
    }
    await eventually("four lines", () => gateway.tunnelled, (lines) => lines.length === 4);
    const match = gateway.routes.match("two.test")!.route.service;
    if (match.kind !== "gateway") throw new Error("not a gateway");
    expect(gateway.routes.targets(match).map((target) => target.port)).toEqual([other.port, DEAD.port]);
  });

  test("no backend at all is a closed connection and a line that says so", async () => {
    gateway.register("down.test", [DEAD, { address: "127.0.0.1", port: 2 }], true);
    const client = await Peer.connect(gateway.port);
    client.write(await helloOf("down.test"));
    await client.until(() => client.isClosed);
    expect(client.text).toBe("");
    expect(gateway.tunnelled).toMatchObject([{ client: "127.0.0.1", serverName: "down.test", service: "service-down.test", target: "", bytesIn: 0, bytesOut: 0, reason: "no backend could be connected to" }]);
  });

  test("a registration that is taken back ends no connection, and refuses the next", async () => {
    gateway.register("brief.test", [{ address: "127.0.0.1", port: other.port }], true);
    const before = other.peers.length;
    const client = await Peer.connect(gateway.port);
    const hello = await helloOf("brief.test");
    client.write(hello);
    const server = await other.peer(before);
    gateway.gateways = new Map([...gateway.gateways].filter(([name]) => name !== "brief.test"));
    server.write("still here");
    await client.until(() => client.text === "still here");
    const next = await Peer.connect(gateway.port);
    next.write(hello);
    await next.until(() => next.hasEnded);
    expect(next.receivedBytes).toBe(7);
    client.cut();
    next.cut();
  });
});
