// What the flags that choose and change a configuration mean, for every command that loads one as `serve` does.

import type { loadSettings } from "../config/load.ts";
import { parseAllowedTarget, parseListenAddress } from "../config/values.ts";
import { type Arguments, UsageError } from "./args.ts";
import type { Io } from "./command.ts";

/** The flags and environment that every command which loads a configuration shares. @throws UsageError */
export function settingsOptions(args: Arguments, io: Io): Parameters<typeof loadSettings>[0] {
  const format = logFormatFlag(args);
  return {
    env: io.env,
    ...(args.get("config") === undefined ? {} : { file: args.require("config") }),
    ...(args.get("http") === undefined ? {} : { httpListen: listenFlag(args) }),
    ...(format === undefined ? {} : { logFormat: format }),
    allowTargets: args.all("allow-targets").flatMap((list) => list.split(",")).map((entry) => entry.trim()).filter((entry) => entry !== "").map((entry) => checked("allow-targets", entry, parseAllowedTarget)),
  };
}

/** `--http`, which has a default or is given. @throws UsageError */
export function listenFlag(args: Arguments): string {
  return checked("http", args.require("http"), parseListenAddress);
}

/** Another address to listen on; undefined when it is not given. @throws UsageError */
export function addressFlag(args: Arguments, name: string): string | undefined {
  const text = args.get(name);
  return text === undefined ? undefined : checked(name, text, parseListenAddress);
}

/** What is no value of its flag is wrong usage, not a broken configuration. */
function checked(name: string, text: string, parse: (text: string) => unknown): string {
  try {
    parse(text);
  } catch (error) {
    throw new UsageError(`--${name}: ${(error as Error).message}`);
  }
  return text;
}

/** `--log-format`; undefined when it is not given. @throws UsageError */
export function logFormatFlag(args: Arguments): "json" | "pretty" | undefined {
  const format = args.get("log-format");
  if (format !== undefined && format !== "json" && format !== "pretty") throw new UsageError(`--log-format is json or pretty, not "${format}"`);
  return format;
}
