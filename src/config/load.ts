// Where settings come from: a file, or the endpoint table that is built into the program, together with the environment.

import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import builtInText from "../../routes.yaml" with { type: "text" };
import type { Settings } from "../settings.ts";
import { ConfigError } from "./mistake.ts";
import { parseSettings, type ParseOptions } from "./parse.ts";

/** The shipped routes.yaml. Bun's types call every *.yaml module an object; `type: "text"` makes it a string. */
export const BUILT_IN_TEXT = builtInText as unknown as string;
export const BUILT_IN_SOURCE = "routes.yaml (built in)";

export type LoadOptions = ParseOptions & {
  /** Path of the configuration file; without one the built-in table is used. */
  readonly file?: string | undefined;
};

/** @throws ConfigError with every mistake, or naming the file that cannot be read. */
export async function loadSettings(options: LoadOptions): Promise<Settings> {
  const source = options.file ?? BUILT_IN_SOURCE;
  const text = options.file === undefined ? BUILT_IN_TEXT : await readConfig(options.file);
  const parsed = parseSettings(text, source, { ...options, readResolvConf: options.readResolvConf ?? readSystemResolvConf });
  if ("mistakes" in parsed) throw new ConfigError(source, parsed.mistakes);
  return parsed.settings;
}

async function readConfig(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new ConfigError(file, [{ line: 0, column: 0, message: `cannot read ${file}: ${reason}` }], { cause });
  }
}

function readSystemResolvConf(): string {
  return readFileSync("/etc/resolv.conf", "utf8");
}
