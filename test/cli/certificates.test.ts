import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "../../src/cli/args.ts";
import { command } from "../../src/cli/certificates.ts";
import { closedPort, DOMAIN, makeRoot, TestGateway, type TestGatewayOptions } from "../support/gateway.ts";

async function certificates(gateway: TestGateway, ...argv: string[]) {
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
