// `route-gateway serve` with a tls section, as a process: its flags, a changed file, and SIGTERM with work in hand.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { CertificateDirectory } from "../support/https-files.ts";
import { connectTls, curl, type HttpsAddress, run, TlsDoor } from "../support/https-client.ts";
import { H2Client } from "../support/https-h2.ts";
import { Origin, patternOf, sha256 } from "../support/https-origin.ts";
import { SHIPPED } from "../support/https-router.ts";
import { KeyFiles } from "../support/keys.ts";
import { Pod } from "../support/pod.ts";
import { RawClient } from "../support/raw.ts";
import { ServeProcess, WsClient } from "../support/ws-client.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
const MIB = 1024 ** 2;

let files: CertificateDirectory;
let keys: KeyFiles;
let pod: Pod;
let origin: Origin;
const running: ServeProcess[] = [];
const clients: Array<{ close(): void }> = [];

beforeAll(() => {
  if (!HAS_OPENSSL) return;
  files = new CertificateDirectory();
  files.put("desk", "desk.test");
  files.put("two", "two.test");
  keys = new KeyFiles();
  pod = new Pod();
  origin = new Origin();
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  for (const router of running.splice(0)) await router.stop();
});
afterAll(async () => {
  await origin?.stop();
  pod?.stop();
  keys?.remove();
  files?.remove();
});

const configFile = (): string => files.file("routes.yaml");

async function serve(tls: string, args: readonly string[] = ["--https", "127.0.0.1:0"], env: Record<string, string> = {}): Promise<ServeProcess> {
  writeFileSync(configFile(), tls + SHIPPED);
  const router = await ServeProcess.start(
    { ...pod.env, ...keys.env, ROUTE_ALLOWED_TARGETS: "127.0.1.0/24", FILE_SERVICE_TCP_PORT: String(origin.port), ...env }, ["--config", configFile(), ...args],
  );
  running.push(router);
  await router.until(() => router.log.includes('"routes":'));
  return router;
}

/** Where it listens for TLS. */
function addressOf(router: ServeProcess): HttpsAddress {
  return { port: Number(/"https":"https:\/\/[^"]*:(\d+)"/.exec(router.log)?.[1]), ca: files.authority.pem, caFile: files.caFile };
}

/** The program to its end, which is to be a refusal. */
function refuse(...args: string[]): ReturnType<typeof run> {
  return run(["env", "-i", `PATH=${process.env["PATH"]}`, ...Object.entries(keys.env).map(([name, value]) => `${name}=${value}`), process.execPath, MAIN, "serve", "--http", "127.0.0.1:0", ...args]);
}

describe.skipIf(!HAS_OPENSSL)("serve", () => {
  test("listens where --https and --admin say, and tells both", async () => {
    const router = await serve(files.section(["desk"]), ["--https", "127.0.0.1:0", "--admin=127.0.0.1:0"], { HTTPS_LISTEN: "192.0.2.77:1" });
    expect((await curl(addressOf(router), "desk.test", "/healthz")).stdout).toBe("OK\n");
    const admin = /"admin":"(http:\/\/127\.0\.0\.1:\d+)"/.exec(router.log)?.[1];
    const metrics = await (await fetch(`${admin}/metrics`)).text();
    expect(metrics).toContain("route_requests_total");
  });

  test("listens where HTTPS_LISTEN says without the flag", async () => {
    const router = await serve(files.section(["desk"]), [], { HTTPS_LISTEN: "127.0.0.1:0" });
    expect((await curl(addressOf(router), "desk.test", "/healthz")).stdout).toBe("OK\n");
    expect(router.log).not.toContain("\"admin\"");
  });

  test("refuses --https when there is nothing to serve over TLS, and addresses that are none", async () => {
    const nothing = await refuse("--https", "127.0.0.1:0");
    expect([nothing.code, nothing.stderr]).toEqual([1, "--https: there is nothing to serve over TLS (the configuration has no \"tls\")\n"]);
    for (const flag of ["--https", "--admin"]) {
      const { code, stderr } = await refuse(flag, "8443");
      expect([code, stderr]).toEqual([2, expect.stringContaining(`route-gateway: ${flag}: expected an address to listen on such as ":80" or "127.0.0.1:8080", found "8443" (did you mean ":8443"?)`)]);
    }
    const open = await refuse("--admin", ":9090");
    expect([open.code, open.stderr]).toEqual([1, expect.stringContaining("an admin address that is not loopback needs")]);
  });

  test("says what it cannot listen on, and serves nothing then", async () => {
    const first = await serve(files.section(["desk"]));
    const { port } = addressOf(first);
    const { code, stderr } = await refuse("--config", configFile(), "--https", `127.0.0.1:${port}`);
    expect([code, stderr]).toEqual([1, expect.stringContaining(`cannot listen on 127.0.0.1:${port}: the address is in use`)]);
  });

  test("tells of its flags and variables in its help", async () => {
    const { stdout } = await run([process.execPath, MAIN, "serve", "--help"]);
    for (const text of ["--https HOST:PORT", "--admin HOST:PORT", "HTTPS_LISTEN"]) expect(stdout).toContain(text);
  });
});

describe.skipIf(!HAS_OPENSSL)("a changed file", () => {
  test("that changes tls says that it needs a restart, and its routes are served at once", async () => {
    const router = await serve(files.section(["desk"]));
    const address = addressOf(router);
    const socket = await WsClient.open((await door(address)).port, `/websockify?jwt_token=${keys.token()}`, { headers: { Host: "desk.test" } });
    clients.push(socket);
    writeFileSync(configFile(), files.section(["desk", "two"]) + SHIPPED.replace("\nroutes:\n", "\nroutes:\n  - { path: /new, match: exact, service: healthz }\n"));
    await router.until(() => router.events("configuration applied").length === 1);
    expect(router.lines.filter(({ level }) => level === "warn").map(({ message }) => message)).toEqual(["a changed tls takes effect after a restart"]);
    expect((await curl(address, "desk.test", "/new")).stdout).toBe("OK\n");
    expect((await curl(address, "two.test", "/new")).code).toBe(35);
    expect(socket.closing).toBeNull();
  });

  test("that says again what runs needs no restart, and neither does another hsts, which is sent at once", async () => {
    const router = await serve(files.section(["desk"]));
    const sts = async () => /^strict-transport-security: (.*)$/mi.exec((await curl(addressOf(router), "desk.test", "/healthz", "-i")).stdout)?.[1]?.trim();
    const applied = async (count: number, tls: string): Promise<number> => {
      writeFileSync(configFile(), tls + SHIPPED);
      await router.until(() => router.events("configuration applied").length === count);
      return router.events("a changed tls takes effect after a restart").length;
    };
    const section = files.section(["desk"]);
    expect(await applied(1, files.section(["desk", "two"]))).toBe(1);
    expect(await applied(2, section)).toBe(1);
    expect(await applied(3, files.section(["desk"], "hsts: 10d"))).toBe(1);
    expect(await sts()).toBe("max-age=864000");
    expect(await applied(4, section)).toBe(1);
  });

  test("with a mistake in tls is refused, with its place, and the old one stays", async () => {
    const router = await serve(files.section(["desk"]));
    writeFileSync(configFile(), `tls: { certificate: [] }\n${SHIPPED}`);
    await router.until(() => router.events("configuration refused, the old one stays").length === 1);
    expect(router.events("configuration refused, the old one stays")[0]?.["reason"]).toBe(`${configFile()}:1:8: unknown key "certificate" (did you mean "certificates"?)`);
    expect((await curl(addressOf(router), "desk.test", "/healthz")).stdout).toBe("OK\n");
  });
});

async function door(address: HttpsAddress): Promise<TlsDoor> {
  const opened = await TlsDoor.open(address, "desk.test");
  clients.push(opened);
  return opened;
}

describe.skipIf(!HAS_OPENSSL)("SIGTERM", () => {
  const bearer = (): string => `Authorization: Bearer ${keys.token()}`;

  // With `default` there is one way for all names; without, each connection is looked at first.
  test.each([["", "each by its name"], ["default: desk.test", "with a default"]])("lets downloads over HTTP/1.1 and HTTP/2 finish, ends WebSockets with 1012, and takes nothing new (%p)", async (line) => {
    const router = await serve(files.section(["desk"], ...(line === "" ? [] : [line])));
    const address = addressOf(router);
    const sockets = await Promise.all(Array.from({ length: 10 }, async () => WsClient.open((await door(address)).port, `/websockify?jwt_token=${keys.token()}`, { headers: { Host: "desk.test" } })));
    const downloads = ["--http1.1", "--http2"].map((version) => ({
      file: files.file(`download${version}`), ended: curl(address, "desk.test", "/filer/half/16", version, "-H", bearer(), "-o", files.file(`download${version}`), "-w", "%{http_version}"),
    }));
    const streams = await H2Client.open(address, "desk.test");
    clients.push(streams);
    const slow = streams.get("/filer/slow", [["authorization", bearer().slice("Authorization: ".length)]]);
    for (const { file } of downloads) await eventually("the first half", () => Bun.file(file).size, (bytes) => bytes > 7 * MIB);
    await eventually("all three at the service", () => origin.waiting, (count) => count === 3);

    router.signal("SIGTERM");
    await router.until(() => router.events("stopping").length === 1);
    for (const socket of sockets) expect(await socket.ended()).toEqual({ code: 1012, reason: "service restart" });
    expect(await connectTls(address, "desk.test").then(() => "taken", () => "refused")).toBe("refused");
    expect(await RawClient.open(router.port).then(() => "taken", () => "refused")).toBe("refused");
    expect(router.child.exitCode).toBeNull();
    origin.release();
    expect(await Promise.all(downloads.map(async ({ ended }) => { const { code, stdout } = await ended; return [code, stdout]; }))).toEqual([[0, "1.1"], [0, "2"]]);
    for (const { file } of downloads) expect(sha256(readFileSync(file))).toBe(sha256(patternOf(16)));
    expect(await streams.ended(slow)).toMatchObject({ status: 200, bytes: 5, isEnded: true });
    expect(await router.exit()).toBe(0);
    expect(router.events("stopped")).toMatchObject([{ cut: 0 }]);
    expect(router.events("access").map(({ status }) => status).toSorted()).toEqual([...Array.from({ length: 10 }, () => 101), 200, 200, 200]);
  }, 30_000);

  test("is not held up by idle connections", async () => {
    const router = await serve(files.section(["desk"]));
    const address = addressOf(router);
    const idle = await H2Client.open(address, "desk.test");
    const mute = await RawClient.open(address.port);
    clients.push(idle, mute);
    expect((await idle.ended(idle.get("/healthz"))).status).toBe(200);
    const startedMs = performance.now();
    router.signal("SIGTERM");
    expect(await router.exit()).toBe(0);
    expect(performance.now() - startedMs).toBeLessThan(3000);
    await idle.until(() => idle.isClosed);
  });
});
