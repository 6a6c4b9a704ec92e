// `routes` and `check` of a file with consoles; what they say of other files stands in check.test.ts.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "../../src/cli/args.ts";
import { command as check } from "../../src/cli/check.ts";
import type { Command } from "../../src/cli/command.ts";
import { command as routes } from "../../src/cli/routes.ts";

const TEXT = `token: { vm: { secret: "\${CONSOLE_SECRET}" } }
services:
  vnc: { kubernetes: "wss://[fd00::1]:6443" }
routes:
  - { path: "/vnc/{token}/{vm}", name: screens, identity: vm, service: vnc, viewer: true, closeAfterUpgrade: true }
`;

let directory = "";
let file = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "route-routes-"));
  file = join(directory, "routes.yaml");
  await writeFile(file, TEXT);
});
afterAll(() => rm(directory, { recursive: true }));

async function run(command: Command, argv: readonly string[], env: Record<string, string> = {}) {
  const out = { stdout: "", stderr: "" };
  const io = { stdout: (text: string) => void (out.stdout += text), stderr: (text: string) => void (out.stderr += text), env };
  return { code: await command.run(parseArgs(argv, command.spec), io), ...out };
}

describe("routes", () => {
  test("shows consoles with where they are and what comes along with them, without needing the secret", async () => {
    const { code, stdout } = await run(routes, ["--config", file]);
    expect(code).toBe(0);
    const cells = stdout.trimEnd().split("\n").slice(1).map((line) => line.split(/ {2,}/).slice(0, 4));
    expect(cells).toEqual([
      ["/vnc/_viewer/{file*}", "pattern", "-", "viewer (embedded)"],
      ["/vnc/{token}/{vm}", "pattern", "path", "vnc (consoles at [fd00::1]:6443)"],
      ["/vnc", "prefix", "-", "nothing (404)"],
    ]);
    expect(stdout).toMatch(/name screens, websocket, .*viewer, closes after upgrade, .*origins same-host\n/);
  });

  test("prints no secret with --json", async () => {
    const { stdout } = await run(routes, ["--config", file, "--json"], { CONSOLE_SECRET: "hunter2-".repeat(4) });
    expect(JSON.parse(stdout)).toHaveLength(3);
    expect(stdout).not.toContain("hunter2");
  });
});

describe("routes of a service whose variable is not set", () => {
  test("repeat no password that stands beside it", async () => {
    const path = join(directory, "password.yaml");
    await writeFile(path, 'services:\n  a: { url: "http://me:hunter2@${NOT_SET}:8000" }\nroutes:\n  - { path: /, service: a }\n');
    const { code, stdout } = await run(routes, ["--config", path]);
    expect([code, stdout]).toEqual([0, expect.stringContaining("a (${NOT_SET}:8000)")]);
    expect(stdout).not.toContain("hunter2");
  });
});

describe("check", () => {
  test("asks for the secret's variable, unless it is told that it is not set there", async () => {
    expect(await run(check, [file])).toEqual({ code: 1, stdout: "", stderr: `${file}:1:25: environment variable CONSOLE_SECRET is not set\n` });
    expect(await run(check, ["--allow-unset", file])).toMatchObject({ code: 0, stderr: "" });
    expect(await run(check, [file], { CONSOLE_SECRET: "x".repeat(32) })).toMatchObject({ code: 0, stderr: "" });
  });

  test("takes a short secret for a mistake, and does not repeat it", async () => {
    const remedy = "(to accept it, set allowWeakSecret: true in token.vm, or ROUTE_ALLOW_WEAK_SECRET=true)";
    expect(await run(check, [file], { CONSOLE_SECRET: "hunter2-hunter2-hun" })).toEqual({
      code: 1, stdout: "", stderr: `${file}:1:24: environment variable CONSOLE_SECRET: expected a secret of 32 bytes or more, found one of 19 ${remedy}\n`,
    });
    expect(await run(check, [file], { CONSOLE_SECRET: "hunter2-hunter2-hun", ROUTE_ALLOW_WEAK_SECRET: "true" })).toMatchObject({ code: 0, stderr: "" });
  });
});
