// Commands that speak to a running instance, pointed at somebody else's server: `--admin` with a wrong port.

import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "../../src/cli/args.ts";
import { command as cache } from "../../src/cli/cache.ts";
import { command as certificates } from "../../src/cli/certificates.ts";
import { command as gateways } from "../../src/cli/gateways.ts";
import { command as services } from "../../src/cli/services.ts";

const directory = mkdtempSync(join(tmpdir(), "route-admin-"));
const tokenFile = join(directory, "token");
writeFileSync(tokenFile, "the-token-of-the-operator");

/** What it was asked, and with which credentials. */
let asked: string[] = [];
let answer = "";
const stranger = Bun.serve({
  hostname: "127.0.0.1", port: 0,
  fetch: (request) => {
    asked.push(`${request.method} ${new URL(request.url).pathname} ${request.headers.get("authorization") ?? "-"}`);
    return new Response(answer, { headers: { "content-type": "application/json" } });
  },
});
const url = `http://127.0.0.1:${stranger.port}`;

beforeEach(() => { asked = []; });
afterAll(async () => {
  rmSync(directory, { recursive: true });
  await stranger.stop(true);
});

async function run(command: typeof cache, ...argv: string[]) {
  const written = { stdout: "", stderr: "" };
  const code = await command.run(parseArgs([...argv, "--admin", url, "--admin-token", tokenFile], command.spec), {
    stdout: (text) => { written.stdout += text; }, stderr: (text) => { written.stderr += text; }, env: {},
  });
  return { code, ...written };
}

const refused = { code: 1, stdout: "", stderr: `${url} is not an admin API, what it answers (200) is somebody else's: it is at "entrypoints.admin", 127.0.0.1:9090 by default (choose another with --admin URL)\n` };

describe.each(["{}", "[]", "null", "", "OK\n", '{"purged": 3, "fqdn": "a.example", "Request": {}, "Response": {}}'])("an address that answers %j and is no admin API", (said) => {
  beforeEach(() => { answer = said; });

  test.each<[typeof cache, string[]]>([
    [services, []], [certificates, []], [gateways, ["list"]], [gateways, ["metrics"]], [gateways, ["list", "--json"]], [cache, ["show"]],
  ])("is read by nothing", async (command, argv) => {
    expect(await run(command, ...argv)).toEqual(refused);
  });

  test.each<[typeof cache, string[]]>([
    [gateways, ["set-name", "a", "b", "--backend", "http://10.0.0.1"]], [gateways, ["set-fqdn", "a", "b.example", "--backend", "http://10.0.0.1"]], [gateways, ["delete", "a"]],
    [cache, ["purge", "--all"]],
  ])("is told to change nothing, and not the token", async (command, argv) => {
    expect(await run(command, ...argv)).toEqual(refused);
    expect(asked).toEqual(["GET /healthz -"]);
  });
});
