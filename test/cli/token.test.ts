import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs, UsageError } from "../../src/cli/args.ts";
import { command } from "../../src/cli/token.ts";
import { openHash } from "../../src/token/decrypt.ts";
import { loadSecret } from "../../src/token/secret.ts";
import { verifyToken } from "../../src/token/verify.ts";
import { VmTokens } from "../../src/token/vm-token.ts";
import { sampleKeys } from "../token/sample-keys.ts";

const RULES = { algorithms: ["RS256"], requireExp: true } as const;
let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "cli-token-"));
  writeFileSync(join(root, "console.key"), "strong-secret-of-32-bytes-and-no\n");
  writeFileSync(join(root, "weak.key"), "hunter2");
  for (const bits of [1024, 2048]) {
    for (const [role, pem] of Object.entries(sampleKeys(bits).pem)) writeFileSync(join(root, `${role}-${bits}`), pem);
  }
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function token(kind: string, flags: Record<string, string> = {}) {
  const all = {
    host: "pod.example", "signing-private-key": join(root, "signingPrivateKey-2048"), "payload-public-key": join(root, "payloadPublicKey-2048"), ...flags,
  };
  return run([kind, ...Object.entries(all).map(([name, value]) => `--${name}=${value}`)]);
}

async function run(argv: readonly string[]) {
  const written = { stdout: "", stderr: "" };
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
    expect((await token("desktop", { "signing-private-key": join(root, "absent") })).stderr).toContain("no such file");
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

/** Flags of a console token that are all fine; a list is a flag that is repeated, undefined one that is left out. */
function vmArgs(flags: Record<string, string | readonly string[] | undefined> = {}): string[] {
  const all = { "secret-file": join(root, "console.key"), user: "7", lab: "1", "lab-instance": "12", namespace: "lab-12", vm: ["ubuntu", "kali"], ...flags };
  return ["vm", ...Object.entries(all).flatMap(([name, value]) => [value ?? []].flat().map((one) => `--${name}=${one}`))];
}

function claimsOf(stdout: string): { id: unknown; exp: number; lab_instance: Record<string, unknown> } {
  return JSON.parse(Buffer.from(stdout.split(".")[1] ?? "", "base64url").toString());
}

const judge = (file: string) => new VmTokens(["HS256"], { key: loadSecret({ secret: { kind: "file", path: join(root, file) }, allowWeakSecret: true }) });

describe("token vm", () => {
  test("prints a token that is good for an hour, and nothing else", async () => {
    const { code, stdout, stderr } = await run(vmArgs());
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
    const identity = judge("console.key").identify(stdout.trimEnd());
    expect(identity).toMatchObject({ namespace: "lab-12", vms: ["ubuntu", "kali"] });
    expect(Math.abs(identity.expiresAtMs - Date.now() - 3_600_000)).toBeLessThan(5_000);
  });

  test("writes the claims that the platform writes: ids as numbers, machines in their order", async () => {
    const { id, lab_instance } = claimsOf((await run(vmArgs({ vm: ["b", "a", "ubuntu-22.04"] }))).stdout);
    expect([id, lab_instance]).toEqual([7, { lab_id: 1, lab_instance_id: 12, namespace_name: "lab-12", allowed_vmi_names: ["b", "a", "ubuntu-22.04"] }]);
  });

  test.each<[string, string | number]>([["7", 7], ["0", 0], ["007", "007"], ["7a", "7a"], ["1.5", "1.5"], ["1e3", "1e3"], ["999999999999999", 999_999_999_999_999], ["9999999999999999", "9999999999999999"], ["ada", "ada"]])(
    "an id of %p is %p: a number that would not come back as it was stays text", async (id, claim) => {
      const claims = claimsOf((await run(vmArgs({ user: id, lab: id, "lab-instance": id }))).stdout);
      expect([claims.id, claims.lab_instance["lab_id"], claims.lab_instance["lab_instance_id"]]).toEqual([claim, claim, claim]);
    });

  test.each([["300", 300], ["10m", 600], ["2h", 7200]])("takes --ttl %s", async (ttl, seconds) => {
    const { expiresAtMs } = judge("console.key").identify((await run(vmArgs({ ttl }))).stdout.trimEnd());
    expect(Math.abs(expiresAtMs - Date.now() - seconds * 1000)).toBeLessThan(5_000);
  });

  test("warns about a weak secret on stderr only, without saying what it is", async () => {
    const { code, stdout, stderr } = await run(vmArgs({ "secret-file": join(root, "weak.key") }));
    expect([code, stderr]).toEqual([0, "warning: a secret below 32 bytes is weak; the router needs ROUTE_ALLOW_WEAK_SECRET=true\n"]);
    expect(judge("weak.key").identify(stdout.trimEnd()).namespace).toBe("lab-12");
  });

  test("says which file holds no secret", async () => {
    writeFileSync(join(root, "empty.key"), "\n");
    expect(await run(vmArgs({ "secret-file": join(root, "absent") }))).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining(`cannot load console token secret ${join(root, "absent")}: no such file`) });
    expect(await run(vmArgs({ "secret-file": join(root, "empty.key") }))).toMatchObject({ code: 1, stdout: "", stderr: `cannot load console token secret ${join(root, "empty.key")}: it is empty\n` });
  });

  test.each(["secret-file", "user", "lab", "lab-instance", "namespace", "vm"])("needs --%s", async (name) => {
    const refused = run(vmArgs({ [name]: undefined }));
    await expect(refused).rejects.toThrow(UsageError);
    await expect(refused).rejects.toThrow(`missing --${name}`);
  });

  test.each<[Record<string, string | readonly string[]>, string]>([
    [{ namespace: "Lab" }, "not a Kubernetes namespace: \"Lab\""], [{ namespace: "../lab" }, "not a Kubernetes namespace"], [{ namespace: "a.b" }, "not a Kubernetes namespace"],
    [{ namespace: "" }, "not a Kubernetes namespace: \"\""], [{ vm: ["ubuntu", "a/b"] }, "not a name of a virtual machine: \"a/b\""], [{ vm: "a,b" }, "not a name of a virtual machine: \"a,b\""],
    [{ vm: "" }, "not a name of a virtual machine: \"\""], [{ ttl: "0" }, "not a time to live"], [{ ttl: "soon" }, "not a time to live"], [{ ttl: "-5" }, "not a time to live"],
  ])("refuses wrong usage: %j", async (flags, message) => {
    const refused = run(vmArgs(flags));
    await expect(refused).rejects.toThrow(UsageError);
    await expect(refused).rejects.toThrow(message);
  });

  test("takes no flag of a desktop token, and a desktop token none of these", async () => {
    await expect(run(vmArgs({ host: "pod" }))).rejects.toThrow(new UsageError("--host is not for a vm token"));
    await expect(run(vmArgs({ "signing-private-key": "k" }))).rejects.toThrow(new UsageError("--signing-private-key is not for a vm token"));
    await expect(token("desktop", { namespace: "lab-12" })).rejects.toThrow(new UsageError("--namespace is not for a desktop token"));
    await expect(token("vms")).rejects.toThrow(new UsageError("unknown kind of token \"vms\" (did you mean \"vm\"?)"));
  });

  test("ends with exit code 2 at wrong usage, and with 0 and one line at a good one", () => {
    const main = new URL("../../src/main.ts", import.meta.url).pathname;
    const program = (argv: readonly string[]) => Bun.spawnSync([process.execPath, main, "token", ...argv]);
    const foreign = program(vmArgs({ host: "pod" }));
    expect([foreign.exitCode, foreign.stdout.toString()]).toEqual([2, ""]);
    expect(foreign.stderr.toString()).toStartWith("route-gateway: --host is not for a vm token\n");
    const good = program(vmArgs());
    expect([good.exitCode, good.stdout.toString().split("\n").length, good.stderr.toString()]).toEqual([0, 2, ""]);
  });
});
