// docs/HTTPS.md is held to what the program does: its files load without a mistake or a note, and its trial runs.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { parseSettings } from "../../src/config/parse.ts";
import { jsonSchema } from "../../src/config/schema.ts";
import { accepts } from "../config/json-schema.ts";
import { run, untilServed } from "../support/https-client.ts";
import { ServeProcess } from "../support/ws-client.ts";

const DOCUMENT = readFileSync(join(import.meta.dir, "../../docs/HTTPS.md"), "utf8");
const blocks = [...DOCUMENT.matchAll(/```(\w*)\n([^]*?)```/g)].map(([, language = "", text = ""]) => ({ language, text }));
const examples = blocks.filter(({ language }) => language === "yaml").map(({ text }) => text);
const commands = blocks.find(({ text }) => text.startsWith("route-gateway serve"))?.text.trim().split("\n") ?? [];
const ENV = { JWT_DESKTOP_SIGNING_PUBLIC_KEY: "/keys/signing.pem", JWT_DESKTOP_PAYLOAD_PRIVATE_KEY: "/keys/payload.pem", CONSOLE_SECRET: "strong-secret-of-32-bytes-and-no" };

let directory: string;

beforeAll(() => { directory = mkdtempSync(join(tmpdir(), "route-docs-")); });
afterAll(() => { rmSync(directory, { recursive: true, force: true }); });

describe("docs/HTTPS.md", () => {
  test("has a trial, a short file and a complete one", () => {
    expect([examples.length, commands.length]).toEqual([3, 2]);
  });

  test.each([0, 1, 2])("file %d loads without a mistake or a note, also by the JSON Schema", (index) => {
    const parsed = parseSettings(examples[index] ?? "", "HTTPS.md", { env: ENV });
    expect(parsed).toMatchObject({ notes: [] });
    expect(accepts(jsonSchema(), parse(examples[index] ?? ""))).toBe(true);
  });

  test("the complete file says what the text says of it", () => {
    const parsed = parseSettings(examples[2] ?? "", "HTTPS.md", { env: ENV });
    if ("mistakes" in parsed) throw new Error(JSON.stringify(parsed.mistakes));
    const { tls, routes, desktopToken, vmToken } = parsed.settings;
    expect(tls).toMatchObject({ https: { host: "", port: 443 }, names: ["labs.example.org"], defaultName: null, redirect: true, hstsS: 31_536_000, acme: { storage: "/var/lib/route-gateway/acme" } });
    expect([desktopToken === null, vmToken === null, routes.some(({ service }) => service.kind === "console"), routes.some(({ service }) => service.kind === "target")]).toEqual([false, false, true, true]);
  });

  test("links to headings and files that are there", async () => {
    for (const [, file = "", heading] of DOCUMENT.matchAll(/\]\(([\w.]+)(?:#(\w+))?\)/g)) {
      // GATEWAY.md is linked from the README, whose test looks for it.
      if (file === "GATEWAY.md") continue;
      const text = await Bun.file(join(import.meta.dir, "../../docs", file)).text();
      if (heading !== undefined) expect(text).toContain(`\n## ${heading}\n`);
    }
  });

  test.skipIf(Bun.which("curl") === null)("the trial runs as it is written", async () => {
    const [serve = "", curl = ""] = commands;
    const file = join(directory, "hello.yaml");
    writeFileSync(file, examples[0] ?? "");
    expect(serve).toBe("route-gateway serve --config hello.yaml --http :8080 --https :8443");
    const router = await ServeProcess.start({ AUTHORITY: join(directory, "authority") }, ["--config", file, "--https", "127.0.0.1:0"]);
    try {
      const port = /"https":"https:\/\/[^"]*:(\d+)"/.exec(router.log)?.[1] ?? "";
      const caFile = join(directory, "authority/ca.pem");
      await untilServed({ port: Number(port), caFile, ca: readFileSync(caFile, "utf8") }, "desk.example.org");
      const words = curl.replaceAll("8443", port).replace("/var/lib/route-gateway/authority/ca.pem", caFile).split(" ");
      const ran = await run([...words, "-sS", "--noproxy", "*"]);
      expect([ran.code, ran.stdout]).toEqual([0, "hello\n"]);
    } finally {
      await router.stop();
    }
  });
});
