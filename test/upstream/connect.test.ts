// Whom we connect to: real TLS servers with good certificates and all kinds of bad ones, Unix sockets, and those who never come
// to an end of it. What counts is what the server gets: not a byte before it was found good.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type AddressInfo, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Socket } from "bun";
import { Sweeper } from "../../src/lib/deadlines.ts";
import type { TargetTls } from "../../src/target.ts";
import { connect, type ConnectAddress } from "../../src/upstream/connect.ts";
import { Dial } from "../../src/upstream/dial.ts";
import { ClientGoneError, ConnectError, ConnectTimeoutError } from "../../src/upstream/exchange.ts";
import { CertificateAuthority, HAS_OPENSSL, type ServerIdentity } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { SecureServer } from "./secure-server.ts";

type Heard = { text: string; isClosed: boolean };

const HANDLERS = {
  data(socket: Socket<Heard>, chunk: Buffer) { socket.data.text += chunk.toString(); },
  close(socket: Socket<Heard>) { socket.data.isClosed = true; },
};

let authority: CertificateAuthority;
let stranger: CertificateAuthority;
let directory: string;
let sweeper: Sweeper;
let aheadMs = 0;
const stops: Array<() => void> = [];

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "route connect "));
  if (!HAS_OPENSSL) return;
  authority = new CertificateAuthority();
  stranger = new CertificateAuthority();
});
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
  authority?.remove();
  stranger?.remove();
});
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
  sweeper?.close();
  aheadMs = 0;
});

function dial(to: ConnectAddress, heard: Heard = { text: "", isClosed: false }, watch: (dial: Dial<Heard>) => void = () => {}): Promise<Socket<Heard>> {
  sweeper = new Sweeper(() => performance.now() + aheadMs);
  return new Promise((resolve, reject) => {
    const attempt = new Dial<Heard>(sweeper, performance.now() + 5000, (error, socket) => {
      if (error === null) resolve(socket as Socket<Heard>);
      else reject(error);
    });
    watch(attempt);
    connect(to, heard, HANDLERS, attempt);
  });
}

/** Its cause's code. @throws when it connects */
async function refusal(to: ConnectAddress): Promise<string | undefined> {
  const error = await dial(to).then(() => null, (thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ConnectError);
  return ((error as ConnectError).cause as NodeJS.ErrnoException).code;
}

async function serve(identity: ServerIdentity, path: string | null = null, protocols?: string[]): Promise<SecureServer> {
  const server = await SecureServer.start(identity, (socket) => { socket.on("data", (chunk: Buffer) => socket.write(`heard ${chunk}`)); },
    protocols === undefined ? { path } : { path, protocols });
  stops.push(() => server.stop());
  return server;
}

/** A server of plain TCP. */
async function listen(accept: (socket: import("node:net").Socket) => void, path: string | null = null): Promise<Server> {
  const sockets = new Set<import("node:net").Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on("error", () => {}));
    accept(socket);
  });
  await new Promise<void>((resolve) => { if (path === null) server.listen(0, "127.0.0.1", resolve); else server.listen(path, resolve); });
  stops.push(() => { for (const socket of sockets) socket.destroy(); server.close(); });
  return server;
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port;
const at = (port: number, tls: TargetTls | null): ConnectAddress => ({ address: "127.0.0.1", port, tls });
const trust = (parts: Partial<TargetTls> = {}): TargetTls => ({ ca: authority.pem, serverName: "pod.test", skipsVerify: false, ...parts });

describe.skipIf(!HAS_OPENSSL)("a TLS server", () => {
  test("with a good certificate is asked for by its name and for HTTP/1.1, and spoken to", async () => {
    const server = await serve(authority.sign({ names: ["DNS:pod.test"] }));
    const heard = { text: "", isClosed: false };
    const socket = await dial(at(server.port, trust()), heard);
    socket.write("hello");
    await eventually("its answer", () => heard.text, (text) => text === "heard hello");
    expect(server.clients).toEqual([{ serverName: "pod.test", alpn: "http/1.1" }]);
    for (const client of server.sockets) client.destroy();
    await eventually("the end", () => heard.isClosed, (isClosed) => isClosed);
    expect(sweeper.size).toBe(0);
  });

  test("known by an address is asked for by none, whatever address was dialled", async () => {
    const server = await serve(authority.sign({ names: ["IP:192.0.2.7", "IP:2001:db8::7", "IP:127.0.0.1"] }));
    for (const serverName of ["192.0.2.7", "2001:db8::7", "127.0.0.1"]) {
      const heard = { text: "", isClosed: false };
      (await dial(at(server.port, trust({ serverName })), heard)).write("hello");
      await eventually("its answer", () => heard.text, (text) => text === "heard hello");
    }
    expect(server.clients).toHaveLength(3);
    expect(server.clients.every(({ serverName }) => !serverName)).toBe(true);
  });

  test.each<[string, (good: CertificateAuthority, bad: CertificateAuthority) => ServerIdentity, Partial<TargetTls>, string]>([
    ["for another name", (good) => good.sign({ names: ["DNS:other.test"] }), {}, "ERR_TLS_CERT_ALTNAME_INVALID"],
    ["for its address only", (good) => good.sign({ names: ["IP:127.0.0.1"] }), {}, "ERR_TLS_CERT_ALTNAME_INVALID"],
    ["for its name only, where it is known by its address", (good) => good.sign({ names: ["DNS:pod.test"] }), { serverName: "127.0.0.1" }, "ERR_TLS_CERT_ALTNAME_INVALID"],
    ["for the dialled address, where it is known by another", (good) => good.sign({ names: ["IP:127.0.0.1"] }), { serverName: "192.0.2.7" }, "ERR_TLS_CERT_ALTNAME_INVALID"],
    ["for a name below its own", (good) => good.sign({ names: ["DNS:*.pod.test"] }), {}, "ERR_TLS_CERT_ALTNAME_INVALID"],
    ["of another authority with the same name", (_good, bad) => bad.sign({ names: ["DNS:pod.test"] }), {}, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
    ["of another authority, for the address that it is known by", (_good, bad) => bad.sign({ names: ["IP:192.0.2.7"] }), { serverName: "192.0.2.7" }, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
    ["of an authority that is not well known", (good) => good.sign({ names: ["DNS:pod.test"] }), { ca: null }, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
    ["that has expired", (good) => good.sign({ names: ["DNS:pod.test"], isExpired: true }), {}, "CERT_HAS_EXPIRED"],
    ["of another authority, for the address that it is known by and was dialled at", (_good, bad) => bad.sign({ names: ["IP:127.0.0.1"] }), { serverName: "127.0.0.1" }, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
    ["of another authority, for both addresses", (_good, bad) => bad.sign({ names: ["IP:127.0.0.1", "IP:192.0.2.7"] }), { serverName: "192.0.2.7" }, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
    ["that has expired, for both addresses", (good) => good.sign({ names: ["IP:127.0.0.1", "IP:192.0.2.7"], isExpired: true }), { serverName: "192.0.2.7" }, "CERT_HAS_EXPIRED"],
    ["that has expired, for the address that it is known by", (good) => good.sign({ names: ["IP:192.0.2.7"], isExpired: true }), { serverName: "192.0.2.7" }, "CERT_HAS_EXPIRED"],
  ])("with a certificate %s is refused before a byte is sent", async (_what, make, tls, code) => {
    const server = await serve(make(authority, stranger));
    expect(await refusal(at(server.port, trust(tls)))).toBe(code);
    await eventually("the connection and its end", () => [server.accepted, server.sockets.size], ([accepted, open]) => accepted === 1 && open === 0);
    expect(server.receivedBytes).toBe(0);
    expect(sweeper.size).toBe(0);
  });

  test("is spoken to whatever its certificate, where that is what was asked for", async () => {
    const server = await serve(stranger.sign({ names: ["DNS:other.test"], isExpired: true }));
    for (const serverName of ["pod.test", "192.0.2.7"]) {
      const heard = { text: "", isClosed: false };
      (await dial(at(server.port, { ca: null, serverName, skipsVerify: true }), heard)).write("hello");
      await eventually("its answer", () => heard.text, (text) => text === "heard hello");
    }
    expect(server.clients.map(({ serverName }) => serverName || null)).toEqual(["pod.test", null]);
  });

  test("that speaks only HTTP/2 is refused", async () => {
    const server = await serve(authority.sign({ names: ["DNS:pod.test"] }), null, ["h2"]);
    expect(await refusal(at(server.port, trust()))).toBe("EPROTO");
  });

  test("that cannot be checked against what is no certificate is refused", async () => {
    const server = await serve(authority.sign({ names: ["DNS:pod.test"] }));
    expect(await refusal(at(server.port, trust({ ca: "no certificate" })))).toBeDefined();
  });
});

describe.skipIf(!HAS_OPENSSL)("whoever does not speak TLS", () => {
  test.each([["checked", false], ["not checked", true]])("is refused, certificates being %s: by what it says instead, and by its end", async (_what, skipsVerify) => {
    const plain = await listen((socket) => socket.once("data", () => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")));
    expect(await refusal(at(portOf(plain), trust({ skipsVerify })))).toBe("EPROTO");
    const closing = await listen((socket) => socket.once("data", () => socket.end()));
    expect(await refusal(at(portOf(closing), trust({ skipsVerify })))).toBe("ECONNRESET");
    const resetting = await listen((socket) => socket.once("data", () => socket.resetAndDestroy()));
    expect(await refusal(at(portOf(resetting), trust({ skipsVerify })))).toBe("ECONNRESET");
  });

  test("and says nothing is given up at the deadline, and its connection with it", async () => {
    let isGone = false;
    const silent = await listen((socket) => {
      aheadMs = 5001;
      socket.on("close", () => { isGone = true; }).resume();
    });
    await expect(dial(at(portOf(silent), trust()))).rejects.toBeInstanceOf(ConnectTimeoutError);
    await eventually("the end of its connection", () => isGone, (gone) => gone);
    expect(sweeper.size).toBe(0);
  });

  test("is given up in the middle of the handshake when nobody waits any more", async () => {
    let isGone = false;
    const attempt: { abort?: () => void } = {};
    const silent = await listen((socket) => {
      socket.once("data", () => attempt.abort?.()).on("close", () => { isGone = true; });
    });
    const dialled = dial(at(portOf(silent), trust()), undefined, (begun) => { attempt.abort = () => begun.abort(); });
    await expect(dialled).rejects.toBeInstanceOf(ClientGoneError);
    await eventually("the end of its connection", () => isGone, (gone) => gone);
  });
});

describe("a Unix socket", () => {
  const unix = (path: string, tls: TargetTls | null = null): ConnectAddress => ({ address: "", port: 0, socketPath: path, tls });

  test("is connected to by its path, blanks and all", async () => {
    const path = join(directory, "a pod's socket");
    await listen((socket) => { socket.on("data", (chunk: Buffer) => socket.write(`heard ${chunk}`)); }, path);
    const heard = { text: "", isClosed: false };
    (await dial(unix(path), heard)).write("hello");
    await eventually("its answer", () => heard.text, (text) => text === "heard hello");
  });

  test.each([
    ["that is not there", "absent", "ENOENT"],
    ["that is a directory", ".", "ECONNREFUSED"],
    ["that is longer than a socket's may be", "x".repeat(200), "EINVAL"],
  ])("%s fails by name", async (_what, name, code) => {
    expect(await refusal(unix(join(directory, name)))).toBe(code);
  });

  test.skipIf(!HAS_OPENSSL)("may speak TLS, and is known by name or address as others are", async () => {
    const path = join(directory, "secure");
    const server = await serve(authority.sign({ names: ["DNS:pod.test", "IP:192.0.2.7"] }), path);
    for (const serverName of ["pod.test", "192.0.2.7"]) {
      const heard = { text: "", isClosed: false };
      (await dial(unix(path, trust({ serverName })), heard)).write("hello");
      await eventually("its answer", () => heard.text, (text) => text === "heard hello");
    }
    for (const serverName of ["other.test", "localhost", "192.0.2.8"]) expect(await refusal(unix(path, trust({ serverName })))).toBe("ERR_TLS_CERT_ALTNAME_INVALID");
    expect(server.receivedBytes).toBe(10);
  });
});

test("a port that nobody listens on, and a name that is none, fail by name", async () => {
  const server = await listen(() => {});
  const port = portOf(server);
  server.close();
  expect(await refusal(at(port, null))).toBe("ECONNREFUSED");
  expect(await refusal({ address: "nobody.invalid", port: 80 })).toBe("ENOTFOUND");
});
