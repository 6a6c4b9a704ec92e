import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs, UsageError } from "../../src/cli/args.ts";
import { command, KEY_FILES } from "../../src/cli/keys.ts";
import { KeyStore } from "../../src/token/keys.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "cli-keys-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

async function keys(...argv: string[]) {
  const written = { stdout: "", stderr: "" };
  const code = await command.run(parseArgs(argv, command.spec), {
    stdout: (text) => { written.stdout += text; }, stderr: (text) => { written.stderr += text; }, env: {},
  });
  return { code, ...written };
}

function bits(directory: string, allowWeakRsaKeys: boolean): number | undefined {
  const at = (role: keyof typeof KEY_FILES) => join(directory, KEY_FILES[role]);
  const events = { warn: () => {}, error: () => {}, changed: () => {} };
  const store = new KeyStore({ signingPublicKeys: [at("signingPublicKey")], payloadPrivateKey: at("payloadPrivateKey"), allowWeakRsaKeys }, events);
  store.load();
  return store.payload?.asymmetricKeyDetails?.modulusLength;
}

describe("keys", () => {
  test("writes four files that the router can load, the private ones for the owner only", async () => {
    const out = join(root, "made", "here");
    const { code, stdout, stderr } = await keys("--out", out);
    expect([code, stderr]).toEqual([0, ""]);
    expect(readdirSync(out).sort()).toEqual([
      "abcdesktop_jwt_desktop_payload_private_key.pem", "abcdesktop_jwt_desktop_payload_public_key.pem",
      "abcdesktop_jwt_desktop_signing_private_key.pem", "abcdesktop_jwt_desktop_signing_public_key.pem",
    ]);
    expect(stdout.trimEnd().split("\n").sort()).toEqual(readdirSync(out).sort().map((name) => join(out, name)));
    for (const name of readdirSync(out)) expect(statSync(join(out, name)).mode & 0o077).toBe(name.includes("private") ? 0 : 0o044);
    expect(bits(out, false)).toBe(2048);
  });

  test("warns about weak keys, and makes them", async () => {
    const { code, stderr } = await keys("--out", root, "--bits", "1024");
    expect(code).toBe(0);
    expect(stderr).toContain("ROUTE_ALLOW_WEAK_RSA_KEYS=true");
    expect(bits(root, true)).toBe(1024);
  });

  test("replaces nothing unless told to, and then also what others could read", async () => {
    const there = join(root, KEY_FILES.payloadPrivateKey);
    writeFileSync(there, "precious");
    chmodSync(there, 0o644);
    const refused = await keys("--out", root);
    expect(refused).toEqual({ code: 1, stdout: "", stderr: `cannot write ${there}: it exists (--force replaces all four files)\n` });
    expect([readFileSync(there, "utf8"), readdirSync(root).length]).toEqual(["precious", 1]);
    expect((await keys("--out", root, "--force")).code).toBe(0);
    expect([statSync(there).mode & 0o777, bits(root, false), readdirSync(root).length]).toEqual([0o600, 2048, 4]);
  });

  test("says where it could not write", async () => {
    writeFileSync(join(root, "file"), "");
    const file = join(root, "file");
    expect(await keys("--out", file)).toEqual({ code: 1, stdout: "", stderr: `cannot write keys: ${file}: is not a directory\n` });
    const below = join(file, "below");
    expect(await keys("--out", below)).toEqual({
      code: 1, stdout: "", stderr: `cannot write keys: ${below}: what stands before a slash is not a directory\n`,
    });
  });

  test.each([[[]], [["--out", "x", "--bits", "512"]], [["--out", "x", "--bits", "many"]], [["--out", "x", "--bits", "2049"]], [["--out", "x", "--bits", "16384"]]])(
    "refuses wrong usage: %p", async (argv) => {
      await expect(keys(...argv)).rejects.toThrow(UsageError);
    },
  );
});
