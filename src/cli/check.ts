// route-gateway check: every mistake of a configuration file in one run, for people and for CI.

import { parseFile } from "../config/load.ts";
import { ConfigError, formatMistake } from "../config/mistake.ts";
import type { Arguments } from "./args.ts";
import type { Command, Io } from "./command.ts";

export const command: Command = {
  name: "check",
  summary: "Reports every mistake in a configuration file.",
  spec: {
    positionals: [{ name: "FILE", help: "the configuration file" }],
    flags: [{ name: "allow-unset", help: "variables in file names and texts need not be set here (for CI)" }],
    environment: [["NAME", "every variable that the file names as ${NAME}"]],
    examples: [
      "route-gateway check routes.yaml",
      "route-gateway check --allow-unset deploy/routes.yaml",
    ],
  },
  run: check,
};

async function check(args: Arguments, io: Io): Promise<number> {
  const file = args.require("FILE");
  try {
    const parsed = await parseFile({ file, env: io.env, allowUnset: args.has("allow-unset") });
    if ("mistakes" in parsed) throw new ConfigError(file, parsed.mistakes);
    for (const note of parsed.notes) io.stderr(`${formatMistake(file, { ...note, message: `note: ${note.message}` })}\n`);
    const { routes } = parsed.settings;
    const services = new Set(routes.map((route) => route.service.name));
    io.stdout(`${file}: ok (${counted(routes.length, "route")}, ${counted(services.size, "service")})\n`);
    return 0;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    io.stderr(`${error.message}\n`);
    return 1;
  }
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
