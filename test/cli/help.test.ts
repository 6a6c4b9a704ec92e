// What `--help` says beside what the program reads.

import { describe, expect, test } from "bun:test";
import { renderHelp } from "../../src/cli/args.ts";
import { command as consoles } from "../../src/cli/consoles.ts";
import type { Command } from "../../src/cli/command.ts";
import { command as serve } from "../../src/cli/serve.ts";
import { command as token } from "../../src/cli/token.ts";
import { CONSOLES_TEXT, loadConsoles } from "../../src/config/consoles.ts";
import type { Environment } from "../../src/config/interpolate.ts";
import { loadSettings } from "../../src/config/load.ts";
import { jsonSchema } from "../../src/config/schema.ts";

const help = (command: Command): string => renderHelp("route-gateway", command);

/** An environment that notes what is asked of it. */
function noting(values: Record<string, string>): { readonly env: Environment; readonly names: Set<string> } {
  const names = new Set<string>();
  const env = new Proxy(values, { get: (of, name) => {
    names.add(String(name));
    return of[String(name)];
  } });
  return { env, names };
}

const documented = (command: Command): string[] => (command.spec.environment ?? []).flatMap(([names]) => names.split(", "));

describe("the variables of --help", () => {
  test("of serve are those that the built-in table and the format's defaults read", async () => {
    const { env, names } = noting({ JWT_DESKTOP_SIGNING_PUBLIC_KEY: "a.pem", JWT_DESKTOP_PAYLOAD_PRIVATE_KEY: "b.pem" });
    await loadSettings({ env, readResolvConf: () => "" });
    for (const [, name = ""] of JSON.stringify(jsonSchema()).matchAll(/"default":"\$\{([A-Z_]+)/g)) names.add(name);
    expect(documented(serve).toSorted()).toEqual([...names].toSorted());
    for (const name of names) expect(help(serve)).toContain(name);
  });

  test("of consoles are there for all that its table and its own defaults read", () => {
    const { env, names } = noting({ SECRET_KEY: "strong-secret-of-32-bytes-and-no", LOCAL_DEV_MODE: "true" });
    loadConsoles({ env });
    for (const [, name = ""] of CONSOLES_TEXT.matchAll(/\$\{([A-Z_]+)/g)) names.add(name);
    for (const name of names) expect(documented(consoles)).toContain(name);
  });
});

describe("the flags of --help", () => {
  test("of token say for which kind they are required", () => {
    expect(help(token)).toMatch(/--host H +required for desktop: /);
    expect(help(token)).toMatch(/--secret-file FILE +required for vm: /);
    expect(help(token)).not.toContain("(required)");
  });
});
