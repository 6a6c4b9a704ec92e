// The same load on several servers in interleaved rounds: requests/s, p99, CPU time a request, bytes on the wire, and whether every
// answer was a good one and every request has its line in the log.

import { takeLines } from "./access-log.ts";
import type { Lab } from "./lab.ts";
import { cpuSeconds } from "./process-stats.ts";
import { type Report, text } from "./report.ts";
import type { Server } from "./scenario.ts";
import { median } from "./statistics.ts";
import { runWrk } from "./wrk.ts";

/** One of those that are compared. */
export type Contender = {
  readonly name: string;
  readonly server: Server;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
};

/** What was seen of one, one entry a round. */
export type Seen = {
  readonly contender: Contender;
  readonly rate: number[];
  readonly p99Ms: number[];
  readonly cpuUs: number[];
  /** Of one answer, its head included. */
  readonly wireBytes: number[];
  /** Share of a core that wrk took. */
  readonly loadShare: number[];
};

export type WrkRounds = {
  readonly lab: Lab;
  readonly report: Report;
  readonly connections: number;
  readonly rounds: number;
  readonly seconds: number;
  /** 0: none. */
  readonly warmupSeconds: number;
};

/** Each round begins with another one: whoever comes later may find a machine that has slowed down. */
export async function inRounds(run: WrkRounds, contenders: readonly Contender[]): Promise<Seen[]> {
  const seen = contenders.map((contender): Seen => ({ contender, rate: [], p99Ms: [], cpuUs: [], wireBytes: [], loadShare: [] }));
  if (run.warmupSeconds > 0) for (const { contender } of seen) await measure(run, contender, run.warmupSeconds, null);
  for (let round = 0; round < run.rounds; round += 1) {
    const first = round % seen.length;
    for (const one of [...seen.slice(first), ...seen.slice(0, first)]) await measure(run, one.contender, run.seconds, one);
  }
  return seen;
}

/** @param seen null: it does not count */
async function measure(run: WrkRounds, { name, server, path, headers }: Contender, seconds: number, seen: Seen | null): Promise<void> {
  const { lab, report, connections } = run;
  const { pid, port, log } = server;
  const before = cpuSeconds(pid);
  const load = await runWrk(lab, { url: `http://127.0.0.1:${port}${path}`, headers, connections, seconds });
  seen?.cpuUs.push((cpuSeconds(pid) - before) * 1e6 / load.requests);
  seen?.rate.push(load.requests / load.seconds);
  seen?.p99Ms.push(load.p99Ms);
  seen?.wireBytes.push(load.bytes / load.requests);
  seen?.loadShare.push(load.cpuSeconds / load.seconds);
  if (load.errors > 0) report.fail(`${name}: ${load.errors} of ${load.requests} requests failed`);
  const lines = log === null ? load.requests : await takeLines(log, load.requests);
  if (lines < load.requests) report.fail(`${name}: ${lines} log lines for ${load.requests} requests`);
}

/** @param more to be read beside it */
export function describeSeen(report: Report, { contender, rate, p99Ms, cpuUs, loadShare }: Seen, more: readonly string[] = []): void {
  const cpu = median(cpuUs);
  report.figure(contender.name, rate, " req/s", [
    `p99 ${text(median(p99Ms))} ms`, `${text(cpu)} us CPU/request (${text(cpu * median(rate) / 1e4)}% of a core, wrk ${text(median(loadShare) * 100)}%)`, ...more,
  ]);
}
