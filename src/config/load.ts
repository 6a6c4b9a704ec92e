// Where settings come from: a file, or the endpoint table that is built into the program, together with the
// environment.

import { isUtf8 } from "node:buffer";
import { readFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import builtInText from "../../routes.yaml" with { type: "text" };
import type { Settings } from "../settings.ts";
import { buildSettings, type Parsed, type ParseOptions } from "./build.ts";
import { fileFault } from "../lib/file-fault.ts";
import { within } from "../lib/within.ts";
import { ConfigError } from "./mistake.ts";
import { type Plain, Source } from "./source.ts";

/** The shipped routes.yaml. Bun's types call every *.yaml module an object; `type: "text"` makes it a string. */
export const BUILT_IN_TEXT = builtInText as unknown as string;
export const BUILT_IN_SOURCE = "routes.yaml (built in)";

/** Between a program that makes a pipe and the one that writes to it. */
const OPEN_LIMIT_MS = 3000;

export type LoadOptions = ParseOptions & {
  /** Path of the configuration file; without one the built-in table is used. */
  readonly file?: string | undefined;
};

/** @throws ConfigError with every mistake, or naming the file that cannot be read. */
export async function loadSettings(options: LoadOptions): Promise<Settings> {
  const parsed = await parseFile(options);
  if ("mistakes" in parsed) throw new ConfigError(options.file ?? BUILT_IN_SOURCE, parsed.mistakes);
  return parsed.settings;
}

/** Like {@link loadSettings}, with the notes. @throws ConfigError when the file cannot be read. */
export async function parseFile(options: LoadOptions): Promise<Parsed> {
  const withDefaults = { ...options, readResolvConf: options.readResolvConf ?? readSystemResolvConf };
  const quick = options.file === undefined ? parseBuiltIn(withDefaults) : null;
  if (quick !== null && "settings" in quick) return quick;
  const text = options.file === undefined ? BUILT_IN_TEXT : await readConfig(options.file);
  // Loaded when it is needed: the YAML library alone costs more time than all of the rest of a start.
  const { parseSettings } = await import("./parse.ts");
  return parseSettings(text, options.file ?? BUILT_IN_SOURCE, withDefaults);
}

/**
 * The built-in text has been checked by our tests, so the runtime's own parser will do: 0.5 ms where the library that
 * knows lines and columns takes 20 to 60. Mistakes (a variable that is not set) are of no use here, they have no places.
 */
function parseBuiltIn(options: ParseOptions): Parsed {
  const source = new Source(BUILT_IN_TEXT, options);
  return buildSettings(source.fromPlain(Bun.YAML.parse(BUILT_IN_TEXT) as Plain, 0), source, BUILT_IN_SOURCE, options);
}

async function readConfig(file: string): Promise<string> {
  const bytes = await readBytes(file);
  const text = bytes.toString("utf8");
  if (isUtf8(bytes)) return text;
  // What is no UTF-8 becomes a replacement character, which is written in other bytes than those.
  const again = Buffer.from(text);
  const at = bytes.subarray(0, bytes.findIndex((byte, index) => byte !== again[index])).toString("utf8").length;
  const place = new Source(text, { env: {} }).position(at);
  throw new ConfigError(file, [{ ...place, message: "the file is not UTF-8: what stands here is written in another encoding" }]);
}

async function readBytes(file: string): Promise<Buffer> {
  try {
    await using handle = await openInTime(file);
    return await handle.readFile();
  } catch (cause) {
    throw new ConfigError(file, [{ line: 0, column: 0, message: `cannot read ${file}: ${fileFault(cause)}` }], { cause });
  }
}

/** A fifo opens when somebody writes to it. Whoever does may then take the time that it needs. */
async function openInTime(file: string): Promise<FileHandle> {
  const opening = open(file);
  const opened: FileHandle[] = [];
  await within(opening.then((handle) => opened.push(handle)), OPEN_LIMIT_MS);
  const [handle] = opened;
  if (handle !== undefined) return handle;
  void opening.then((late) => late.close(), () => {}); // Nobody waits for it any more.
  throw new Error("it is a pipe that nobody writes to");
}

function readSystemResolvConf(): string {
  return readFileSync("/etc/resolv.conf", "utf8");
}
