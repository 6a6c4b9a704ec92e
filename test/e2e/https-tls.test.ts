// The TLS that an HTTPS front speaks, as openssl sees it: versions, ciphers, protocols, and sessions that stay with their
// certificate.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { connectTls, curl, openssl, run } from "../support/https-client.ts";
import { HttpsRouter } from "../support/https-router.ts";

/** TLS alerts (RFC 8446 section 6.2) as openssl shows them. */
const ALERT = { handshakeFailure: "40", protocolVersion: "70", noRenegotiation: "100", noProtocol: "120" } as const;
const REQUEST = "GET /healthz HTTP/1.1\r\nHost: desk.test\r\nConnection: close\r\n\r\n";

let router: HttpsRouter;

/** RSA, which the tests' authority does not sign: only here does it matter what a key is. */
async function makeRsaPair(directory: string): Promise<void> {
  const made = await run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=rsa.test", "-addext", "subjectAltName=DNS:rsa.test",
    "-keyout", `${directory}/rsa.key`, "-out", `${directory}/rsa.crt`]);
  if (made.code !== 0) throw new Error(made.stderr);
}

async function untilLoaded(count: number): Promise<void> {
  await eventually("the certificates", () => router.events("certificate loaded").length, (loaded) => loaded >= count);
}

beforeAll(async () => {
  if (!HAS_OPENSSL) return;
  router = await HttpsRouter.start({ tls: (files) => {
    files.put("two", "two.test", "*.wild.test");
    return files.section(["desk", "two", "rsa"]);
  } });
  // Found by the watch, as a pair that an operator brings later is.
  await makeRsaPair(router.files.path);
  await untilLoaded(3);
});
afterAll(async () => { await router?.stop(); });

async function handshake(...options: string[]): Promise<{ cipher: string; alert: string | null; text: string }> {
  const text = await openssl(router, ["-servername", "desk.test", ...options]);
  return { cipher: /Cipher is (\S+)/.exec(text)?.[1] ?? "", alert: /SSL alert number (\d+)/.exec(text)?.[1] ?? null, text };
}

describe.skipIf(!HAS_OPENSSL)("a TLS handshake", () => {
  // Today's openssl would not even offer them by itself.
  test.each(["-tls1", "-tls1_1"])("by an old version is refused: %s", async (version) => {
    const { cipher, alert } = await handshake(version, "-cipher", "ALL:@SECLEVEL=0");
    expect([cipher, alert]).toEqual(["(NONE)", ALERT.protocolVersion]);
  });

  test.each([["-tls1_2", /^ECDHE-ECDSA-(AES(128|256)-GCM|CHACHA20-POLY1305)/], ["-tls1_3", /^TLS_(AES|CHACHA20)/]] as const)("is fine by %s, and the certificate good", async (version, cipher) => {
    const made = await handshake(version, "-verify_hostname", "desk.test");
    expect(made.cipher).toMatch(cipher);
    expect(made.text).toContain("Verify return code: 0 (ok)");
    expect(made.text).toContain("Server Temp Key: X25519");
    expect(made.text).toContain("Compression: NONE");
  });

  test.each([
    ["desk.test", "ECDHE-ECDSA-AES128-SHA"], ["desk.test", "ECDHE-ECDSA-AES256-SHA384"], ["desk.test", "ECDHE-ECDSA-AES128-CCM"], ["rsa.test", "AES128-GCM-SHA256"],
    ["rsa.test", "AES256-SHA"], ["rsa.test", "DHE-RSA-AES128-GCM-SHA256"], ["rsa.test", "ECDHE-RSA-AES128-SHA256"], ["rsa.test", "ADH-AES128-GCM-SHA256"], ["rsa.test", "NULL"],
  ])("without forward secrecy and authenticated encryption is refused: %s by %s", async (name, cipher) => {
    const made = await handshake("-tls1_2", "-servername", name, "-cipher", `${cipher}:@SECLEVEL=0`);
    expect([made.cipher, made.alert]).toEqual(["(NONE)", ALERT.handshakeFailure]);
  });

  test.each(["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"])("with an RSA key has forward secrecy: %s", async (cipher) => {
    expect((await handshake("-tls1_2", "-servername", "rsa.test", "-cipher", cipher)).cipher).toBe(cipher);
  });

  test.each([["h2,http/1.1", "h2"], ["http/1.1,h2", "h2"], ["http/1.1", "http/1.1"], ["spdy/3,http/1.1", "http/1.1"]])("that offers %s speaks %s", async (offered, chosen) => {
    expect((await handshake("-alpn", offered)).text).toContain(`ALPN protocol: ${chosen}`);
  });

  test("without ALPN speaks HTTP/1.1", async () => {
    expect((await curl(router, "desk.test", "/healthz", "--no-alpn", "-w", "%{http_version}")).stdout).toBe("OK\n1.1");
  });

  test("for another protocol only is refused: nobody's mail ends here", async () => {
    expect((await handshake("-alpn", "smtp,imap")).alert).toBe(ALERT.noProtocol);
  });

  test("is not made again on an open connection", async () => {
    const before = router.events("access").length;
    const text = await openssl(router, ["-servername", "desk.test", "-tls1_2"], "R\n");
    expect(text).toContain("RENEGOTIATING");
    expect(text).toContain(`SSL alert number ${ALERT.noRenegotiation}`);
    expect(router.events("access").length).toBe(before);
  });

  test("finds its name in any case and with a dot behind it", async () => {
    for (const name of ["DESK.Test", "desk.test."]) expect((await handshake("-servername", name)).text).toContain("Verify return code: 0 (ok)");
  });
});

describe.skipIf(!HAS_OPENSSL)("a TLS session", () => {
  const file = (name: string): string => router.files.file(name);

  /** One request with a session kept from before, or kept for later. */
  async function ask(version: string, name: string, ...options: string[]): Promise<string> {
    return openssl(router, [version, "-servername", name, "-verify_hostname", name, "-ign_eof", ...options], REQUEST.replace("desk.test", name));
  }

  test.each(["-tls1_2", "-tls1_3"])("is resumed for its own name, and for no name of another certificate (%s)", async (version) => {
    const session = file(`session${version}`);
    expect(await ask(version, "desk.test", "-sess_out", session)).toContain("\nNew, TLS");
    const again = await ask(version, "desk.test", "-sess_in", session);
    expect(again).toContain("\nReused, TLS");
    expect(again).toContain("\r\n\r\nOK\n");
    const other = await ask(version, "two.test", "-sess_in", session);
    expect(other).toContain("\nNew, TLS");
    expect(other).toContain("Verify return code: 0 (ok)");
    expect(other).toContain("\r\n\r\nOK\n");
  });

  test("that was resumed for one name does not carry requests for another certificate's", async () => {
    const session = file("session-421");
    await ask("-tls1_3", "desk.test", "-sess_out", session);
    const text = await openssl(router, ["-tls1_3", "-servername", "desk.test", "-sess_in", session, "-ign_eof"], REQUEST.replace("desk.test", "two.test"));
    expect(text).toContain("\nReused, TLS");
    expect(text).toContain("HTTP/1.1 421 Misdirected Request");
  });

  test("ends with its certificate: a renewed one starts afresh", async () => {
    const session = file("session-renewed");
    await ask("-tls1_3", "a.wild.test", "-sess_out", session);
    const before = router.events("certificate loaded").length;
    router.files.put("two", "two.test", "*.wild.test");
    await untilLoaded(before + 1);
    const text = await ask("-tls1_3", "a.wild.test", "-sess_in", session);
    expect(text).toContain("\nNew, TLS");
    expect(text).toContain("\r\n\r\nOK\n");
  });

  test("lets no data come early, which anybody could send again", async () => {
    const session = file("session-early");
    await ask("-tls1_3", "desk.test", "-sess_out", session);
    const early = file("early");
    await Bun.write(early, REQUEST);
    expect(await ask("-tls1_3", "desk.test", "-sess_in", session, "-early_data", early)).not.toContain("Early data was accepted");
  });
});

describe.skipIf(!HAS_OPENSSL)("a connection for one certificate", () => {
  test.each(["--http1.1", "--http2"])("does not carry requests for a host of another (%s), but those for a host that nobody has a certificate for", async (version) => {
    const about = async (host: string): Promise<string> => (await curl(router, "desk.test", "/healthz", version, "-H", `Host: ${host}`, "-o", "/dev/null", "-w", "%{http_code}")).stdout;
    expect([await about("two.test"), await about("a.wild.test"), await about("desk.test"), await about("TWO.test:443"), await about("other.test")]).toEqual(["421", "421", "200", "421", "200"]);
  });

  test("carries those for all names of its own", async () => {
    const socket = await connectTls(router, "two.test", { ALPNProtocols: ["http/1.1"] });
    let text = "";
    socket.on("data", (chunk: Buffer) => { text += chunk.toString("latin1"); });
    socket.write("GET /healthz HTTP/1.1\r\nHost: a.wild.test\r\nConnection: close\r\n\r\n");
    await new Promise((resolve) => void socket.once("close", resolve));
    expect(text).toContain("HTTP/1.1 200 OK");
  });
});
