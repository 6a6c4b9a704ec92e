import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "../../src/cli/args.ts";
import { command as check } from "../../src/cli/check.ts";
import type { Command } from "../../src/cli/command.ts";
import { command as routes } from "../../src/cli/routes.ts";
import { command as schema } from "../../src/cli/schema.ts";
import { command as version } from "../../src/cli/version.ts";
import { KEYS, TABLE } from "../config/support.ts";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "route-check-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function fileWith(text: string): Promise<string> {
  const file = join(directory, "routes.yaml");
  await writeFile(file, text);
  return file;
}

type Outcome = { readonly code: number; readonly stdout: string; readonly stderr: string };

async function run(command: Command, argv: readonly string[], env: Record<string, string> = {}): Promise<Outcome> {
  const out = { stdout: "", stderr: "" };
  const io = { stdout: (text: string) => void (out.stdout += text), stderr: (text: string) => void (out.stderr += text), env };
  const code = await command.run(parseArgs(argv, command.spec), io);
  return { code, ...out };
}

const MAIN = new URL("../../src/main.ts", import.meta.url).pathname;
const SHIPPED = new URL("../../routes.yaml", import.meta.url).pathname;
const SHIPPED_CONSOLES = new URL("../../consoles.yaml", import.meta.url).pathname;

describe("check", () => {
  test("says that the shipped file is fine, and how much it holds", async () => {
    expect(await run(check, [SHIPPED], KEYS)).toEqual({ code: 0, stdout: `${SHIPPED}: ok (32 routes, 20 services)\n`, stderr: expect.stringMatching(/^(.*: note: the file \/keys\/(signing|payload)\.pem cannot be read here: no such file\n){2}$/) });
  });

  test("prints every mistake with its place on stderr and exits with 1", async () => {
    const file = await fileWith(`dnss: {}\n${TABLE}  - { path: /a, service: webiste }\n`);
    expect(await run(check, [file])).toEqual({
      code: 1,
      stdout: "",
      stderr: `${file}:1:1: unknown key "dnss" (did you mean "dns"?)\n${file}:6:26: unknown service "webiste" (did you mean "website"?)\n`,
    });
  });

  test("prints notes, which are no mistakes", async () => {
    const file = await fileWith(TABLE.replace("routes:", "  spare: { text: a }\nroutes:"));
    expect(await run(check, [file])).toEqual({
      code: 0, stdout: `${file}: ok (1 route, 1 service)\n`, stderr: `${file}:3:3: note: no route uses the service "spare"\n`,
    });
  });

  test("notes files and directories that are not here, which are no mistakes: CI may not have them", async () => {
    const here = await fileWith("");
    const below = join(directory, "text");
    await writeFile(below, "");
    const file = join(directory, "paths.yaml");
    await writeFile(file, ["services:", `  a: { url: "https://a", tls: { caFile: /nowhere/ca.pem } }`, `  b: { url: "https://b", tls: { caFile: ${here} } }`,
      "  c: { directory: /nowhere/site }", `  d: { directory: ${directory} }`, `  e: { directory: ${below} }`, "  f: { directory: \"\" }", "  g: { directory: \"${SITE}\" }", "routes:",
      ...["a", "b", "c", "d", "e", "f", "g"].map((name) => `  - { path: /${name}, service: ${name} }`), ""].join("\n"));
    expect(await run(check, ["--allow-unset", file])).toEqual({
      code: 0, stdout: `${file}: ok (7 routes, 7 services)\n`, stderr: [
        `${file}:2:41: note: the file /nowhere/ca.pem cannot be read here: no such file`, `${file}:4:19: note: the directory /nowhere/site cannot be read here: no such file`,
        `${file}:6:19: note: the directory ${below} cannot be read here: is no directory`, "",
      ].join("\n"),
    });
  });

  test("takes a variable that is not set for a mistake, unless told otherwise", async () => {
    expect(await run(check, [SHIPPED])).toMatchObject({ code: 1, stderr: expect.stringContaining("JWT_DESKTOP_SIGNING_PUBLIC_KEY is not set") });
    expect(await run(check, ["--allow-unset", SHIPPED])).toMatchObject({ code: 0, stderr: "" });
    expect(await run(check, [SHIPPED_CONSOLES], { SECRET_KEY: "x".repeat(32) })).toMatchObject({ code: 1, stderr: `${SHIPPED_CONSOLES}:20:17: environment variable WS_REMOTE_URL is not set\n` });
    expect(await run(check, ["--allow-unset", SHIPPED_CONSOLES])).toMatchObject({ code: 0, stderr: "" });
  });

  test("takes a short secret for a mistake, and does not repeat it; one that is not set cannot be measured", async () => {
    const service = "{ servers: [\"http://a\", \"http://b\"], policy: sticky, sticky: { secret: \"${LB}\" } }";
    const file = await fileWith(TABLE.replace("{ url: \"http://website\" }", service));
    const { code, stderr } = await run(check, [file], { LB: "abcdefgh" });
    expect([code, stderr]).toEqual([1, expect.stringMatching(/:2:\d+: environment variable LB: expected a secret of 16 bytes or more, found one of 8\n$/)]);
    expect(await run(check, ["--allow-unset", file])).toMatchObject({ code: 0, stderr: "" });
    expect(await run(check, [file], { LB: "abcdefghabcdefgh" })).toMatchObject({ code: 0, stderr: "" });
  });

  test("says in words why a file cannot be read", async () => {
    const absent = join(directory, "absent.yaml");
    const below = join(await fileWith(TABLE), "below.yaml");
    expect(await run(check, [absent])).toEqual({ code: 1, stdout: "", stderr: `cannot read ${absent}: no such file\n` });
    expect(run(routes, ["--config", directory])).rejects.toThrow(`cannot read ${directory}: is a directory`);
    expect((await run(check, [below])).stderr).toBe(`cannot read ${below}: what stands before a slash is not a directory\n`);
    expect(run(routes, ["--config", absent])).rejects.toThrow(`cannot read ${absent}: no such file`);
  });

  test.skipIf(process.getuid?.() === 0)("says that a file may not be read", async () => {
    const file = join(directory, "secret.yaml");
    await writeFile(file, TABLE, { mode: 0o000 });
    expect((await run(check, [file])).stderr).toBe(`cannot read ${file}: not permitted\n`);
  });

  test("takes bytes that are not UTF-8 for a mistake, and says where they are", async () => {
    const file = join(directory, "latin.yaml");
    await writeFile(file, `# \u00e9 \ufffd\n${TABLE}# caf\u00e9\n`);
    expect((await run(check, [file])).code).toBe(0);
    await writeFile(file, Buffer.concat([Buffer.from(`# \u00e9 \ufffd\n${TABLE}# caf`), Buffer.from([0xe9, 0x0a])]));
    expect(await run(check, [file])).toEqual({ code: 1, stdout: "", stderr: `${file}:6:6: the file is not UTF-8: what stands here is written in another encoding\n` });
  });

  test("says that a second document is one too many", async () => {
    const file = await fileWith(`${TABLE}---\n${TABLE}`);
    expect(await run(check, [file])).toEqual({ code: 1, stdout: "", stderr: `${file}:5:1: a second document begins here ("---"): one file holds one\n` });
  });

  test("notes that there is no route", async () => {
    const file = await fileWith("services: {}\nroutes: []\n");
    expect(await run(check, [file])).toEqual({ code: 0, stdout: `${file}: ok (0 routes, 0 services)\n`, stderr: `${file}:2:9: note: there is no route: everything is answered 404\n` });
  });

  test.skipIf(Bun.which("mkfifo") === null)("reads a pipe that somebody writes to, and does not wait for ever for one that nobody does", async () => {
    const fifo = join(directory, "fifo");
    expect(Bun.spawnSync(["mkfifo", fifo]).exitCode).toBe(0);
    const checking = (file: string, stdin: "ignore" | Blob) => Bun.spawn([process.execPath, MAIN, "check", file], { stdin, stdout: "pipe", stderr: "pipe" });
    const [piped, alone] = [checking("/dev/stdin", new Blob([TABLE])), checking(fifo, "ignore")];
    expect([await piped.stdout.text(), await piped.exited]).toEqual(["/dev/stdin: ok (1 route, 1 service)\n", 0]);
    expect([await alone.stderr.text(), await alone.exited]).toEqual([`cannot read ${fifo}: it is a pipe that nobody writes to\n`, 1]);
  }, 20_000);

  test("prints no control characters of a file that is no text", async () => {
    const bytes = Array.from({ length: 256 }, (_, index) => String.fromCharCode((index * 7) % 256)).join("");
    for (const text of ["\u007fELF\u0002\u0001\u0000\u0000\u001b[31m\u009b", `"\\e[31m": 1\n${TABLE}`, bytes]) {
      const { code, stderr } = await run(check, [await fileWith(text)]);
      expect(code).toBe(1);
      // eslint-disable-next-line no-control-regex
      expect(stderr.replaceAll("\n", "")).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
    }
  });
});

describe("routes", () => {
  test("prints the table with the most specific route first, without needing keys", async () => {
    const { code, stdout } = await run(routes, []);
    const lines = stdout.trimEnd().split("\n");
    const kinds = lines.slice(1).map((line) => line.split(/ {2,}/)[1]);
    expect(code).toBe(0);
    expect(lines[0]).toMatch(/^PATH +MATCH +TOKEN +TO +UPSTREAM PATH +OPTIONS$/);
    expect(kinds).toEqual([...Array(5).fill("exact"), ...Array(3).fill("pattern"), ...Array(24).fill("prefix")]);
    expect(lines.at(-1)).toMatch(/^\/ +prefix +- +website \(website:80\) +unchanged +websocket, body 1MiB, read 1m, cached$/);
  });

  test("aligns its columns", async () => {
    const lines = (await run(routes, [])).stdout.trimEnd().split("\n");
    const column = lines[0]?.indexOf("MATCH") ?? 0;
    for (const line of lines) expect(line.slice(column - 2, column + 1)).toMatch(/^ {2}\S$/);
  });

  test("shows what the environment changes", async () => {
    expect((await run(routes, [], { PYOS_FQDN: "p.example", XTERM_TCP_PORT: "4444" })).stdout).toMatch(/pyos \(p\.example:8000\)[^]*desktop:4444/);
  });

  test("prints every detail as JSON", async () => {
    const { stdout } = await run(routes, ["--json", "--config", await fileWith(TABLE)]);
    expect(JSON.parse(stdout)).toEqual([expect.objectContaining({
      match: { kind: "prefix", path: "/" }, service: expect.objectContaining({ kind: "fixed", name: "website", servers: [{ address: { kind: "tcp", host: "website", port: 80 }, isSecure: false, weight: 1 }] }), bodyLimitBytes: 1_048_576,
    })]);
  });

  test("prints no secret, neither as JSON nor as a table", async () => {
    const service = "{ servers: [\"http://a\", \"http://b\"], policy: sticky, sticky: { secret: not-for-anybody-else } }";
    const file = await fileWith(TABLE.replace("{ url: \"http://website\" }", service));
    const json = (await run(routes, ["--json", "--config", file])).stdout;
    expect(JSON.parse(json)).toMatchObject([{ service: { policy: { kind: "sticky", cookie: "route_website", secret: "[secret]" } } }]);
    expect(json + (await run(routes, ["--config", file])).stdout).not.toContain("not-for-anybody-else");
  });

  test("refuses a broken file", async () => {
    const file = await fileWith(`${TABLE}x: 1\n`);
    expect(run(routes, ["--config", file])).rejects.toMatchObject({ name: "ConfigError", message: expect.stringContaining(`${file}:5:1: unknown key "x"`) });
  });
});

describe("schema and version", () => {
  test("print one JSON document and one line", async () => {
    expect(JSON.parse((await run(schema, [])).stdout)).toMatchObject({ $schema: "https://json-schema.org/draft/2020-12/schema", type: "object" });
    expect((await run(version, [])).stdout).toMatch(/^route-gateway \d+\.\d+\.\d+ \(.+\)\n$/);
  });
});
