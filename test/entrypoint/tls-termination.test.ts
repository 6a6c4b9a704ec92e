// TLS that ends here, as curl, openssl and node:tls see it; and what reaches the backend of it.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import type { TLSSocket } from "node:tls";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { answerRecord, Pod, type PodConnection, type Seen } from "../support/pod.ts";
import { helloOf, TlsGateway } from "../support/tls-front.ts";
import { pattern, sha256 } from "../support/tls-peer.ts";
import { clientFrame, handshakeHead, settled } from "../support/ws-client.ts";

const HAS_CURL = Bun.which("curl") !== null;

describe.skipIf(!HAS_OPENSSL)("TLS that ends here", () => {
  let gateway: TlsGateway;
  let pod: Pod;
  /** Takes ten seconds, beside all the others. */
  let stalled: ReturnType<typeof stall>;

  beforeAll(() => {
    pod = new Pod("127.0.1.32", ["web"]);
    gateway = new TlsGateway();
    for (const name of ["a.gw.test", "b.gw.test", "c.gw.test", "other.test"]) gateway.register(name, [{ address: "127.0.1.32", port: pod.port("web") }]);
    gateway.certify("*.gw.test");
    gateway.certify("a.gw.test");
    gateway.certify("other.test");
    stalled = stall(gateway.port);
  });
  afterAll(async () => {
    await gateway.stop();
    pod.stop();
  });
  beforeEach(() => {
    pod.seen.length = 0;
    pod.answer(answerRecord);
    gateway.refused.length = 0;
    gateway.fallback = null;
  });

  /** One request over an open connection. @returns the whole answer: the connection closes after it */
  async function ask(socket: TLSSocket, host: string, path = "/"): Promise<string> {
    let text = "";
    socket.on("data", (chunk: Buffer) => { text += chunk.toString("latin1"); });
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    await new Promise((resolve) => socket.once("close", resolve));
    return text;
  }

  const namesOf = (socket: TLSSocket): string => socket.getPeerCertificate().subjectaltname ?? "";

  describe("the certificate", () => {
    test("is that of the server name: an exact one before a wildcard", async () => {
      for (const [name, expected] of [["a.gw.test", "DNS:a.gw.test"], ["b.gw.test", "DNS:*.gw.test"], ["OTHER.test", "DNS:other.test"]] as const) {
        const socket = await gateway.connect(name);
        expect(namesOf(socket)).toBe(expected);
        socket.destroy();
      }
    });

    test("is for nobody else: an unknown name gets the alert that says so", async () => {
      const said = await gateway.openssl(["-servername", "nobody.test"]);
      expect(said).toContain("unrecognized name");
      expect(said).toContain("no peer certificate available");
      expect(gateway.refused).toEqual([{ client: "127.0.0.1", serverName: "nobody.test", reason: "unknown server name" }]);
    });

    test("is not shown to a client that says no name, unless there is one for it", async () => {
      const said = await gateway.openssl(["-noservername"]);
      expect(said).toContain("unrecognized name");
      expect(gateway.refused[0]).toMatchObject({ serverName: null, reason: "no server name" });
      gateway.fallback = gateway.certificateFor("other.test");
      expect(await gateway.openssl(["-noservername"])).toContain("Verify return code: 0 (ok)");
      const stranger = await gateway.connect("nobody.test", { rejectUnauthorized: false });
      expect(namesOf(stranger)).toBe("DNS:other.test");
      stranger.destroy();
    });

    test("whose key does not fit is an alert and a line, and harms no other", async () => {
      const broken = { ...gateway.certificateFor("other.test")!, names: ["broken.test"], fingerprint: "00", keyPem: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" };
      gateway.certificates = [...gateway.certificates, broken];
      expect(await gateway.openssl(["-servername", "broken.test"])).toContain("internal error");
      expect(gateway.refused[0]?.reason).toStartWith("cannot serve the certificate: ");
      gateway.certificates = gateway.certificates.filter((each) => each !== broken);
      (await gateway.connect("a.gw.test")).destroy();
    });
  });

  describe("the protocol", () => {
    const AEAD_ECDHE = /^(?:TLS_AES_\d+_GCM_SHA\d+|TLS_CHACHA20_POLY1305_SHA256|ECDHE-ECDSA-(?:AES\d+-GCM-SHA\d+|CHACHA20-POLY1305))$/;

    test("is TLS 1.2 or 1.3 with AEAD and ephemeral keys", async () => {
      for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
        const socket = await gateway.connect("a.gw.test", { minVersion: version, maxVersion: version });
        expect(socket.getProtocol()).toBe(version);
        expect(socket.getCipher().standardName ?? socket.getCipher().name).not.toContain("CBC");
        socket.destroy();
        const said = await gateway.openssl(["-servername", "a.gw.test", version === "TLSv1.2" ? "-tls1_2" : "-tls1_3"]);
        expect(/Cipher is (\S+)/.exec(said)?.[1] ?? "").toMatch(AEAD_ECDHE);
      }
    });

    test("is not TLS 1.0 or 1.1", async () => {
      for (const version of ["-tls1", "-tls1_1"]) {
        const said = await gateway.openssl(["-servername", "a.gw.test", version, "-cipher", "ALL:@SECLEVEL=0"]);
        expect(said).toContain("protocol version");
        expect(said).toContain("no peer certificate available");
      }
    });

    test("has no cipher without AEAD", async () => {
      for (const cipher of ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA", "AES128-GCM-SHA256"]) {
        const said = await gateway.openssl(["-servername", "a.gw.test", "-tls1_2", "-cipher", `${cipher}:@SECLEVEL=0`]);
        expect(said).toContain("handshake failure");
      }
    });

    test("is HTTP/2 or HTTP/1.1 as ALPN says, and HTTP/1.1 without it", async () => {
      for (const [offer, chosen] of [[["h2", "http/1.1"], "h2"], [["http/1.1"], "http/1.1"], [[], false]] as const) {
        const socket = await gateway.connect("a.gw.test", offer.length === 0 ? {} : { ALPNProtocols: [...offer] });
        expect(socket.alpnProtocol).toBe(chosen);
        socket.destroy();
      }
    });

    test("is nothing else: a client of another protocol gets an alert, not a connection to confuse it with", async () => {
      for (const protocol of ["smtp", "acme-tls/1"]) {
        expect(await gateway.openssl(["-servername", "a.gw.test", "-alpn", protocol])).toContain("no application protocol");
      }
      expect(gateway.refused[0]).toMatchObject({ serverName: "a.gw.test", reason: "no protocol that is served" });
    });

    test("does not resume a session under another name", async () => {
      const session = gateway.file("session.pem");
      await gateway.openssl(["-servername", "a.gw.test", "-sess_out", session, "-ign_eof"], "GET / HTTP/1.1\r\nHost: a.gw.test\r\nConnection: close\r\n\r\n");
      expect(readFileSync(session, "utf8")).toContain("BEGIN SSL SESSION");
      const other = await gateway.openssl(["-servername", "other.test", "-sess_in", session, "-ign_eof"], "GET / HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n");
      expect(other).toContain("New, TLSv1.3");
      expect(other).not.toContain("Reused, ");
    });
  });

  describe.skipIf(!HAS_CURL)("a request", () => {
    test("reaches the backend with scheme, host and the client's own address, in HTTP/2 and HTTP/1.1", async () => {
      for (const [option, version] of [["--http2", "2"], ["--http1.1", "1.1"]] as const) {
        const said = await gateway.curl("a.gw.test", "/x?y=1", option, "--interface", "127.0.0.77", "-H", "X-Forwarded-Proto: gopher", "-H", "X-Real-IP: 9.9.9.9", "-w", "\n%{http_version}");
        expect(said.split("\n").at(-1)).toBe(version);
        const { target, headers } = pod.seen.at(-1) as Seen;
        expect(target).toBe("/x?y=1");
        expect(headers).toMatchObject({
          host: [`a.gw.test:${gateway.port}`], "x-forwarded-proto": ["https"], "x-forwarded-host": [`a.gw.test:${gateway.port}`],
          "x-real-ip": ["127.0.0.77"], "x-forwarded-for": ["127.0.0.77"],
        });
        expect(gateway.lines.at(-1)).toMatchObject({ message: "access", client: "127.0.0.77", route: "workload-a.gw.test", service: "service-a.gw.test", status: 200 });
      }
    });

    test("for a host of our table goes by its path", async () => {
      gateway.certify("own.test");
      expect(await gateway.curl("own.test", "/table")).toBe("the table\n");
    });

    test("brings 64 MiB up and down, every byte in its place", async () => {
      const data = pattern(64 * 1024 * 1024);
      const file = gateway.file("body");
      writeFileSync(file, data);
      let got = new Bun.CryptoHasher("sha256");
      pod.answer((_seen, connection) => { connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${data.length}\r\n\r\n`); connection.write(data); });
      for (const option of ["--http1.1", "--http2"]) {
        await gateway.curl("a.gw.test", "/", option, "-o", gateway.file("down"));
        expect(sha256(readFileSync(gateway.file("down")))).toBe(sha256(data));
      }
      const upload = new Upload(data.length);
      const listener = upload.listen();
      gateway.register("up.gw.test", [{ address: "127.0.0.1", port: listener.port as number }]);
      for (const option of ["--http1.1", "--http2"]) {
        got = upload.start();
        await gateway.curl("up.gw.test", "/", option, "-T", file);
        expect(got.digest("hex")).toBe(sha256(data));
      }
      listener.stop(true);
    }, 60_000);

    test("whose client does not read stops the backend, and memory with it", async () => {
      const much = Buffer.alloc(1024 * 1024);
      let sent = 0;
      pod.answer((_seen, connection) => {
        connection.write("HTTP/1.1 200 OK\r\n\r\n");
        connection.onDrained = () => {
          if (sent >= 300 || connection.isClosed) return;
          sent += 1;
          setImmediate(() => connection.write(much));
        };
        connection.onDrained();
      });
      const socket = await gateway.connect("a.gw.test");
      socket.pause();
      socket.write("GET / HTTP/1.1\r\nHost: a.gw.test\r\n\r\n");
      await eventually("the backend to send", () => sent, (count) => count > 0);
      expect(await settled(() => sent)).toBeLessThan(80);
      socket.destroy();
    });

    test("whose client leaves cuts the backend's answer", async () => {
      let connection: PodConnection | null = null;
      pod.answer((_seen, own) => { connection = own; own.write("HTTP/1.1 200 OK\r\n\r\nhalf"); });
      const socket = await gateway.connect("a.gw.test");
      socket.write("GET / HTTP/1.1\r\nHost: a.gw.test\r\n\r\n");
      await new Promise((resolve) => socket.once("data", resolve));
      socket.destroy();
      await eventually("the backend's connection to be cut", () => connection?.isClosed, (isClosed) => isClosed === true);
    });
  });

  test("a WebSocket goes through in both directions", async () => {
    const socket = await gateway.connect("a.gw.test", { ALPNProtocols: ["http/1.1"] });
    let got = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => { got = Buffer.concat([got, chunk]); });
    socket.write(handshakeHead(gateway.port, "/ws", { headers: { Host: "a.gw.test" } }));
    await eventually("the upgrade", () => got.toString("latin1"), (text) => text.includes("\r\n\r\n"));
    expect(got.toString("latin1")).toStartWith("HTTP/1.1 101");
    expect(pod.seen.at(-1)?.headers["x-forwarded-proto"]).toEqual(["https"]);
    socket.write(clientFrame(1, "over TLS"));
    await eventually("the echo", () => got.toString("latin1"), (text) => text.endsWith("over TLS"));
    socket.destroy();
  });

  describe("the host of a request", () => {
    test("may differ from the server name within one certificate", async () => {
      const socket = await gateway.connect("b.gw.test");
      expect(await ask(socket, "c.gw.test")).toStartWith("HTTP/1.1 200");
    });

    test("that belongs to another certificate is misdirected, in whatever spelling", async () => {
      for (const host of ["other.test", "OTHER.TEST:443", "other.test.", "a.gw.test"]) {
        const socket = await gateway.connect("b.gw.test");
        expect(await ask(socket, host)).toStartWith("HTTP/1.1 421");
      }
      expect(pod.seen).toEqual([]);
    });

    test("that is passed through to a backend of its own is misdirected, though a wildcard covers it", async () => {
      gateway.register("pass.gw.test", [{ address: "127.0.1.32", port: pod.port("web") }], true);
      const socket = await gateway.connect("b.gw.test");
      expect(await ask(socket, "pass.gw.test")).toStartWith("HTTP/1.1 421");
      expect(pod.seen).toEqual([]);
    });
  });

  describe("the server behind the front", () => {
    /** Ports that this process listens on beyond those that are known. */
    function innerPorts(): number[] {
      const own = new Set(readdirSync("/proc/self/fd").map((fd) => { try { return readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"); } catch { return ""; } }).flatMap((text) => /ino:\s*(\d+)/.exec(text)?.[1] ?? []));
      return readFileSync("/proc/net/tcp", "utf8").split("\n").map((line) => line.trim().split(/\s+/)).filter((line) => line[3] === "0A" && line[1]?.startsWith("0100007F") && own.has(line[9] ?? ""))
        .map((line) => Number.parseInt(line[1]!.slice(9), 16)).filter((port) => port !== gateway.port && port !== gateway.http.port);
    }

    test("answers nobody who does not come through it, with the front's own port neither", async () => {
      const through = await gateway.connect("a.gw.test");
      through.write("GET /first HTTP/1.1\r\nHost: a.gw.test\r\n\r\n");
      await eventually("the request", () => pod.seen.length, (length) => length === 1);
      const ports = innerPorts();
      expect(ports.length).toBeGreaterThan(0);
      for (const port of ports) {
        const said = await gateway.openssl(["-connect", `127.0.0.1:${port}`, "-servername", "a.gw.test", "-ign_eof"], "GET /direct HTTP/1.1\r\nHost: a.gw.test\r\nConnection: close\r\n\r\n");
        expect(said).toContain("HTTP/1.1 421");
        // The port that stands for a client is known by more than its number.
        for (const local of frontPorts(port)) {
          const bound = await gateway.openssl(["-connect", `127.0.0.1:${port}`, "-bind", `127.0.0.2:${local}`, "-servername", "a.gw.test", "-ign_eof"], "GET /direct HTTP/1.1\r\nHost: a.gw.test\r\nConnection: close\r\n\r\n");
          expect(bound).toContain("HTTP/1.1 421");
        }
      }
      expect(ports.flatMap(frontPorts).length).toBeGreaterThan(0);
      expect(pod.seen.map(({ target }) => target)).toEqual(["/first"]);
      through.destroy();
    });

    /** Our sides' ports of the connections to an inner port. */
    function frontPorts(inner: number): number[] {
      const remote = `0100007F:${inner.toString(16).toUpperCase().padStart(4, "0")}`;
      return readFileSync("/proc/net/tcp", "utf8").split("\n").map((line) => line.trim().split(/\s+/)).filter((line) => line[2] === remote && line[3] === "01").map((line) => Number.parseInt(line[1]!.slice(9), 16));
    }
  });

  test("a connection that stops in the middle of its handshake is cut by the server behind", async () => {
    const { bytes, durationMs } = await stalled;
    expect(bytes).toBeGreaterThan(0);
    expect(durationMs).toBeLessThan(20_000);
    await eventually("the front to forget it", () => gateway.front.size, (size) => size === 0);
  }, 30_000);
});

/** Sends a whole ClientHello and nothing more. */
async function stall(port: number): Promise<{ bytes: number; durationMs: number }> {
  const startedMs = performance.now();
  const socket = connect(port, "127.0.0.1");
  let bytes = 0;
  socket.on("error", () => {});
  socket.on("data", (chunk: Buffer) => { bytes += chunk.length; });
  socket.write(await helloOf("a.gw.test"));
  await new Promise((resolve) => socket.once("close", resolve));
  return { bytes, durationMs: performance.now() - startedMs };
}

/** A backend that hashes one request's body of a known size, chunked or not, and answers. */
class Upload {
  #hash = new Bun.CryptoHasher("sha256");

  constructor(private readonly size: number) {}

  start(): Bun.CryptoHasher {
    this.#hash = new Bun.CryptoHasher("sha256");
    return this.#hash;
  }

  listen(): Bun.Server<undefined> {
    return Bun.serve({
      hostname: "127.0.0.1", port: 0, maxRequestBodySize: this.size * 2,
      fetch: async (request) => {
        for await (const chunk of request.body as unknown as AsyncIterable<Uint8Array>) this.#hash.update(chunk);
        return new Response("thanks");
      },
    });
  }
}
