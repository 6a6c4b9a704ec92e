// Which certificate a client gets, from files and from the local authority, and what happens when files change under load.

import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { X509Certificate } from "node:crypto";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { certificateOf, connectTls, curl, type HttpsAddress, openssl, TlsDoor, untilServed } from "../support/https-client.ts";
import { Origin, patternOf, sha256 } from "../support/https-origin.ts";
import { type HttpsOptions, HttpsRouter } from "../support/https-router.ts";
import { RawClient } from "../support/raw.ts";
import { OP, WsClient } from "../support/ws-client.ts";

const opened: Array<{ stop(): Promise<void> | void }> = [];

afterEach(async () => {
  for (const each of opened.splice(0).toReversed()) await each.stop();
});

async function start(options?: HttpsOptions): Promise<HttpsRouter> {
  const router = await HttpsRouter.start(options);
  opened.push(router);
  return router;
}

const printOf = (pem: string): string => new X509Certificate(pem).fingerprint256;
const servedPrint = async (address: HttpsAddress, name: string): Promise<string> => (await certificateOf(address, name)).fingerprint256;

/** A new handshake gets this one, from now on. */
async function untilRenewed(router: HttpsRouter, name: string, pem: string): Promise<void> {
  await eventually("the renewed certificate", () => servedPrint(router, name), (print) => print === printOf(pem));
}

/** The alert as openssl names it; null: there was none. */
async function alertFor(router: HttpsRouter, ...options: string[]): Promise<string | null> {
  return /SSL alert number (\d+)/.exec(await openssl(router, options))?.[1] ?? null;
}

const UNRECOGNIZED_NAME = "112";

describe.skipIf(!HAS_OPENSSL)("certificates from files", () => {
  test("are served by name: several, one of several names, a wildcard, and an exact one before it", async () => {
    const pems: Record<string, string> = {};
    const router = await start({ tls: (files) => {
      pems["two"] = files.put("two", "two.test", "zwei.test").cert;
      pems["wild"] = files.put("wild", "*.apps.test").cert;
      pems["one"] = files.put("one", "one.apps.test").cert;
      return files.section(["desk", "two", "wild", "one"]);
    } });
    const expected = { "two.test": "two", "zwei.test": "two", "a.apps.test": "wild", "b.apps.test": "wild", "one.apps.test": "one" };
    for (const [name, pair] of Object.entries(expected)) expect([name, await servedPrint(router, name)]).toEqual([name, printOf(pems[pair] ?? "")]);
    expect((await curl(router, "DESK.test", "/healthz")).stdout).toBe("OK\n");
    // A wildcard stands for one label.
    expect(await alertFor(router, "-servername", "a.b.apps.test")).toBe(UNRECOGNIZED_NAME);
    expect(await alertFor(router, "-servername", "apps.test")).toBe(UNRECOGNIZED_NAME);
  });

  test("are nobody else's: an unknown name and no name get the alert, and a line in the log", async () => {
    const router = await start();
    expect(await alertFor(router, "-servername", "other.test")).toBe(UNRECOGNIZED_NAME);
    expect(await alertFor(router, "-noservername")).toBe(UNRECOGNIZED_NAME);
    const { code, stderr } = await curl(router, "other.test", "/healthz");
    expect([code, stderr]).toEqual([35, expect.stringContaining("unrecognized name")]);
    const refused = router.events("tls refused").map(({ client, server_name, reason }) => [client, server_name, reason]);
    expect(refused).toEqual([
      ["127.0.0.1", "other.test", "unknown server name"], ["127.0.0.1", undefined, "no server name"], ["127.0.0.1", "other.test", "unknown server name"],
    ]);
    expect(router.events("access")).toEqual([]);
  });

  test("are for unknown names and for none when `default` says whose", async () => {
    const router = await start({ tls: (files) => {
      files.put("two", "two.test");
      return files.section(["desk", "two"], "default: desk.test");
    } });
    const desk = printOf(readFileSync(router.files.file("desk.crt"), "utf8"));
    expect(await servedPrint(router, "two.test")).not.toBe(desk);
    expect((await certificateOf(router, null)).fingerprint256).toBe(desk);
    const stranger = await connectTls(router, "other.test", { checkServerIdentity: () => undefined });
    expect(stranger.getPeerCertificate().fingerprint256).toBe(desk);
    stranger.destroy();
    expect(await alertFor(router, "-servername", "other.test", "-verify_return_error")).toBeNull();
  });

  // With `default` unknown names are somebody's, and one server may show everything: it has to change under load all the same.
  test.each(["", "default: desk.test"])("are renewed by renaming while a WebSocket and a download run: both live on, new connections get the new one (%p)", async (line) => {
    const origin = new Origin();
    opened.push(origin);
    const router = await start({ tls: (files) => files.section(["desk"], ...(line === "" ? [] : [line])), env: { FILE_SERVICE_TCP_PORT: String(origin.port) } });
    const door = await TlsDoor.open(router, "desk.test");
    const old = await servedPrint(router, "desk.test");
    const socket = await WsClient.open(door.port, `/websockify?jwt_token=${router.token()}`, { headers: { Host: `desk.test:${router.port}` } });
    const download = curl(router, "desk.test", "/filer/half/8", "-H", `Authorization: Bearer ${router.token()}`, "-o", router.files.file("download"));
    const keptAlive = await RawClient.open(door.port);
    const ask = async (times: number): Promise<void> => {
      keptAlive.write("GET /healthz HTTP/1.1\r\nHost: desk.test\r\n\r\n");
      await keptAlive.until(() => keptAlive.text.split("OK\n").length === times + 1);
    };
    await ask(1);
    await eventually("the first half", () => Bun.file(router.files.file("download")).size, (bytes) => bytes >= 3 * 1024 ** 2);

    const renewed = router.files.put("desk", "desk.test");
    await untilRenewed(router, "desk.test", renewed.cert);
    expect(await servedPrint(router, "desk.test")).not.toBe(old);
    socket.send(OP.text, "still here");
    await socket.until(() => socket.messages.length === 1);
    await ask(2);
    origin.release();
    expect((await download).code).toBe(0);
    expect(sha256(readFileSync(router.files.file("download")))).toBe(sha256(patternOf(8)));
    expect(socket.closing).toBeNull();
    socket.close();
    keptAlive.close();
    door.close();
  }, 20_000);

  test.each([["key", "crt"], ["crt", "key"]] as const)("keep the old pair while only the %s is new, say so once, and go on with the new pair", async (first, second) => {
    const router = await start();
    const old = await servedPrint(router, "desk.test");
    const { cert, key } = router.files.sign("desk.test");
    const texts = { crt: cert, key };
    const broken = (): unknown[] => router.events("certificate cannot be used");
    router.files.replace(`desk.${first}`, texts[first]);
    await eventually("the line about it", broken, (lines) => lines.length > 0);
    // The same again, so that it is looked at again; and a second look that must be over when the next pair is loaded.
    router.files.replace(`desk.${first}`, texts[first]);
    expect(await servedPrint(router, "desk.test")).toBe(old);
    router.files.replace(`desk.${second}`, texts[second]);
    await untilRenewed(router, "desk.test", cert);
    expect(broken()).toEqual([expect.objectContaining({ level: "error", file: router.files.file("desk.crt"), reason: expect.stringContaining("the key belongs to another certificate") })]);
  });

  test.each([
    ["missing", (files: HttpsRouter["files"]) => rmSync(files.file("desk.key")), "no such file"],
    ["no certificate", (files: HttpsRouter["files"]) => files.replace("desk.crt", "nothing"), "there is no certificate in PEM"],
    ["encrypted", (files: HttpsRouter["files"]) => files.replace("desk.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"), "encrypted"],
  ])("that are %s at the start are an error in the log; plain HTTP and other names are served, and so are they once they are mended", async (_what, spoil, reason) => {
    const router = await start({ tls: (files) => {
      files.put("two", "two.test");
      spoil(files);
      return files.section(["desk", "two"]);
    } });
    expect(router.events("certificate cannot be used")).toEqual([expect.objectContaining({ level: "error", file: router.files.file("desk.crt"), reason: expect.stringMatching(new RegExp(reason)) })]);
    expect(await alertFor(router, "-servername", "desk.test")).toBe(UNRECOGNIZED_NAME);
    expect((await curl(router, "two.test", "/healthz")).stdout).toBe("OK\n");
    const plain = await RawClient.ask(router.httpPort, "GET /healthz HTTP/1.1\r\nHost: desk.test\r\n\r\n");
    expect([plain.status, plain.body]).toEqual([200, "OK\n"]);
    const { cert } = router.files.put("desk", "desk.test");
    await eventually("the mended pair", () => router.events("certificate loaded").length, (count) => count === 2);
    expect(await servedPrint(router, "desk.test")).toBe(printOf(cert));
  });
});

describe.skipIf(!HAS_OPENSSL)("the local authority", () => {
  test("makes certificates for `names`, which clients take that trust its ca.pem, and for nothing else", async () => {
    const directory = mkdtempSync(join(tmpdir(), "route-local-"));
    opened.push({ stop: () => rmSync(directory, { recursive: true, force: true }) });
    const router = await start({ tls: () => `tls: { localAuthority: "${directory}", names: [desk.test, board.test] }\n` });
    const caFile = join(directory, "ca.pem");
    const address: HttpsAddress = { port: router.port, caFile, ca: readFileSync(caFile, "utf8") };
    for (const name of ["desk.test", "board.test"]) {
      await untilServed(address, name);
      expect(await curl(address, name, "/healthz")).toEqual({ code: 0, stdout: "OK\n", stderr: "" });
      expect((await certificateOf(address, name)).subjectaltname).toBe(`DNS:${name}`);
      expect(await openssl(address, ["-servername", name, "-verify_hostname", name])).toContain("Verify return code: 0 (ok)");
    }
    expect(router.events("certificate issued").map(({ name }) => name).toSorted()).toEqual(["board.test", "desk.test"]);
    expect(await alertFor(router, "-servername", "other.test")).toBe(UNRECOGNIZED_NAME);
    // Whoever trusts another authority does not take it.
    expect((await curl(router, "desk.test", "/healthz")).code).toBe(60);
    expect([statSync(join(directory, "ca-key.pem")).mode & 0o777, statSync(caFile).mode & 0o777]).toEqual([0o600, 0o644]);
  });

  test("that was made anew signs again what the one before has signed", async () => {
    const directory = mkdtempSync(join(tmpdir(), "route-local-"));
    opened.push({ stop: () => rmSync(directory, { recursive: true, force: true }) });
    const caFile = join(directory, "ca.pem");
    const answers = async (): Promise<unknown> => {
      const router = await HttpsRouter.start({ tls: () => `tls: { localAuthority: "${directory}", names: [desk.test] }\n` });
      try {
        const address: HttpsAddress = { port: router.port, caFile, ca: readFileSync(caFile, "utf8") };
        await untilServed(address, "desk.test");
        return (await curl(address, "desk.test", "/healthz")).code;
      } finally {
        await router.stop();
      }
    };
    expect(await answers()).toBe(0);
    rmSync(caFile);
    expect(await answers()).toBe(0);
  });
});
