import { describe, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { CONSOLES_TEXT } from "../../src/config/consoles.ts";
import { BUILT_IN_TEXT, loadSettings } from "../../src/config/load.ts";
import { jsonSchema } from "../../src/config/schema.ts";
import { accepts } from "./json-schema.ts";
import { KEYS, mistakesOf, notesOf, settingsOf, TABLE } from "./support.ts";

const schema = jsonSchema();
/** What the examples of the document take from the environment. */
const EXAMPLE_ENV = { ...KEYS, CONSOLE_SECRET: "strong-secret-of-32-bytes-and-no" };

/** Every key that the format knows, wherever it stands. */
function keysOf(part: unknown, into = new Set<string>()): Set<string> {
  if (Array.isArray(part)) for (const item of part) keysOf(item, into);
  else if (typeof part === "object" && part !== null) {
    for (const [keyword, argument] of Object.entries(part)) {
      if (keyword === "properties") for (const key of Object.keys(argument as object)) into.add(key);
      if (keyword !== "default") keysOf(argument, into);
    }
  }
  return into;
}

describe("the JSON Schema", () => {
  test.each([["routes.yaml", BUILT_IN_TEXT], ["consoles.yaml", CONSOLES_TEXT]])("accepts the shipped %s, as the validator does", (_file, text) => {
    expect(accepts(schema, parse(text))).toBe(true);
    expect(mistakesOf(text, { env: { ...KEYS, SECRET_KEY: "x".repeat(32), WS_REMOTE_URL: "wss://a" } })).toEqual([]);
  });

  test.each([
    ["an unknown key", "logs: {}\n"],
    ["an unknown key of a section", "dns: { server: 10.0.0.1 }\n"],
    ["a duration without a unit", "drainTimeout: 30\n"],
    ["a size in an unknown unit", "limits: { headers: 32KB }\n"],
    ["a port out of range", "ports: { xterm_tcp_port: 70000 }\n"],
    ["a word that is not one of the known", "log: { format: yaml }\n"],
    ["a string in place of a list", "trustedProxies: 10.0.0.0/8\n"],
    ["a boolean in quotes", "token: { desktop: { signingPublicKeys: [a], payloadPrivateKey: b, requireExp: \"yes\" } }\n"],
    ["a missing key", "token: { desktop: { signingPublicKeys: [a] } }\n"],
    ["a zero where it has no meaning", "dns: { timeout: 0 }\n"],
    ["a port name in capitals", "ports: { XTERM: 1 }\n"],
    ["nothing in place of a section", "dns:\n"],
    ["a secret that is a number", "token: { vm: { secret: 12345678 } }\n"],
    ["a secret that is empty", "token: { vm: { secret: \"\" } }\n"],
    ["an algorithm that signs with another kind of key", "token: { vm: { secretFile: a, algorithms: [RS256] } }\n"],
  ])("refuses %s, as the validator does", (_what, text) => {
    expect(mistakesOf(text + TABLE)).toHaveLength(1);
    expect(accepts(schema, parse(text + TABLE))).toBe(false);
  });

  test.each([
    ["variables in place of other types", "drainTimeout: \"${A:-30s}\"\nports: { xterm_tcp_port: \"${B:-1}\" }\ntrustedProxies: \"${C:-}\"\n"],
    ["a zero where it has one", "drainTimeout: 0\n"],
    ["a secret's file", "token: { vm: { secretFile: /run/secrets/key, algorithms: [HS256, HS512], allowWeakSecret: \"${A:-false}\" } }\n"],
    ["empty sections", "dns: {}\nlimits: {}\nheaders: { response: {} }\n"],
  ])("accepts %s, as the validator does", (_what, text) => {
    expect(mistakesOf(text + TABLE)).toEqual([]);
    expect(accepts(schema, parse(text + TABLE))).toBe(true);
  });
});

describe("the JSON Schema of consoles", () => {
  const withConsole = (service: string, route = "{ path: \"/{token}/{vm}\", identity: vm, service: s }"): string => {
    return `token: { vm: { secret: a, allowWeakSecret: true } }\nservices:\n  s: ${service}\nroutes:\n  - ${route}\n`;
  };

  test.each([
    ["ftp", withConsole("{ kubernetes: \"ftp://a\" }")], ["apiPath without a slash", withConsole("{ kubernetes: \"wss://a\", apiPath: \"{namespace}/{vmi_name}\" }")],
    ["a third policy", withConsole("{ kubernetes: \"wss://a\", consolePolicy: share }")], ["a second kind of service", withConsole("{ kubernetes: \"wss://a\", url: \"http://a\" }")],
    ["a third identity", withConsole("{ text: a }", "{ path: /, identity: pod, service: s }")],
    ["a viewer in words", withConsole("{ kubernetes: \"wss://a\" }", "{ path: \"/{token}/{vm}\", identity: vm, service: s, viewer: \"yes\" }")],
  ])("refuses %s, as the validator does", (_what, text) => {
    expect(mistakesOf(text)).toHaveLength(1);
    expect(accepts(schema, parse(text))).toBe(false);
  });

  test("accepts every key with a good value, as the validator does", () => {
    const text = withConsole(
      "{ kubernetes: \"wss://[fd00::1]:443\", apiPath: \"/{namespace}/{vmi_name}/vnc\", caFile: a, tokenFile: b, consolePolicy: preserve }",
      "{ path: \"/{token}/{vm}\", identity: vm, service: s, viewer: true, closeAfterUpgrade: \"${A:-true}\", origins: any }",
    );
    expect(mistakesOf(text)).toEqual([]);
    expect(accepts(schema, parse(text))).toBe(true);
  });
});

const DOCUMENT = new URL("../../docs/CONFIGURATION.md", import.meta.url);

describe("docs/CONFIGURATION.md", () => {
  test("explains every key of the format", async () => {
    const text = await Bun.file(DOCUMENT).text();
    const keys = [...keysOf(schema)];
    expect(keys.length).toBeGreaterThan(60);
    expect(keys.filter((key) => !text.includes(`\`${key}\``) && !text.includes(`\n## ${key}\n`))).toEqual([]);
  });

  test.each([["routes.yaml", BUILT_IN_TEXT], ["consoles.yaml", CONSOLES_TEXT]])("names every variable of the shipped %s", async (_file, shipped) => {
    const text = await Bun.file(DOCUMENT).text();
    const variables = [...shipped.matchAll(/\$\{([A-Z_]{2,})/g)].map((match) => match[1] ?? "").filter((name) => name !== "NAME");
    expect(variables.filter((name) => !text.includes(name))).toEqual([]);
  });
});

describe("the examples of docs/CONFIGURATION.md", async () => {
  const examples = [...(await Bun.file(DOCUMENT).text()).matchAll(/```yaml\n([^]*?)```/g)].map((match) => match[1] ?? "");

  test("are there, and each is a whole file without a mistake or a key that has no effect", async () => {
    expect(examples.length).toBeGreaterThan(0);
    const directory = await mkdtemp(join(tmpdir(), "route-example-"));
    try {
      for (const example of examples) {
        const file = join(directory, "routes.yaml");
        await writeFile(file, example);
        expect((await loadSettings({ file, env: EXAMPLE_ENV })).routes.length).toBeGreaterThan(0);
        expect(notesOf(example, { env: EXAMPLE_ENV })).toEqual([]);
        expect(accepts(schema, parse(example))).toBe(true);
      }
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  test("show desktops beside consoles: VNC with the viewer and a serial console, each below a prefix of its own", () => {
    const text = examples.find((example) => example.includes("kubernetes:")) ?? "";
    const { routes, desktopToken, vmToken } = settingsOf(text, { env: EXAMPLE_ENV });
    expect([desktopToken === null, vmToken === null]).toEqual([false, false]);
    const consoles = routes.flatMap(({ match, service, viewer }) => (service.kind === "console" ? [[match.path, service.apiPath.split("/").at(-1), viewer]] : []));
    expect(consoles).toEqual([["/vnc/{token}/{vm}", "vnc", true], ["/labs/vnc/{token}/{vm}", "vnc", true], ["/serial/{token}/{vm}", "console", false]]);
    expect(routes.some(({ service }) => service.kind === "target")).toBe(true);
  });
});
