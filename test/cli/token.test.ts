import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs, UsageError } from "../../src/cli/args.ts";
import { command } from "../../src/cli/token.ts";
import { openHash } from "../../src/token/decrypt.ts";
import { verifyToken } from "../../src/token/verify.ts";
import { sampleKeys } from "../token/sample-keys.ts";

const RULES = { algorithms: ["RS256"], requireExp: true } as const;
let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "cli-token-"));
  for (const bits of [1024, 2048]) {
    for (const [role, pem] of Object.entries(sampleKeys(bits).pem)) writeFileSync(join(root, `${role}-${bits}`), pem);
  }
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function token(kind: string, flags: Record<string, string> = {}) {
  const all = {
    host: "pod.example", "signing-private-key": join(root, "signingPrivateKey-2048"), "payload-public-key": join(root, "payloadPublicKey-2048"), ...flags,
  };
  const written = { stdout: "", stderr: "" };
  const argv = [kind, ...Object.entries(all).map(([name, value]) => `--${name}=${value}`)];
  const code = await command.run(parseArgs(argv, command.spec), {
    stdout: (text) => { written.stdout += text; }, stderr: (text) => { written.stderr += text; }, env: {},
  });
  return { code, ...written };
}

describe("token desktop", () => {
  test("prints a token that opens to the host, and nothing else", async () => {
    const { code, stdout, stderr } = await token("desktop", { host: "[FD00::7]", ttl: "60" });
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
    const { hash, expiresAtMs } = verifyToken(stdout.trimEnd(), [sampleKeys(2048).signingPublic], RULES, Date.now());
    expect(openHash(sampleKeys(2048).payloadPrivate, hash)).toBe("fd00::7");
    expect(Math.abs(expiresAtMs - Date.now() - 60_000)).toBeLessThan(5_000);
  });

  test.each([["300", 300], ["10m", 600], ["2h", 7200]])("takes --ttl %s", async (ttl, seconds) => {
    const { stdout } = await token("desktop", { ttl });
    const claims = JSON.parse(Buffer.from(stdout.split(".")[1] ?? "", "base64url").toString());
    expect(claims.exp - claims.nfb).toBe(seconds);
  });

  test("warns about weak keys on stderr only", async () => {
    const weak = { "signing-private-key": join(root, "signingPrivateKey-1024"), "payload-public-key": join(root, "payloadPublicKey-1024") };
    const { code, stdout, stderr } = await token("desktop", weak);
    expect([code, stdout.split(".").length]).toEqual([0, 3]);
    expect(stderr).toStartWith("warning: RSA keys below 2048 bits are weak");
  });

  test("says which file is not the key that it should be", async () => {
    const swapped = await token("desktop", { "payload-public-key": join(root, "payloadPrivateKey-2048") });
    expect([swapped.code, swapped.stdout]).toEqual([1, ""]);
    expect(swapped.stderr).toContain(`cannot load payload public key ${join(root, "payloadPrivateKey-2048")}: it holds a private key`);
    expect((await token("desktop", { "signing-private-key": join(root, "absent") })).stderr).toContain("ENOENT");
  });

  test("says that a host is too long for the key", async () => {
    const weak = { "signing-private-key": join(root, "signingPrivateKey-1024"), "payload-public-key": join(root, "payloadPublicKey-1024") };
    const result = await token("desktop", { ...weak, host: `${"a".repeat(60)}.${"b".repeat(60)}` });
    expect(result).toMatchObject({ code: 1, stdout: "" });
    expect(result.stderr).toEndWith("host of 121 bytes does not fit into a payload key of 1024 bits (at most 117)\n");
  });

  test.each<[string, Record<string, string>]>([
    ["desktop", { host: "pod:80" }], ["desktop", { host: "http://pod" }], ["desktop", { host: "" }], ["desktop", { ttl: "0" }], ["desktop", { ttl: "soon" }],
    ["desktop", { ttl: "-5" }], ["destop", {}], ["vm", {}],
  ])("refuses wrong usage: %s %p", async (kind, flags) => {
    await expect(token(kind, flags)).rejects.toThrow(UsageError);
  });
});
