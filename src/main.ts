// argv → one command → the exit code. The only place that ends the process. Commands are loaded when they are asked for, so
// that `serve` does not pay at its start for what only `demo` needs.

import { writeSync } from "node:fs";
import { Arguments, findCommand, parseArgs, renderCommands, renderHelp, UsageError } from "./cli/args.ts";
import type { Command, Io } from "./cli/command.ts";
import { ConfigError } from "./config/mistake.ts";

const PROGRAM = "route-gateway";

const COMMANDS: ReadonlyArray<{ name: string; summary: string; load: () => Promise<{ command: Command }> }> = [
  { name: "serve", summary: "route requests (the main job)", load: () => import("./cli/serve.ts") },
  { name: "consoles", summary: "bridge browsers to the consoles of KubeVirt's virtual machines", load: () => import("./cli/consoles.ts") },
  { name: "gateway", summary: "serve names and domains that workloads register at run time", load: () => import("./cli/gateway.ts") },
  { name: "gateways", summary: "list and change what is registered at a running gateway", load: () => import("./cli/gateways.ts") },
  { name: "certificates", summary: "show the certificates of a running instance", load: () => import("./cli/certificates.ts") },
  { name: "services", summary: "show the servers of a running instance and how they are", load: () => import("./cli/services.ts") },
  { name: "cache", summary: "show and purge the HTTP cache of a running instance", load: () => import("./cli/cache.ts") },
  { name: "demo", summary: "see it work: two demo desktops, a control plane and a page in the browser", load: () => import("./cli/demo.ts") },
  { name: "check", summary: "report every mistake in a configuration file", load: () => import("./cli/check.ts") },
  { name: "routes", summary: "print the effective endpoint table", load: () => import("./cli/routes.ts") },
  { name: "explain", summary: "say what would happen to a request, and why", load: () => import("./cli/explain.ts") },
  { name: "keys", summary: "make the four RSA key files of the platform", load: () => import("./cli/keys.ts") },
  { name: "token", summary: "make a token", load: () => import("./cli/token.ts") },
  { name: "schema", summary: "print the JSON Schema of the configuration format", load: () => import("./cli/schema.ts") },
  { name: "healthcheck", summary: "ask a running instance whether it is well (for containers)", load: () => import("./cli/healthcheck.ts") },
  { name: "version", summary: "print the version", load: () => import("./cli/version.ts") },
];

async function main(argv: readonly string[], io: Io): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name === "help" || name === "--help" || name === "-h") {
    const text = renderCommands(PROGRAM, COMMANDS);
    if (name === undefined) io.stderr(text);
    else io.stdout(text);
    return name === undefined ? 2 : 0;
  }
  const { command } = await findCommand(COMMANDS, name === "--version" ? "version" : name).load();
  const args: Arguments = parseArgs(rest, command.spec);
  if (args.help) {
    io.stdout(renderHelp(PROGRAM, command));
    return 0;
  }
  return await command.run(args, io);
}

/** The exit code of a failure of `name`, with its one line (or its list of mistakes) on stderr. */
function report(error: unknown, name: string | undefined, io: Io): number {
  const message = error instanceof Error ? error.message : String(error);
  io.stderr(error instanceof ConfigError ? `${message}\n` : `${PROGRAM}: ${message.replaceAll("\n", `\n${PROGRAM}: `)}\n`);
  if (!(error instanceof UsageError)) return 1;
  const command = COMMANDS.some((known) => known.name === name) ? `${PROGRAM} ${name}` : PROGRAM;
  io.stderr(`run "${command} --help" for what there is\n`);
  return 2;
}

/** All of it, however slowly it is read: what `process.stdout` still holds at the end of the process would be lost. @throws Error of the file system */
function writeAll(fd: number, text: string): void {
  for (let rest = Buffer.from(text); rest.length > 0;) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EPIPE") return; // Its reader has seen enough.
      if (code !== "EAGAIN") throw error;
      Bun.sleepSync(1); // A pipe that does not block, and is full.
    }
  }
}

const io: Io = {
  stdout(text) {
    try {
      writeAll(1, text);
    } catch (error) {
      throw new Error(`cannot write to stdout: ${(error as Error).message}`, { cause: error });
    }
  },
  stderr(text) {
    try {
      writeAll(2, text);
    } catch {
      // There is nowhere left to say it; the exit code tells.
    }
  },
  env: process.env,
};
process.exitCode = await main(process.argv.slice(2), io).catch((error: unknown) => report(error, process.argv[2], io));
// Whatever a command left open (a keep-alive connection of its own, a timer) must not keep the process.
process.exit();
