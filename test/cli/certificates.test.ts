import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "../../src/cli/args.ts";
import { command } from "../../src/cli/certificates.ts";
import { App } from "../../src/app.ts";
import { Log } from "../../src/lib/log.ts";
import { DAY_MS, newCertificate } from "../certificate/fixtures.ts";
import { settingsOf } from "../config/support.ts";
import { closedPort, DOMAIN, makeRoot, TestGateway, type TestGatewayOptions } from "../support/gateway.ts";

async function certificates(gateway: { readonly adminUrl: string }, ...argv: string[]) {
  const written = { stdout: "", stderr: "" };
  const code = await command.run(parseArgs(["--admin", gateway.adminUrl, ...argv], command.spec), {
    stdout: (text) => { written.stdout += text; }, stderr: (text) => { written.stderr += text; }, env: {},
  });
  return { code, ...written };
}

async function at(options: TestGatewayOptions, run: (gateway: TestGateway) => Promise<void>): Promise<void> {
  const gateway = await TestGateway.start(options);
  try {
    await run(gateway);
  } finally {
    await gateway.stop();
  }
}

const TIME = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`;

describe("certificates", () => {
  test("are a table with their ends and next renewals", () => at({}, async (gateway) => {
    expect(await certificates(gateway)).toEqual({ code: 0, stdout: "NAMES  ISSUER  EXPIRY  NEXT RENEWAL  LAST ERROR\n", stderr: "" });
    await gateway.set("1", "blog", ["http://10.0.0.1"]);
    await gateway.set("2", "shop", ["http://10.0.0.1"]);
    await gateway.set("3", "mail.example.org", ["http://10.0.0.1"]);
    await gateway.set("4", "raw.example.org", ["10.0.0.1:443"], true);
    const { code, stdout } = await certificates(gateway);
    const [, ...rows] = stdout.trimEnd().split("\n");
    // Two names share the wildcard, and what is passed through needs none.
    expect([code, rows.length]).toEqual([0, 2]);
    for (const name of [`*.${DOMAIN}`, "mail.example.org"]) {
      expect(rows.find((row) => row.startsWith(name))).toMatch(new RegExp(`^${name.replace("*", "\\*")} +route-gateway local authority.* +${TIME} +${TIME} +-$`));
    }
  }));

  test("are what the API says with --json", () => at({}, async (gateway) => {
    await gateway.set("1", "mail.example.org", ["http://10.0.0.1"]);
    const [found] = JSON.parse((await certificates(gateway, "--json")).stdout) as Array<Record<string, unknown>>;
    expect(found).toMatchObject({ names: ["mail.example.org"], lastError: null, failures: 0 });
    expect(JSON.parse((await certificates(gateway, "--json")).stdout)).toEqual(await gateway.json("/api/certificates"));
  }));

  test("that cannot be obtained say why, and when it is tried again", () => {
    const port = closedPort();
    return at({ isLocal: false, acmeDirectory: `https://127.0.0.1:${port}/directory` }, async (gateway) => {
      await gateway.set("1", "mail.example.org", ["http://10.0.0.1"]);
      await gateway.logged("certificate not obtained", ({ name }) => name === "mail.example.org");
      const row = (await certificates(gateway)).stdout.split("\n")[1];
      expect(row).toMatch(new RegExp(`^mail\\.example\\.org +- +- +${TIME} +.*127\\.0\\.0\\.1:${port}`));
      await expect(gateway.connect("mail.example.org", "")).rejects.toThrow(/unrecognized.name/i);
    });
  });

  test("are nobody's business without the token", () => {
    const root = makeRoot();
    writeFileSync(join(root, "token"), "a-token-of-the-operator");
    return at({ root, adminTokenFile: join(root, "token") }, async (gateway) => {
      expect(await certificates(gateway)).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining("--admin-token FILE") });
      expect((await certificates(gateway, "--admin-token", join(root, "token"))).code).toBe(0);
    });
  });
});

describe("certificates from files", () => {
  test("have a row for each pair, also for one that cannot be used or that clients refuse; the log warns of it", async () => {
    const root = mkdtempSync(join(tmpdir(), "route-certificates-"));
    const put = async (name: string, startMs: number): Promise<string> => {
      const { certPem, keyPem } = await newCertificate([`${name}.test`], () => startMs);
      writeFileSync(join(root, `${name}.pem`), certPem + keyPem);
      return join(root, `${name}.pem`);
    };
    const [good, old, early] = [await put("good", Date.now()), await put("old", Date.now() - 200 * DAY_MS), await put("early", Date.now() + 200 * DAY_MS)];
    const pairs = [[good, good], [old, old], [early, early], [good, old], [`${root}/absent`, good]].map(([certFile, keyFile]) => ({ certFile, keyFile }));
    let log = "";
    const app = new App(settingsOf(JSON.stringify({
      entrypoints: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" }, tls: { certificates: pairs, acme: { storage: `${good}/acme` } },
      services: { a: { text: "a" } }, routes: [{ path: "/", service: "a" }],
    })), { log: new Log("json", { write: (text, done) => { log += text; queueMicrotask(done); }, writeSync: (text) => { log += text; } }) });
    try {
      await app.start();
      const adminUrl = app.addresses.admin ?? "";
      const rows = (await certificates({ adminUrl })).stdout.trimEnd().split("\n").slice(1).map((row) => row.replaceAll(new RegExp(TIME, "g"), "TIME").split(/ {2,}/));
      const issuer = "route-gateway local authority";
      expect(rows).toEqual([
        ["good.test", issuer, "TIME", "-", "-"], ["old.test", issuer, "TIME", "-", "the certificate ended on TIME"], ["early.test", issuer, "TIME", "-", "the certificate begins on TIME"],
        [good, "-", "-", "-", `cannot use ${good} with ${old}: the key belongs to another certificate`],
        [`${root}/absent`, "-", "-", "-", `cannot read ${root}/absent: no such file`],
      ]);
      expect(JSON.parse((await certificates({ adminUrl }, "--json")).stdout)).toMatchObject([{ file: good, lastError: null }, { file: old }, { file: early }, { file: good, names: [], expiry: null }, {}]);
      expect(await (await fetch(`${adminUrl}/metrics`)).text()).toContain("\nroute_certificate_file_problems 4\n");
    } finally {
      await app.stop(0);
      await app.log.end();
      rmSync(root, { recursive: true, force: true });
    }
    const said = log.trim().split("\n").map((line) => JSON.parse(line) as Record<string, string>);
    expect(said.filter(({ message = "" }) => message.startsWith("certificate loaded")).map(({ level, file, reason }) => [level, file, reason?.replace(/ on .*/, "")])).toEqual([
      ["info", good, undefined], ["warn", old, "it ended"], ["warn", early, "it begins"],
    ]);
    expect(said.find(({ message }) => message === "certificates cannot be kept")).toMatchObject({
      level: "error", setting: "tls.acme.storage", directory: `${good}/acme`, reason: "what stands before a slash is not a directory",
    });
  });
});
