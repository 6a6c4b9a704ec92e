// Two thousand requests that hang at one pod, and people who work with another: the second must not feel the first, however the
// connections to pods are kept. Quiet rounds and rounds beside the hanging ones in turn, ours by tokens, beside a plain nginx.

import { startGateway } from "../lab/gateway.ts";
import { freeDesktopAddress, type Lab, type Program } from "../lab/lab.ts";
import { nginxMissing } from "../lab/nginx.ts";
import { startReverseProxy } from "../lab/nginx-reverse.ts";
import { cpuSeconds, openFilesLimit, residentBytes } from "../lab/process-stats.ts";
import { type Report, text } from "../lab/report.ts";
import type { Bench, Scenario, Server } from "../lab/scenario.ts";
import { median, ratios } from "../lab/statistics.ts";
import type { HangingClientCalls } from "../programs/hanging-client.ts";
import type { HangingPodCalls } from "../programs/hanging-pod.ts";
import type { HttpClientCalls, PacedResult } from "../programs/http-client.ts";
import type { HttpPodCalls } from "../programs/http-pod.ts";

const SIZES = {
  full: { rounds: 7, seconds: 3, hanging: 2000 },
  quick: { rounds: 5, seconds: 2, hanging: 2000 },
  tiny: { rounds: 1, seconds: 0.2, hanging: 20 },
};

const PORT = 29786;
const PATH = "/spawner/applications";
/** A few hundred people at their desktops. */
const RATE = 500;
const CONNECTIONS = 32;
/** Of the proxy: each hanging request is two, and a few hundred are for the rest. */
const FILES_EACH = 2;
const OTHER_FILES = 500;
const HANG_LIMIT_MS = 10_000;

export const longPolls: Scenario = {
  name: "long-polls",
  summary: "2,000 hanging requests to one pod: p50 and p99 of requests to another, quiet and beside them",
  run: runLongPolls,
};

/** A server, and how it is told which pod is meant. */
type Way = { readonly path: string; readonly token: string };
type Front = { readonly server: Server; readonly hanging: Way; readonly quick: Way };

type Run = {
  readonly hanging: number; readonly seconds: number; readonly report: Report;
  readonly pod: Program<HangingPodCalls>; readonly clients: Program<HangingClientCalls>; readonly paced: Program<HttpClientCalls>;
};

/** One entry a round. */
type Seen = { readonly front: Front; readonly quiet: Paced[]; readonly beside: Paced[]; readonly kib: number[] };
type Paced = PacedResult & { readonly cpuUs: number };

async function runLongPolls({ size, command, lab, report }: Bench): Promise<void> {
  const { rounds, seconds, hanging: wanted } = SIZES[size];
  const hanging = Math.min(wanted, Math.floor((openFilesLimit() - OTHER_FILES) / FILES_EACH));
  report.heading(`long polls: ${text(hanging)} hang at one pod, ${RATE} requests/s to another, ${rounds} interleaved rounds of ${seconds} s`);
  if (hanging < wanted) report.note(`${text(hanging)} instead of ${text(wanted)}: no more open files are allowed (ulimit -Hn)`);
  const pod = lab.program<HangingPodCalls>("hanging-pod.ts");
  const fronts = await startFronts(lab, command, report, pod);
  const run: Run = { hanging, seconds, report, pod, clients: lab.program("hanging-client.ts"), paced: lab.program("http-client.ts") };
  const seen = fronts.map((front): Seen => ({ front, quiet: [], beside: [], kib: [] }));
  for (const front of fronts) await normalLoad(run, front);
  for (let round = 0; round < rounds; round += 1) for (const one of seen) await measure(run, one);
  for (const one of seen) describe(report, one);
  const ours = seen[0] as Seen;
  report.bound({ what: "p50 beside hanging requests, to a quiet one", values: ratios(p50(ours.beside), p50(ours.quiet)), unit: " x", limit: { atMost: 1.2 } });
}

async function startFronts(lab: Lab, command: readonly string[], report: Report, pod: Program<HangingPodCalls>): Promise<Front[]> {
  const hangingHost = await freeDesktopAddress();
  await pod.call("listen", { host: hangingHost, port: PORT });
  // Another one: on the first the port is taken now.
  const quickHost = await freeDesktopAddress();
  await lab.program<HttpPodCalls>("http-pod.ts").call("listen", { host: quickHost, port: PORT, body: JSON.stringify({ data: "x".repeat(280) }) });
  const gateway = await startGateway(lab, command);
  const ours = { server: gateway, hanging: { path: PATH, token: gateway.token(hangingHost) }, quick: { path: PATH, token: gateway.token(quickHost) } };
  const missing = nginxMissing();
  if (missing !== null) {
    report.skip("long polls beside nginx", missing);
    return [ours];
  }
  const nginx = await startReverseProxy(lab, {
    upstreams: { hanging: `server ${hangingHost}:${PORT};`, quick: `server ${quickHost}:${PORT};` },
    locations: { "/hanging": "proxy_pass http://hanging;", "/quick": "proxy_pass http://quick;" },
  });
  return [ours, { server: nginx, hanging: { path: "/hanging", token: "none" }, quick: { path: "/quick", token: "none" } }];
}

async function measure(run: Run, { front, quiet, beside, kib }: Seen): Promise<void> {
  const { pod, clients, hanging, report } = run;
  const { server: { name, pid, port } } = front;
  quiet.push(await normalLoad(run, front));
  const before = residentBytes(pid);
  await clients.call("ask", { port, ...front.hanging, clients: hanging });
  await untilHanging(run, name);
  kib.push((residentBytes(pid) - before) / hanging / 1024);
  beside.push(await normalLoad(run, front));
  const waited = await pod.call("answerAll", undefined);
  if (waited < hanging) report.fail(`${name}: ${hanging - waited} of ${hanging} hanging requests were cut`);
  const answered = await clients.call("untilAnswered", undefined);
  if (answered < hanging) report.fail(`${name}: ${hanging - answered} of ${hanging} hanging requests got no answer in the end`);
}

/** @throws Error when not all of them reach the pod: what is measured then is something else */
async function untilHanging({ pod, hanging }: Run, name: string): Promise<void> {
  const deadline = performance.now() + HANG_LIMIT_MS;
  for (let count = 0; count < hanging; await Bun.sleep(20)) {
    count = await pod.call("count", undefined);
    if (performance.now() > deadline) throw new Error(`${name}: ${count} of ${hanging} hanging requests reach the pod within ${HANG_LIMIT_MS / 1000} s`);
  }
}

async function normalLoad({ paced, seconds, report }: Run, { server: { name, pid, port }, quick }: Front): Promise<Paced> {
  const before = cpuSeconds(pid);
  const load = paced.call("paced", { port, ...quick, connections: CONNECTIONS, rate: RATE });
  await Bun.sleep(seconds * 1000);
  await paced.call("stop", undefined);
  const result = await load;
  if (result.refused > 0) report.fail(`${name}: ${result.refused} of ${result.sent} requests were refused`);
  return { ...result, cpuUs: (cpuSeconds(pid) - before) * 1e6 / result.sent };
}

function describe(report: Report, { front: { server: { name } }, quiet, beside, kib }: Seen): void {
  for (const [what, results] of [["quiet", quiet], [`beside hanging ones`, beside]] as const) {
    const p99 = median(results.map(({ p99Ms }) => p99Ms));
    report.figure(`${name}, ${what}`, p50(results), " ms p50", [`p99 ${text(p99)} ms`, `${text(median(results.map(({ cpuUs }) => cpuUs)))} us CPU/request`]);
  }
  report.figure(`${name}, beside / quiet`, ratios(p50(beside), p50(quiet)), " x p50", [
    `${text(median(ratios(beside.map(({ p99Ms }) => p99Ms), quiet.map(({ p99Ms }) => p99Ms))))} x p99`, `a hanging request takes ${text(kib[0] ?? NaN)} KiB at first`,
  ]);
}

function p50(results: readonly Paced[]): number[] {
  return results.map(({ p50Ms }) => p50Ms);
}
