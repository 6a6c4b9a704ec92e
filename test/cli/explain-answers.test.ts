// What `explain` says of a request beside what the program answers it: the same, of the same configuration.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "../../src/cli/args.ts";
import { command } from "../../src/cli/explain.ts";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { ask, head } from "../support/http.ts";
import { connectTls, curl } from "../support/https-client.ts";
import { CertificateDirectory } from "../support/https-files.ts";
import { Pod } from "../support/pod.ts";
import { TestRouter } from "../support/router.ts";

const site = mkdtempSync(join(tmpdir(), "route-site-"));
mkdirSync(join(site, "docs"));
writeFileSync(join(site, "docs", "index.html"), "<p>docs</p>");
writeFileSync(join(site, "long.bin"), Buffer.alloc(200_000));
writeFileSync(join(site, ".env"), "SECRET=1");
const app = new Pod("127.0.1.1", ["app"]);
const table = `services:
  app: { url: "http://127.0.1.1:${app.port("app")}" }
  healthz: { text: "OK\\n" }
  site: { directory: ${site} }
  page: { directory: ${site}, fallback: docs/index.html }
  nowhere: { directory: "" }
routes:
  - { path: /, service: app, bodyLimit: 1KiB }
  - { path: /ws, service: app, websocket: true }
  - { path: /healthz, match: exact, service: healthz }
  - { path: /site, service: site, upstreamPath: strip }
  - { path: /page, service: page, upstreamPath: strip }
  - { path: /nowhere, service: nowhere }
`;

let router: TestRouter;
beforeAll(async () => { router = await TestRouter.start({ config: table }); });
afterAll(async () => {
  await router.stop();
  app.stop();
  rmSync(site, { recursive: true });
});

async function explain(config: string, url: string, ...argv: string[]): Promise<{ exitCode: number; text: string }> {
  const file = join(site, "routes.yaml");
  writeFileSync(file, config);
  let text = "";
  const exitCode = await command.run(parseArgs([url, "--config", file, ...argv], command.spec), { stdout: (part) => { text += part; }, stderr: () => {}, env: {} });
  return { exitCode, text };
}

const flagsOf = (method: string, lines: readonly string[]): string[] => ["--method", method, ...lines.flatMap((line) => ["--header", line])];

describe("explain says what the program answers:", () => {
  test.each<[string, string, string[], number, string]>([
    ["GET", "/healthz", [], 200, '200 "OK\\n"'],
    ["HEAD", "/healthz", [], 200, '200 "OK\\n"'],
    ["POST", "/healthz", ["Content-Length: 0"], 405, "405 method not allowed: POST on a built-in answer"],
    ["POST", "/x", ["Content-Length: 1025"], 413, "413 request body too large: announced body of 1025 bytes, the route allows 1024"],
    ["PUT", "/x", ["Content-Length: 3, 3"], 400, "400 bad request: malformed Content-Length"],
    ["GET", "/x", ["Upgrade: websocket", "Connection: upgrade", "Content-Length: 3"], 400, "400 bad request: upgrade with a body"],
    ["GET", "/site/docs/", [], 200, "200, 11 bytes"],
    ["GET", "/site/docs/", ["Range: bytes=0-4"], 206, "206, 5 bytes"],
    ["GET", "/site/long.bin", [], 200, "200, 200000 bytes"],
    ["GET", "/site/docs?a=b", [], 308, "308 moved: ./docs/?a=b"],
    ["GET", "/site?a=b", [], 308, "308 moved: ./site/?a=b"],
    ["POST", "/site/docs/", ["Content-Length: 0"], 405, "405 method not allowed: POST on a file"],
    ["GET", "/site/nonexist", [], 404, "404 not found: no such file"],
    ["GET", "/site/.env", [], 404, "404 not found: names that begin with a dot are not served"],
    ["GET", "/page/nonexist", [], 200, "200, 11 bytes"],
    ["GET", "/nowhere/x", [], 404, "404 not found: no webroot is configured"],
  ])("%s %s %j", async (method, path, lines, status, answer) => {
    const explained = await explain(table, path, ...flagsOf(method, lines));
    expect(explained.text).toContain(`answer    ${answer}\n`);
    expect(explained.exitCode).toBe(status < 400 ? 0 : 1);
    expect((await ask(router.port, head(method, path, lines))).status).toBe(status);
  });

  test.each<[string, string[]]>([
    ["GET", []], ["POST", ["Content-Length: 3"]], ["POST", ["Content-Length: 0"]], ["POST", []], ["DELETE", []], ["PUT", ["Transfer-Encoding: chunked"]],
  ])("a forwarded %s %j has the same framing", async (method, lines) => {
    const framing = (text: string): string[] => text.split(/\r?\n/).map((line) => line.trim()).filter((line) => /^(content-length|transfer-encoding):/i.test(line));
    const body = lines.includes("Content-Length: 3") ? "abc" : lines.some((line) => line.startsWith("Transfer")) ? "0\r\n\r\n" : "";
    app.seen.length = 0;
    expect((await ask(router.port, `${head(method, "/x", lines)}${body}`)).status).toBe(200);
    expect(framing((await explain(table, "/x", ...flagsOf(method, lines))).text)).toEqual(framing(app.seen[0]?.head ?? ""));
  });

  test("which file it looks for", async () => {
    expect((await explain(table, "/site/nonexist")).text).toContain(`file      ${join(site, "nonexist")}\n`);
    expect((await explain(table, "/page/a%20b/")).text).toContain(`file      ${join(site, "a b", "index.html")}, or else ${join(site, "docs/index.html")}\n`);
  });

  test("an upgrade that the route does not bridge is a plain request", async () => {
    const { exitCode, text } = await explain(table, "/x", "--header", "Upgrade: websocket");
    expect([exitCode, text]).toEqual([0, expect.stringContaining("upgrade   not bridged (websocket: false)\n")]);
    expect(text.split("\n").filter((line) => /^ +upgrade/i.test(line))).toEqual([]);
    expect((await explain(table, "/ws", "--header", "Upgrade: websocket")).text).toContain("upgrade   WebSocket, bridged\n");
  });

  test("nothing of a token in a path that no route takes it from", async () => {
    const secret = router.token();
    for (const path of [`/container/${secret}`, `/x?next=${secret}`]) {
      const { text } = await explain(table, path, "--header", `Authorization: Bearer ${secret}`);
      expect(text).toContain("[token]");
      expect(text).not.toContain(secret.slice(0, 40));
    }
  });
});

describe.if(HAS_OPENSSL)("explain with TLS says what the program answers:", () => {
  const files = new CertificateDirectory();
  files.put("desk", "desk.test", "*.wild.test");
  const tls = (...lines: string[]): string => `entrypoints: { https: "127.0.0.1:0" }\n${files.section(["desk"], ...lines)}${table}`;
  const withDefault = tls("default: desk.test");
  let secure: TestRouter;
  beforeAll(async () => { secure = await TestRouter.start({ config: tls() }); });
  afterAll(async () => {
    await secure.stop();
    files.remove();
  });
  const address = () => ({ port: Number(new URL(secure.app.addresses.https ?? "").port), ca: files.authority.pem, caFile: files.caFile });

  test.each(["desk.test", "a.wild.test", "DESK.test:80"])("a plain request for %s is moved to https, a token in it is not shown", async (host) => {
    const secret = router.token();
    const path = `/x/${secret}?a=b`;
    const { exitCode, text } = await explain(tls(), `http://${host}${path}`);
    const name = host.replace(":80", "").toLowerCase();
    expect([exitCode, text]).toEqual([0, expect.stringMatching(new RegExp(`answer {4}308 moved: https://${name}:0/x/\\[token\\]\\?a=b\n`))]);
    expect([text.includes(secret), text.includes("sends")]).toEqual([false, false]);
    const answer = await ask(secure.port, head("GET", path, [`Host: ${host}`]));
    expect([answer.status, answer.one("location")]).toEqual([308, `https://${name}:${address().port}${path}`]);
  });

  test("a plain request for another host, or without the redirect, is served", async () => {
    for (const [config, url] of [[tls(), "http://other.test/x"], [tls(), "/x"], [tls("redirect: false"), "http://desk.test/x"]] as const) {
      const { exitCode, text } = await explain(config, url);
      expect([exitCode, text]).toEqual([0, expect.stringContaining("X-Forwarded-Proto: http\n")]);
    }
  });

  test("a request over TLS says so upstream", async () => {
    const { exitCode, text } = await explain(tls(), "https://desk.test/x");
    expect([exitCode, text]).toEqual([0, expect.stringMatching(/tls {7}with the certificate for desk\.test, \*\.wild\.test\n[^]*X-Forwarded-Proto: https\n/)]);
    app.seen.length = 0;
    await curl(address(), "desk.test", "/x");
    expect(app.seen[0]?.headers["x-forwarded-proto"]).toEqual(["https"]);
  });

  test("a name without a certificate gets no connection, unless there is a default one", async () => {
    const refused = await explain(tls(), "https://other.test/x");
    expect([refused.exitCode, refused.text]).toEqual([1, expect.stringContaining("answer    none: the TLS handshake is refused, there is no certificate for other.test\n")]);
    await expect(connectTls(address(), "other.test")).rejects.toThrow(/unrecognized.name/i);
    expect(await explain(withDefault, "https://other.test/x")).toMatchObject({ exitCode: 0, text: expect.stringContaining("X-Forwarded-Proto: https\n") });
  });

  test("names that are to be obtained count, and files that cannot be read do not", async () => {
    const named = `tls: { names: [named.test], localAuthority: ${files.path}/local }\n${table}`;
    expect((await explain(named, "http://named.test/x")).text).toContain("answer    308 moved: https://named.test/x\n");
    const absent = `tls: { certificates: [{ certFile: ${files.path}/absent.crt, keyFile: ${files.path}/absent.key }] }\n${table}`;
    expect(await explain(absent, "https://desk.test/x")).toMatchObject({ exitCode: 1, text: expect.stringContaining(`tls       without this certificate: cannot read ${files.path}/absent.crt`) });
  });

  test("without tls, https is what somebody in front of it ends", async () => {
    expect(await explain(table, "https://desk.test/x")).toMatchObject({ exitCode: 0, text: expect.stringMatching(/tls {7}the configuration has none: as over plain HTTP\n[^]*X-Forwarded-Proto: http\n/) });
  });

  test("of a gateway, that what is registered is not looked at, where a host could be", async () => {
    files.put("wildcard", "*.gw.test", "own.gw.test");
    const gateway = `gateway: { root: ${files.path}/gateway, domain: gw.test }\n${files.section(["wildcard"], "names: [desk.test]", `localAuthority: ${files.path}/local`)}${table}`;
    const note = (host: string): string => `gateway   registered gateways are not looked at: one of ${host} takes all of its requests\n`;
    for (const host of ["a.gw.test", "other.test"]) expect((await explain(gateway, `http://${host}/x`)).text).toContain(note(host));
    // The wildcard of its own domain is for registered names; what stands in a certificate by name is for the table, and cannot be registered.
    expect((await explain(gateway, "http://a.gw.test/x")).text).toContain("sends     GET /x");
    for (const host of ["desk.test", "own.gw.test"]) {
      const { text } = await explain(gateway, `http://${host}/x`);
      expect(text).toContain(`answer    308 moved: https://${host}/x\n`);
      expect(text).not.toContain(note(host));
    }
    for (const url of ["/x", "http://127.0.0.1/x"]) expect((await explain(gateway, url)).text).not.toContain("gateway   ");
    expect((await explain(table, "http://a.gw.test/x")).text).not.toContain("gateway   ");
  });
});
