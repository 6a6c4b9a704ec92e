// `npm run bench`: the "how well" list, measured in one run on one machine beside peers that it starts itself.
// Exit code 0: every bound holds; 1: one is missed, or something failed; 2: wrong usage. bench/README.md says how to read it.

import { cpus } from "node:os";
import { suggestion } from "../src/lib/suggest.ts";
import { compiledGateway, sourceGateway } from "./lab/executable.ts";
import { Lab } from "./lab/lab.ts";
import { loadAverage } from "./lab/process-stats.ts";
import { Report } from "./lab/report.ts";
import type { Scenario, Size } from "./lab/scenario.ts";
import { balance } from "./scenarios/balance.ts";
import { cache } from "./scenarios/cache.ts";
import { cachedToken } from "./scenarios/cached-token.ts";
import { consoles } from "./scenarios/consoles.ts";
import { firstSeenTokens } from "./scenarios/first-seen-tokens.ts";
import { gzip } from "./scenarios/gzip.ts";
import { longPolls } from "./scenarios/long-polls.ts";
import { passthrough } from "./scenarios/passthrough.ts";
import { registry } from "./scenarios/registry.ts";
import { slowClients } from "./scenarios/slow-clients.ts";
import { start } from "./scenarios/start.ts";
import { tls } from "./scenarios/tls.ts";
import { transfer } from "./scenarios/transfer.ts";
import { websocket } from "./scenarios/websocket.ts";

const SCENARIOS: readonly Scenario[] = [cachedToken, firstSeenTokens, websocket, consoles, transfer, passthrough, tls, registry, slowClients, longPolls, cache, balance, gzip, start];

const FLAGS = ["--quick", "--tiny", "--from-source", "--help"];

type Wanted = { readonly scenarios: readonly Scenario[]; readonly size: Size; readonly isFromSource: boolean };

/** The scenario that runs, for a signal to end. */
let current: Lab | null = null;
let isInterrupted = false;

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void interrupted(signal));

process.exitCode = await main(process.argv.slice(2));

async function main(argv: readonly string[]): Promise<number> {
  if (argv.includes("--help")) {
    console.log(help());
    return 0;
  }
  const wanted = parse(argv);
  if (typeof wanted !== "string") return run(wanted);
  console.error(wanted);
  return 2;
}

/** What is wanted, or what is wrong with it. */
function parse(argv: readonly string[]): Wanted | string {
  const names = SCENARIOS.map(({ name }) => name);
  for (const word of argv) {
    const known = word.startsWith("-") ? FLAGS : names;
    const kind = word.startsWith("-") ? "flag" : "scenario";
    if (!known.includes(word)) return `unknown ${kind} "${word}"${suggestion(word, known)}; see --help`;
  }
  const scenarios = SCENARIOS.filter(({ name }) => argv.includes(name));
  const size = argv.includes("--tiny") ? "tiny" : argv.includes("--quick") ? "quick" : "full";
  return { scenarios: scenarios.length === 0 ? SCENARIOS : scenarios, size, isFromSource: argv.includes("--from-source") };
}

async function run({ scenarios, size, isFromSource }: Wanted): Promise<number> {
  const report = new Report(size !== "tiny", console.log);
  const command = isFromSource ? sourceGateway() : await compiledGateway(console.log);
  describeMachine(size, isFromSource);
  for (const scenario of scenarios) {
    if (!isInterrupted) await runScenario(scenario, size, command, report);
  }
  console.log(`\n${report.summary}`);
  return report.missed + report.failed === 0 ? 0 : 1;
}

async function runScenario(scenario: Scenario, size: Size, command: readonly string[], report: Report): Promise<void> {
  await using lab = new Lab();
  current = lab;
  try {
    await scenario.run({ size, command, lab, report });
  } catch (error) {
    if (!isInterrupted) report.fail(`${scenario.name}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function describeMachine(size: Size, isFromSource: boolean): void {
  const cores = cpus();
  const load = loadAverage();
  const form = isFromSource ? "from its sources" : "compiled";
  console.log(`${size} size, route-gateway ${form}; ${cores.length} x ${cores[0]?.model ?? "?"}; load average ${load}`);
  if (load > cores.length / 4) {
    console.log("the machine is busy with other things: trust ratios more than figures, and wide spreads not at all");
  }
  if (size === "tiny") console.log("this size shows that the harness works and nothing else: bounds are not judged");
}

async function interrupted(signal: "SIGINT" | "SIGTERM"): Promise<never> {
  isInterrupted = true;
  await current?.[Symbol.asyncDispose]();
  console.error(`\n${signal}: stopped, nothing is left behind`);
  process.exit(signal === "SIGINT" ? 130 : 143);
}

function help(): string {
  const rows = SCENARIOS.map(({ name, summary }) => `  ${name.padEnd(20)} ${summary}`);
  return `usage: npm run bench -- [--quick] [SCENARIO ...]

scenarios (all of them by default):
${rows.join("\n")}

flags:
  --quick              smaller sizes and fewer rounds
  --tiny               smallest sizes, no bounds: only to see that the harness works
  --from-source        src/main.ts instead of the compiled executable`;
}
