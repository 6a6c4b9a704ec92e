// What upstream/response-body.ts relies on in Bun.serve, bare: it says nobody's address for a request whose answer has left, and
// the client's while a part of it still waits, also for HTTP/2. A Bun that behaves otherwise must fail here.

import { afterEach, describe, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { connect as connectH2 } from "node:http2";
import { CertificateAuthority, HAS_OPENSSL } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";

const BODY = new Uint8Array(16 * 1024 * 1024);

/** Ends what a test has opened. */
const open: Array<() => void> = [];
afterEach(() => { for (const close of open.splice(0)) close(); });

/** A server, and whether it still knows whose its requests are. */
function serve(tls?: { cert: string; key: string }): { readonly port: number; readonly known: () => boolean[] } {
  const seen: Request[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1", port: 0, development: false, ...(tls === undefined ? {} : { tls, http2: true }),
    fetch: (request) => { seen.push(request); return new Response(BODY); },
  });
  open.push(() => void server.stop(true));
  return { port: server.port as number, known: () => seen.map((request) => server.requestIP(request) !== null) };
}

const GET = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

function ask(socket: Socket): Socket {
  socket.on("error", () => {}).pause();
  socket.write(GET);
  open.push(() => socket.destroy());
  return socket;
}

describe("Bun.serve knows the peer of a request", () => {
  test("as long as a part of its answer waits for the client", async () => {
    const { port, known } = serve();
    const client = ask(connect(port, "127.0.0.1"));
    await eventually("the request", known, (all) => all.length === 1);
    await Bun.sleep(200);
    expect(known()).toEqual([true]);
    client.resume();
    await eventually("the answer to have left", known, ([is]) => is === false);
  });

  test("and not after the client has gone without reading it", async () => {
    const { port, known } = serve();
    const client = ask(connect(port, "127.0.0.1"));
    await eventually("the request", known, ([is]) => is === true);
    client.destroy();
    await eventually("it to be over", known, ([is]) => is === false);
  });

  test.skipIf(!HAS_OPENSSL)("so over TLS, too", async () => {
    const authority = new CertificateAuthority("tests");
    open.push(() => authority.remove());
    const { port, known } = serve(authority.sign({ names: ["DNS:a.test"] }));
    const socket = connectTls({ host: "127.0.0.1", port, servername: "a.test", ca: authority.pem });
    await new Promise((resolve) => socket.once("secureConnect", resolve));
    ask(socket);
    await eventually("the request", known, (all) => all.length === 1);
    await Bun.sleep(200);
    expect(known()).toEqual([true]);
    socket.resume();
    await eventually("the answer to have left", known, ([is]) => is === false);
  });

  test.skipIf(!HAS_OPENSSL)("so over HTTP/2, too", async () => {
    const authority = new CertificateAuthority("tests");
    open.push(() => authority.remove());
    const { port, known } = serve(authority.sign({ names: ["DNS:a.test"] }));
    const session = connectH2(`https://127.0.0.1:${port}`, { servername: "a.test", ca: authority.pem });
    open.push(() => session.destroy());
    const stream = session.request({ ":path": "/" });
    stream.pause();
    await eventually("the request", known, (all) => all.length === 1);
    await Bun.sleep(200);
    expect(known()).toEqual([true]);
    stream.resume();
    await eventually("the answer to have left", known, ([is]) => is === false);
  });
});
