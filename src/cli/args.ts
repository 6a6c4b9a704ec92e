// The command line's grammar: `--flag`, `--flag value`, `--flag=value`, positionals, `--` ends the flags. Strict:
// what the spec does not name is a UsageError (exit code 2) with a suggestion. The same spec renders `--help`, so the
// two agree.

import { suggestion } from "../lib/suggest.ts";

export type FlagSpec = {
  /** Without the dashes. */
  readonly name: string;
  /** Placeholder of the flag's value, e.g. "FILE"; without one the flag is a switch. */
  readonly value?: string;
  /** May be given several times; all values are kept, in order. */
  readonly repeat?: true;
  readonly help: string;
  /** Used when the flag is absent, and shown in the help text. */
  readonly default?: string;
};

export type PositionalSpec = {
  readonly name: string;
  readonly help: string;
  readonly optional?: true;
};

export type ArgumentSpec = {
  readonly flags?: readonly FlagSpec[];
  readonly positionals?: readonly PositionalSpec[];
  /** Environment variables that the command reads. */
  readonly environment?: ReadonlyArray<readonly [name: string, help: string]>;
  readonly examples?: readonly string[];
};

/** A mistake of the caller: main.ts prints the message and exits with 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** What was given. Asking for a name that the spec does not have is a programming error and throws. */
export class Arguments {
  constructor(
    readonly spec: ArgumentSpec,
    readonly values: ReadonlyMap<string, readonly string[]>,
    /** `--help` or `-h` was given: nothing else was checked. */
    readonly help: boolean = false,
  ) {}

  /** A switch: given or not. */
  has(name: string): boolean {
    this.#known(name);
    return this.values.has(name);
  }

  /** The value of a flag or positional, its default, or undefined. */
  get(name: string): string | undefined {
    const flag = this.#known(name);
    return this.values.get(name)?.[0] ?? flag?.default;
  }

  /** The value of a flag that the command cannot do without. */
  require(name: string): string {
    const value = this.get(name);
    if (value === undefined) throw new UsageError(`missing --${name}`);
    return value;
  }

  /** All values of a repeatable flag, in order. */
  all(name: string): readonly string[] {
    const flag = this.#known(name);
    return this.values.get(name) ?? (flag?.default === undefined ? [] : [flag.default]);
  }

  #known(name: string): FlagSpec | undefined {
    const flag = this.spec.flags?.find((candidate) => candidate.name === name);
    const positional = this.spec.positionals?.some((candidate) => candidate.name === name);
    if (flag === undefined && positional !== true) throw new Error(`the spec has no argument "${name}"`);
    return flag;
  }
}

/** @throws UsageError on an unknown flag, a missing or surplus value, a missing or surplus positional. */
export function parseArgs(argv: readonly string[], spec: ArgumentSpec): Arguments {
  const values = new Map<string, string[]>();
  const positionals: string[] = [];
  for (let at = 0; at < argv.length; at += 1) {
    const word = argv[at] ?? "";
    if (word === "--") {
      positionals.push(...argv.slice(at + 1));
      break;
    }
    if (word === "--help" || word === "-h") return new Arguments(spec, new Map(), true);
    // A lone dash is a name (of standard input, by custom), not a flag.
    if (!word.startsWith("-") || word === "-") positionals.push(word);
    else at += readFlag(word, argv[at + 1], spec, values);
  }
  readPositionals(positionals, spec, values);
  return new Arguments(spec, values);
}

/** The command of this name. @throws UsageError naming the nearest one. */
export function findCommand<C extends { readonly name: string }>(commands: readonly C[], name: string): C {
  const found = commands.find((command) => command.name === name);
  if (found !== undefined) return found;
  throw new UsageError(`unknown command ${name}${meant(name, commands.map((command) => command.name))}`);
}

/** The text of `program command --help`. */
export function renderHelp(
  program: string,
  command: { readonly name: string; readonly summary: string; readonly spec: ArgumentSpec },
): string {
  const { flags = [], positionals = [], environment = [], examples = [] } = command.spec;
  const words = positionals.map((positional) => (positional.optional ? `[${positional.name}]` : positional.name));
  const usage = ["usage:", program, command.name, "[flags]", ...words].join(" ");
  const flagRows = [...flags.map((flag): Row => [flagTitle(flag), flagHelp(flag)]), HELP_ROW];
  return [
    `${command.summary}\n`,
    `${usage}\n`,
    section("arguments", positionals.map((positional): Row => [positional.name, positional.help])),
    section("flags", flagRows),
    section("environment", environment),
    examples.length === 0 ? "" : `examples:\n${examples.map((example) => `  ${example}\n`).join("")}`,
  ].filter((part) => part !== "").join("\n");
}

/** The text of `program --help`: what there is to run. */
export function renderCommands(
  program: string,
  commands: ReadonlyArray<{ readonly name: string; readonly summary: string }>,
): string {
  const rows = commands.map((command): Row => [command.name, command.summary]);
  const usage = `usage: ${program} COMMAND [flags]\n`;
  return `${usage}\n${section("commands", rows)}\nrun "${program} COMMAND --help" for its flags\n`;
}

type Row = readonly [title: string, help: string];
const HELP_ROW: Row = ["--help", "print this text"];

/** Stores one flag. @returns how many of the following words it took. */
function readFlag(word: string, next: string | undefined, spec: ArgumentSpec, values: Map<string, string[]>): 0 | 1 {
  const equals = word.indexOf("=");
  const title = equals < 0 ? word : word.slice(0, equals);
  const inline = equals < 0 ? undefined : word.slice(equals + 1);
  const flags = spec.flags ?? [];
  const flag = flags.find((candidate) => `--${candidate.name}` === title);
  if (flag === undefined) {
    throw new UsageError(`unknown flag ${title}${meant(title, [...flags.map((known) => `--${known.name}`), "--help"])}`);
  }
  if (values.has(flag.name) && !flag.repeat) throw new UsageError(`flag ${title} is given twice`);
  if (flag.value === undefined) {
    if (inline !== undefined) throw new UsageError(`flag ${title} takes no value`);
    values.set(flag.name, []);
    return 0;
  }
  // `--config --json` is a forgotten value, not a file called "--json"; `--config=--json` says so when it is meant.
  const value = inline ?? (next !== undefined && !next.startsWith("--") ? next : undefined);
  if (value === undefined) throw new UsageError(`flag ${title} needs a value: ${title} ${flag.value}`);
  values.set(flag.name, [...(values.get(flag.name) ?? []), value]);
  return inline === undefined ? 1 : 0;
}

function readPositionals(words: readonly string[], spec: ArgumentSpec, values: Map<string, string[]>): void {
  const positionals = spec.positionals ?? [];
  const surplus = words[positionals.length];
  if (surplus !== undefined) throw new UsageError(`unexpected argument "${surplus}"`);
  positionals.forEach((positional, index) => {
    const word = words[index];
    if (word !== undefined) values.set(positional.name, [word]);
    else if (!positional.optional) throw new UsageError(`missing argument ${positional.name}: ${positional.help}`);
  });
}

function meant(word: string, candidates: readonly string[]): string {
  return suggestion(word, candidates).replaceAll('"', "");
}

function flagTitle(flag: FlagSpec): string {
  return `--${flag.name}${flag.value === undefined ? "" : ` ${flag.value}`}${flag.repeat ? " ..." : ""}`;
}

function flagHelp(flag: FlagSpec): string {
  return flag.default === undefined ? flag.help : `${flag.help} (default ${flag.default})`;
}

function section(title: string, rows: readonly Row[]): string {
  if (rows.length === 0) return "";
  const width = Math.max(...rows.map(([name]) => name.length));
  return `${title}:\n${rows.map(([name, help]) => `  ${name.padEnd(width)}  ${help}\n`).join("")}`;
}
