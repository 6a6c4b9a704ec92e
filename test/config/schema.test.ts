import { describe, expect, test } from "bun:test";
import { parse } from "yaml";
import { BUILT_IN_TEXT } from "../../src/config/load.ts";
import { jsonSchema } from "../../src/config/schema.ts";
import { accepts } from "./json-schema.ts";
import { KEYS, mistakesOf, TABLE } from "./support.ts";

const schema = jsonSchema();

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
  test("accepts the shipped file, as the validator does", () => {
    expect(accepts(schema, parse(BUILT_IN_TEXT))).toBe(true);
    expect(mistakesOf(BUILT_IN_TEXT, { env: KEYS })).toEqual([]);
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
  ])("refuses %s, as the validator does", (_what, text) => {
    expect(mistakesOf(text + TABLE)).toHaveLength(1);
    expect(accepts(schema, parse(text + TABLE))).toBe(false);
  });

  test.each([
    ["variables in place of other types", "drainTimeout: \"${A:-30s}\"\nports: { xterm_tcp_port: \"${B:-1}\" }\ntrustedProxies: \"${C:-}\"\n"],
    ["a zero where it has one", "drainTimeout: 0\n"],
    ["empty sections", "dns: {}\nlimits: {}\nheaders: { response: {} }\n"],
  ])("accepts %s, as the validator does", (_what, text) => {
    expect(mistakesOf(text + TABLE)).toEqual([]);
    expect(accepts(schema, parse(text + TABLE))).toBe(true);
  });
});

describe("docs/CONFIGURATION.md", () => {
  test("explains every key of the format", async () => {
    const text = await Bun.file(new URL("../../docs/CONFIGURATION.md", import.meta.url)).text();
    const keys = [...keysOf(schema)];
    expect(keys.length).toBeGreaterThan(60);
    expect(keys.filter((key) => !text.includes(`\`${key}\``) && !text.includes(`\n## ${key}\n`))).toEqual([]);
  });

  test("names every variable of the shipped file", async () => {
    const text = await Bun.file(new URL("../../docs/CONFIGURATION.md", import.meta.url)).text();
    const variables = [...BUILT_IN_TEXT.matchAll(/\$\{([A-Z_]{2,})/g)].map((match) => match[1] ?? "").filter((name) => name !== "NAME");
    expect(variables.filter((name) => !text.includes(name))).toEqual([]);
  });
});
