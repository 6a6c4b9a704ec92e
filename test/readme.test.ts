// The README is held to what the program does: its commands run, its example prints what it shows, its names exist.

import { describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import packageJson from "../package.json";
import { parseArgs, renderCommands } from "../src/cli/args.ts";
import type { Io } from "../src/cli/command.ts";
import { command as consoles } from "../src/cli/consoles.ts";
import { command as explain } from "../src/cli/explain.ts";
import { command as serve } from "../src/cli/serve.ts";
import { generateKeys, mintDesktopToken } from "../src/token/mint.ts";
import { mistakesOf, notesOf } from "./config/support.ts";

const ROOT = join(import.meta.dir, "..");
const README = await Bun.file(join(ROOT, "README.md")).text();
const blocks = [...README.matchAll(/```(\w*)\n([\s\S]*?)```/g)].map(([, language = "", text = ""]) => ({ language, text }));

async function run(...argv: string[]): Promise<{ exitCode: number; stdout: string }> {
  const child = Bun.spawn([process.execPath, join(ROOT, "src", "main.ts"), ...argv], { stdout: "pipe", stderr: "pipe" });
  return { stdout: await new Response(child.stdout).text(), exitCode: await child.exited };
}

describe("README", () => {
  const listed = blocks.find(({ text }) => text.startsWith("route-gateway serve"))?.text ?? "";
  const commands = [...new Set([...listed.matchAll(/(?:route-gateway|\|) ([a-z]+)/g)].map(([, name = ""]) => name))];

  test("lists every command of the program, and no other", async () => {
    const { stdout } = await run("--help");
    const offered = [...stdout.matchAll(/^ {2}([a-z]+) {2}/gm)].map(([, name = ""]) => name);
    expect(commands.toSorted()).toEqual(offered.toSorted());
    expect(renderCommands("route-gateway", [{ name: "serve", summary: "x" }])).toContain("serve");
  });

  test.each(commands)("%s has a help text", async (name) => {
    const { exitCode, stdout } = await run(name, "--help");
    expect(exitCode).toBe(0);
    expect(stdout).toContain(`usage: route-gateway ${name}`);
  });

  test("names npm scripts that exist", () => {
    const scripts = [...README.matchAll(/npm (?:run )?(test|demo|build|bench)\b/g)].map(([, name = ""]) => name);
    expect(new Set(scripts)).toEqual(new Set(["test", "demo", "build", "bench"]));
    for (const name of scripts) expect(Object.keys(packageJson.scripts)).toContain(name);
  });

  test("links to files that exist", () => {
    const links = [...README.matchAll(/\]\(([^):#]+)\)/g)].map(([, path = ""]) => path);
    expect(links.length).toBeGreaterThan(5);
    expect(links.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  });

  test("lists exactly the dependencies", () => {
    const table = README.slice(README.indexOf("## Dependencies"));
    const named = [...table.matchAll(/^\| `([^`]+)` \|/gm), ...table.slice(table.indexOf("Development:")).matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name);
    expect([...named, "bun-types"].toSorted()).toEqual(Object.keys(packageJson.devDependencies).toSorted());
  });

  test("names environment variables that serve's help or routes.yaml knows", async () => {
    const known = serve.spec.environment?.map(([name]) => name).join(" ") + await Bun.file(join(ROOT, "routes.yaml")).text();
    const table = README.slice(README.indexOf("| variable |"), README.indexOf("What differs"));
    const names = [...table.matchAll(/`([A-Z][A-Z_]+)`/g)].map(([, name = ""]) => name);
    expect(names.length).toBeGreaterThan(8);
    for (const name of names) expect(known).toContain(name);
  });

  test("names environment variables that the help of consoles knows", () => {
    const known = consoles.spec.environment?.flatMap(([names]) => names.split(", ")) ?? [];
    const section = README.slice(README.indexOf("## VM consoles"), README.indexOf("## Commands"));
    const names = [...section.matchAll(/^\| (`[^|]+`) \|/gm)].flatMap(([, cell = ""]) => [...cell.matchAll(/`([A-Z_]+)`/g)].map(([, name = ""]) => name));
    expect(names.length).toBeGreaterThan(8);
    expect(names.filter((name) => !known.includes(name))).toEqual([]);
  });

  test("shows configurations without a mistake or a key that has no effect", () => {
    const examples = blocks.filter(({ language }) => language === "yaml");
    expect(examples.length).toBeGreaterThan(0);
    for (const { text } of examples) expect([mistakesOf(text), notesOf(text)]).toEqual([[], []]);
  });

  test("shows what explain prints", async () => {
    const shown = blocks.find(({ language }) => language === "console")?.text.split("\n").slice(1).filter((line) => line !== "" && line !== "...") ?? [];
    const directory = mkdtempSync(join(tmpdir(), "route-readme-"));
    const keys = generateKeys(2048);
    writeFileSync(join(directory, "signing.pem"), keys.signingPublicKey);
    writeFileSync(join(directory, "payload.pem"), keys.payloadPrivateKey);
    const token = mintDesktopToken({ host: "10.1.2.3", signingPrivateKey: keys.signingPrivateKey, payloadPublicKey: keys.payloadPublicKey, ttlS: 540 });
    let printed = "";
    const io: Io = {
      stdout: (text) => { printed += text; }, stderr: () => {},
      env: { JWT_DESKTOP_SIGNING_PUBLIC_KEY: join(directory, "signing.pem"), JWT_DESKTOP_PAYLOAD_PRIVATE_KEY: join(directory, "payload.pem") },
    };
    expect(await explain.run(parseArgs(["/filer/home?dir=x", "--token", token], explain.spec), io)).toBe(0);
    rmSync(directory, { recursive: true });
    const masked = (text: string): string => text.replace(/token [0-9a-f]{8}/, "token HASH").replace(/expires in \d+ s/, "expires in N s");
    expect(shown.length).toBe(7);
    for (const line of shown) expect(masked(printed)).toContain(masked(line));
  });
});
