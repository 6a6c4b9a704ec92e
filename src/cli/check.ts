// route-gateway check: every mistake of a configuration file, or of a directory of registered gateways, in one run, for
// people and for CI.

import { join } from "node:path";
import { fileFault } from "../lib/file-fault.ts";
import { parseFile } from "../config/load.ts";
import { ConfigError, formatMistake } from "../config/mistake.ts";
import { oneLine } from "../lib/log.ts";
import type { FileMistake } from "../registry/check.ts";
import type { Arguments } from "./args.ts";
import type { Command, Io } from "./command.ts";
import { faultsOfNamedFiles, isDirectory } from "./named-files.ts";

export const command: Command = {
  name: "check",
  summary: "Reports every mistake in a configuration file, or in a directory of registered gateways.",
  spec: {
    positionals: [{ name: "FILE", help: "the configuration file, or a directory of registered gateways (whose own flags are not known here)" }],
    flags: [{ name: "allow-unset", help: "variables in file names, texts and addresses of services need not be set here (for CI)" }],
    environment: [["NAME", "every variable that the file names as ${NAME}"]],
    examples: [
      "route-gateway check routes.yaml",
      "route-gateway check --allow-unset deploy/routes.yaml",
      "route-gateway check /var/cache/modules/gateway/proxy",
    ],
  },
  run: check,
};

async function check(args: Arguments, io: Io): Promise<number> {
  const file = args.require("FILE");
  return isDirectory(file) ? await checkRegistry(file, io) : await checkFile(file, args, io);
}

async function checkFile(file: string, args: Arguments, io: Io): Promise<number> {
  try {
    const parsed = await parseFile({ file, env: io.env, allowUnset: args.has("allow-unset") });
    if ("mistakes" in parsed) throw new ConfigError(file, parsed.mistakes);
    const notes = [...parsed.notes, ...faultsOfNamedFiles(parsed.settings, parsed.paths)];
    for (const note of notes) io.stderr(`${formatMistake(file, { ...note, message: `note: ${note.message}` })}\n`);
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

async function checkRegistry(directory: string, io: Io): Promise<number> {
  // Loaded when it is needed: the YAML library alone costs more time than all of the rest of a start.
  const { checkDirectory } = await import("../registry/check.ts");
  const report = await checkDirectory(directory, null).catch((error: unknown) => fileFault(error));
  if (typeof report === "string") io.stderr(`cannot read ${directory}: ${report}\n`);
  else if (report.mistakes.length === 0) io.stdout(`${directory}: ok (${report.gateways === 0 ? "no registered gateway: no file in it ends in .yaml" : counted(report.gateways, "gateway")})\n`);
  else for (const mistake of report.mistakes) io.stderr(`${formatFileMistake(directory, mistake)}\n`);
  return typeof report === "string" || report.mistakes.length > 0 ? 1 : 0;
}

function formatFileMistake(directory: string, { file, ...mistake }: FileMistake): string {
  const path = join(directory, file);
  return mistake.line === 0 ? oneLine(`${path}: ${mistake.message}`) : formatMistake(path, mistake);
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
