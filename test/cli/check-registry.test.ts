import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "../../src/cli/args.ts";
import { command as check } from "../../src/cli/check.ts";
import { BUILT_IN_TEXT } from "../../src/config/load.ts";
import { formatGateway } from "../../src/registry/format.ts";
import { gateway, NAME_FILE, PASSTHROUGH_FILE } from "../registry/examples.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "route-check-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function run(files: Readonly<Record<string, string>>): Promise<{ code: number; stdout: string; stderr: string }> {
  for (const [index, [name, text]] of Object.entries(files).entries()) {
    writeFileSync(join(directory, name), text);
    utimesSync(join(directory, name), 1000 + index, 1000 + index);
  }
  const out = { stdout: "", stderr: "" };
  const io = { stdout: (text: string) => void (out.stdout += text), stderr: (text: string) => void (out.stderr += text), env: {} };
  const code = await check.run(parseArgs([directory], check.spec), io);
  return { code, ...out };
}

describe("check of a registry's directory", () => {
  test("says that all is well, and how much there is", async () => {
    expect(await run({ "a.yaml": NAME_FILE, "b.yaml": PASSTHROUGH_FILE, ".c.yaml": "x", "d.txt": "x" })).toEqual({ code: 0, stdout: `${directory}: ok (2 gateways)\n`, stderr: "" });
  });

  test("prints every mistake of every file with its place, in their order, and exits with 1", async () => {
    const broken = NAME_FILE.replace("rule:", "rul:").replace("dnsresolver", "dns");
    expect(await run({ "b.yaml": broken, "c.yaml": formatGateway(gateway("c")), "a.yaml": "http: [\n", "d.yml": NAME_FILE })).toEqual({
      code: 1,
      stdout: "",
      stderr: [
        `${directory}/a.yaml:2:1: not valid YAML: flow sequence in block collection must be sufficiently indented and end with a ]`,
        `${directory}/b.yaml:3:9: missing key "rule"`,
        `${directory}/b.yaml:4:13: unknown key "rul" (did you mean "rule"?)`,
        `${directory}/b.yaml:7:31: expected one of resolver, dnsresolver, found "dns" (did you mean "dnsresolver"?)`,
        `${directory}/d.yml: not read: its name must end in .yaml`,
        "",
      ].join("\n"),
    });
  });

  test("finds two files that claim one domain, at the later one's rule", async () => {
    const text = formatGateway(gateway("web-1", "x.example.org"));
    expect(await run({ "z.yaml": text, "a.yaml": text })).toEqual({
      code: 1,
      stdout: "",
      stderr: `${directory}/a.yaml:4:19: domain "x.example.org" is already registered by workload "z", so workload "a" cannot have it (z.yaml)\n`,
    });
  });

  test("prints no control characters of a file that is no text", async () => {
    const { code, stderr } = await run({ "a.yaml": "\u007fELF\u0002\u001b[31m\u009b", "b\u001b[31m.yaml": "x" });
    expect(code).toBe(1);
    expect(stderr.replaceAll("\n", "")).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
  });

  test("takes a directory without files for an empty registry, and says so", async () => {
    mkdirSync(join(directory, "..data"));
    expect(await run({ "signing.pem": "x" })).toEqual({ code: 0, stdout: `${directory}: ok (no registered gateway: no file in it ends in .yaml)\n`, stderr: "" });
  });

  test.each([
    ["routes.yaml", BUILT_IN_TEXT, "services", BUILT_IN_TEXT.split("\n").indexOf("services:") + 1], ["short.yaml", "routes: []\nservices: {}\n", "routes", 1],
  ])("knows a configuration when it sees one: %s", async (name, text, key, line) => {
    const { code, stderr } = await run({ [name]: text });
    expect([code, stderr]).toEqual([1, `${directory}/${name}:${line}:1: "${key}" is of a configuration, and this is no registered gateway (route-gateway check FILE checks a configuration)\n`]);
  });
});
