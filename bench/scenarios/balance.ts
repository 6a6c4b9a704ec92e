// Four servers of different weights behind one service: who gets how much, beside nginx with the same weights. Then the heaviest is
// killed in the middle of the load and comes back: no request of a client may fail of it, and it gets its share again.

import { startConfigured } from "../lab/configured-gateway.ts";
import type { Lab, Program } from "../lab/lab.ts";
import { type NamedPod, NamedPods } from "../lab/named-pods.ts";
import { nginxMissing } from "../lab/nginx.ts";
import { startReverseProxy } from "../lab/nginx-reverse.ts";
import { cpuSeconds } from "../lab/process-stats.ts";
import { type Report, text } from "../lab/report.ts";
import type { Bench, Scenario, Server } from "../lab/scenario.ts";
import { median, ratios } from "../lab/statistics.ts";
import type { NamingClientCalls, NamingResult } from "../programs/naming-client.ts";

/** seconds: of each part: all are there; one is dead; it is back. */
const SIZES = {
  full: { rounds: 5, seconds: 3, warmupSeconds: 2 },
  quick: { rounds: 3, seconds: 1.5, warmupSeconds: 1 },
  tiny: { rounds: 1, seconds: 0.2, warmupSeconds: 0 },
};

const WEIGHTS: Readonly<Record<string, number>> = { heavy: 4, medium: 3, light: 2, feather: 1 };
const TOTAL = Object.values(WEIGHTS).reduce((sum, weight) => sum + weight, 0);
const CONNECTIONS = 64;
/** For both: three failures within a second, and a server is left alone for a second. */
const FAILURES = 3;
const OUT_S = 1;
const BACK_LIMIT_MS = 10_000;

export const balance: Scenario = {
  name: "balance",
  summary: "four servers by weight; one is killed and comes back: distribution and failed requests, beside nginx",
  run: runBalance,
};

type Run = { readonly pods: NamedPods; readonly client: Program<NamingClientCalls>; readonly seconds: number; readonly report: Report };

/** What was seen of one server, one entry a round. */
type Seen = {
  readonly server: Server;
  readonly rate: number[];
  readonly deadRate: number[];
  readonly cpuUs: number[];
  /** The farthest that a share was from its weight: while all were there, and when the dead one was back. */
  readonly points: number[];
  readonly againPoints: number[];
  /** From the moment that it listens again to its first answer. */
  readonly backMs: number[];
  readonly failed: number[];
  /** Of a core: the client, and all pods together. */
  readonly loadShare: number[];
  readonly podShare: number[];
  shares: string;
};

async function runBalance({ size, command, lab, report }: Bench): Promise<void> {
  const { rounds, seconds, warmupSeconds } = SIZES[size];
  const weights = Object.values(WEIGHTS).join(":");
  report.heading(`balance: ${weights}, ${CONNECTIONS} connections, ${rounds} interleaved rounds of ${seconds} s each with all, without the heaviest, and with it again`);
  const pods = await NamedPods.start(lab, Object.keys(WEIGHTS));
  const servers = await startServers(lab, command, report, pods.pods);
  const run: Run = { pods, client: lab.program<NamingClientCalls>("naming-client.ts"), seconds, report };
  const seen = servers.map((server): Seen => ({
    server, rate: [], deadRate: [], cpuUs: [], points: [], againPoints: [], backMs: [], failed: [], loadShare: [], podShare: [], shares: "",
  }));
  if (warmupSeconds > 0) for (const { port } of servers) await warmUp(run, port, warmupSeconds);
  for (let round = 0; round < rounds; round += 1) for (const one of seen) await measure(run, one);
  for (const one of seen) describe(report, one);
  judge(report, seen);
}

async function startServers(lab: Lab, command: readonly string[], report: Report, pods: readonly NamedPod[]): Promise<Server[]> {
  const ours = await startConfigured(lab, command, `
services:
  names:
    servers: [${pods.map(({ name, port }) => `{ url: "http://127.0.0.1:${port}", weight: ${WEIGHTS[name]} }`).join(", ")}]
    ejection: { failures: ${FAILURES}, window: ${OUT_S}s, time: ${OUT_S}s, longest: ${OUT_S}s }
routes: [{ path: /, service: names }]
`);
  const missing = nginxMissing();
  if (missing !== null) {
    report.skip("balance beside nginx", missing);
    return [ours];
  }
  const members = pods.map(({ name, port }) => `server 127.0.0.1:${port} weight=${WEIGHTS[name]} max_fails=${FAILURES} fail_timeout=${OUT_S}s;`);
  return [ours, await startReverseProxy(lab, { upstreams: { names: members.join(" ") }, locations: { "/": "proxy_pass http://names;" } })];
}

async function warmUp({ client }: Run, port: number, seconds: number): Promise<void> {
  await client.call("start", { port, connections: CONNECTIONS });
  await Bun.sleep(seconds * 1000);
  await client.call("stop", undefined);
}

/** One round of one server: all are there, the heaviest is dead, it is back. */
async function measure(run: Run, seen: Seen): Promise<void> {
  const { pods, client, seconds, report } = run;
  const heaviest = pods.pods[0] as NamedPod;
  const taken: NamingResult[] = [];
  const take = async (afterMs: number): Promise<NamingResult> => {
    await Bun.sleep(afterMs);
    const result = await client.call("take", undefined);
    taken.push(result);
    return result;
  };
  await client.call("start", { port: seen.server.port, connections: CONNECTIONS });
  const before = { server: cpuSeconds(seen.server.pid), pods: pods.cpuSeconds };
  const all = await take(seconds * 1000);
  note(seen, all, cpuSeconds(seen.server.pid) - before.server, pods.cpuSeconds - before.pods);
  await pods.kill(heaviest);
  const dead = await take(seconds * 1000);
  await pods.restart(heaviest);
  const begin = performance.now();
  while ((await take(20)).byName[heaviest.name] === undefined) {
    if (performance.now() - begin > BACK_LIMIT_MS) throw new Error(`${seen.server.name}: ${heaviest.name} gets nothing ${BACK_LIMIT_MS / 1000} s after it is back`);
  }
  seen.backMs.push(performance.now() - begin);
  seen.againPoints.push(farthest(await take(seconds * 1000)));
  taken.push(await client.call("stop", undefined));
  seen.deadRate.push(answered(dead) / dead.seconds);
  seen.failed.push(taken.reduce((sum, { failed }) => sum + total(failed), 0));
  for (const { failed } of taken) if (total(failed) > 0) report.note(`${seen.server.name}, failed: ${JSON.stringify(failed)}`);
}

function note(seen: Seen, all: NamingResult, cpuS: number, podsCpuS: number): void {
  seen.rate.push(answered(all) / all.seconds);
  seen.cpuUs.push(cpuS * 1e6 / answered(all));
  seen.points.push(farthest(all));
  seen.loadShare.push(all.cpuSeconds / all.seconds);
  seen.podShare.push(podsCpuS / all.seconds);
  seen.shares = Object.keys(WEIGHTS).map((name) => `${name} ${text(share(all, name) * 100)}%`).join(", ");
}

function answered({ byName }: NamingResult): number {
  return total(byName);
}

function share(result: NamingResult, name: string): number {
  return (result.byName[name] ?? 0) / answered(result);
}

/** Between a share and what the weight says, in points. */
function farthest(result: NamingResult): number {
  return Math.max(...Object.entries(WEIGHTS).map(([name, weight]) => Math.abs(share(result, name) - weight / TOTAL) * 100));
}

function total(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

function describe(report: Report, { server: { name }, rate, deadRate, cpuUs, failed, backMs, loadShare, podShare, shares }: Seen): void {
  const cpu = median(cpuUs);
  const shareOf = (values: readonly number[]): string => `${text(median(values) * 100)}%`;
  report.figure(name, rate, " req/s", [
    `${text(cpu)} us CPU/request (${text(cpu * median(rate) / 1e4)}% of a core, client ${shareOf(loadShare)}, pods together ${shareOf(podShare)})`, shares,
  ]);
  report.figure(`${name}, one of four dead`, deadRate, " req/s", [`${text(median(failed))} failed requests a round`, `back after ${text(median(backMs))} ms`]);
}

function judge(report: Report, [ours, nginx]: readonly Seen[]): void {
  if (ours === undefined) return;
  if (nginx !== undefined) report.figure("route-gateway / nginx", ratios(ours.rate, nginx.rate), " x req/s", [`${text(median(ratios(ours.cpuUs, nginx.cpuUs)))} x CPU/request`]);
  report.bound({ what: "shares beside weights", values: ours.points, unit: " points", limit: { atMost: 2 } });
  report.bound({ what: "shares beside weights, after one came back", values: ours.againPoints, unit: " points", limit: { atMost: 2 } });
  // Each one counts, not the usual round: the largest is judged.
  report.bound({ what: "failed requests in the worst round", values: [Math.max(...ours.failed)], unit: "", limit: { atMost: 0 } });
}
