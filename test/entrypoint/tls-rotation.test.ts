// A changed certificate: new handshakes get it, and nothing that is open notices.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { TLSSocket } from "node:tls";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { Pod, type PodConnection } from "../support/pod.ts";
import { TlsGateway, type TlsGatewayOptions } from "../support/tls-front.ts";
import { pattern, sha256 } from "../support/tls-peer.ts";
import { clientFrame, handshakeHead } from "../support/ws-client.ts";

describe.skipIf(!HAS_OPENSSL)("a changed certificate", () => {
  let gateway: TlsGateway;
  let pod: Pod;

  beforeEach(() => start());
  afterEach(stop);

  function start(options: TlsGatewayOptions = {}): void {
    pod = new Pod("127.0.1.33", ["web"]);
    gateway = new TlsGateway(options);
    for (const name of ["a.test", "b.test"]) gateway.register(name, [{ address: "127.0.1.33", port: pod.port("web") }]);
  }

  async function stop(): Promise<void> {
    await gateway.stop();
    pod.stop();
  }

  const fingerprint = (socket: TLSSocket): string => createHash("sha256").update(socket.getPeerCertificate().raw).digest("hex");

  /** One request on a connection that stays open; its body has a Content-Length. */
  async function ask(socket: TLSSocket, host: string): Promise<string> {
    let text = "";
    const add = (chunk: Buffer): void => { text += chunk.toString("latin1"); };
    socket.on("data", add);
    socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    await eventually("an answer", () => text, (said) => {
      const length = /content-length: (\d+)/i.exec(said)?.[1];
      return length !== undefined && said.length >= said.indexOf("\r\n\r\n") + 4 + Number(length);
    });
    socket.off("data", add);
    return text;
  }

  test("is what new handshakes get", async () => {
    const first = gateway.certify("a.test");
    const before = await gateway.connect("a.test");
    const second = gateway.certify("a.test");
    const after = await gateway.connect("a.test");
    expect([fingerprint(before), fingerprint(after)]).toEqual([first.fingerprint, second.fingerprint]);
    expect(first.fingerprint).not.toBe(second.fingerprint);
    before.destroy();
    after.destroy();
  });

  test.skipIf(Bun.which("curl") === null)("lets a download and a WebSocket on the old one go on to their ends", async () => {
    gateway.certify("a.test");
    const data = pattern(8 * 1024 * 1024);
    let download: PodConnection | null = null;
    pod.answer((seen, connection) => {
      if (seen.target === "/ws") return connection.accept(seen);
      download = connection;
      connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${data.length}\r\n\r\n`);
      connection.write(data.subarray(0, 1000));
    });
    const file = gateway.file("download");
    const curl = gateway.curl("a.test", "/file", "-o", file);
    const ws = await gateway.connect("a.test");
    let said = "";
    ws.on("data", (chunk: Buffer) => { said += chunk.toString("latin1"); });
    ws.write(handshakeHead(gateway.port, "/ws", { headers: { Host: "a.test" } }));
    await eventually("both under way", () => download !== null && said.includes("101"), Boolean);

    gateway.certify("a.test");
    (await gateway.connect("a.test")).destroy();
    (download as PodConnection | null)?.write(data.subarray(1000));
    ws.write(clientFrame(1, "still here"));
    await eventually("the echo", () => said, (text) => text.endsWith("still here"));
    await curl;
    expect(sha256(readFileSync(file))).toBe(sha256(data));
    expect(ws.destroyed).toBe(false);
    ws.destroy();
  });

  test("keeps idle connections of the old one open: their next request is answered", async () => {
    gateway.certify("a.test");
    const socket = await gateway.connect("a.test");
    expect(await ask(socket, "a.test")).toStartWith("HTTP/1.1 200");
    gateway.certify("a.test");
    (await gateway.connect("a.test")).destroy();
    expect(await ask(socket, "a.test")).toStartWith("HTTP/1.1 200");
    socket.destroy();
  });

  test("with one more name in it does not make the old connection a stranger to its own", async () => {
    gateway.certify("a.test");
    const socket = await gateway.connect("a.test");
    gateway.certificates = [];
    gateway.certify("a.test", "b.test");
    expect(await ask(socket, "a.test")).toStartWith("HTTP/1.1 200");
    expect(await ask(socket, "b.test")).toStartWith("HTTP/1.1 421");
    socket.destroy();
  });

  test("ends the old server with the last of its connections, not before", async () => {
    gateway.certify("a.test");
    const [one, other] = [await gateway.connect("a.test"), await gateway.connect("a.test")];
    expect(gateway.servers.size).toBe(1);
    gateway.certify("a.test");
    const fresh = await gateway.connect("a.test");
    expect(gateway.servers.size).toBe(2);
    one.destroy();
    await eventually("one to be gone", () => gateway.front.size, (size) => size === 2);
    expect(gateway.servers.size).toBe(2);
    other.destroy();
    await eventually("the old server to end", () => gateway.servers.size, (size) => size === 1);
    fresh.destroy();
  });

  test("that nobody was connected with goes at once", async () => {
    gateway.certify("a.test");
    (await gateway.connect("a.test")).destroy();
    await eventually("it to be gone", () => gateway.front.size, (size) => size === 0);
    gateway.certificates = [];
    gateway.servers.keep([]);
    expect(gateway.servers.size).toBe(0);
  });

  test("and more names than may be served at a time: the one longest unasked is closed and comes back", async () => {
    await stop();
    start({ servers: 2 });
    for (const name of ["a.test", "b.test", "c.test"]) gateway.certify(name);
    const first = await gateway.connect("a.test");
    for (const name of ["b.test", "c.test", "a.test", "b.test", "c.test"]) (await gateway.connect(name)).destroy();
    await eventually("only the first to be connected", () => gateway.front.size, (size) => size === 1);
    await eventually("two, and the retired one that is in use", () => gateway.servers.size, (size) => size === 3);
    expect(await ask(first, "a.test")).toStartWith("HTTP/1.1 200");
    first.destroy();
    await eventually("two", () => gateway.servers.size, (size) => size === 2);
  });

  test("and a connection of another certificate that comes from the same port of ours stand for different clients", async () => {
    const [a, b] = [gateway.servers.enter(gateway.certify("a.test")), gateway.servers.enter(gateway.certify("b.test"))];
    const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const { port: local } = listener;
    listener.stop(true); // A port that is free, to come from.
    a.announce(local, "192.0.2.1");
    const said = await gateway.openssl(["-connect", `127.0.0.1:${b.address.port}`, "-bind", `127.0.0.1:${local}`, "-servername", "b.test", "-ign_eof"],
      "GET / HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n");
    expect(said).toContain("HTTP/1.1 421");
    expect(pod.seen).toEqual([]);
    for (const server of [a, b]) server.leave(null);
  });

  test("and a shutdown: what runs ends, nobody new comes in", async () => {
    gateway.certify("a.test");
    const [busy, idle] = [await gateway.connect("a.test"), await gateway.connect("a.test")];
    await ask(idle, "a.test");
    let connection: PodConnection | null = null;
    pod.answer((_seen, own) => { connection = own; own.write("HTTP/1.1 200 OK\r\n\r\nfirst "); });
    let text = "";
    busy.on("data", (chunk: Buffer) => { text += chunk.toString("latin1"); });
    busy.write("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    await eventually("half an answer", () => text, (said) => said.includes("first"));
    const isOver = new Promise((resolve) => idle.once("close", resolve));
    idle.resume();
    gateway.servers.stopAccepting();
    await isOver;
    await expect(gateway.connect("a.test")).rejects.toThrow();
    expect(gateway.refused.at(-1)?.reason).toBe("cannot serve the certificate: shutting down");
    const own = connection as PodConnection | null;
    own?.write("second");
    own?.close();
    await eventually("the other half", () => text, (said) => said.includes("second"));
    busy.destroy();
  });
});
