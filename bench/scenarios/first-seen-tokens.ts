// First-seen tokens, RSA-2048 both keys: how many a second beside the machine's own signs/s, and what such a storm does to
// people whose tokens are cached. Every token is used once; the cached load has its own client and its own pace.

import { availableParallelism } from "node:os";
import { type Gateway, startGateway, TOKEN_TTL_S } from "../lab/gateway.ts";
import { freeDesktopAddress, type Lab, type Program } from "../lab/lab.ts";
import { opensslMissing, rsaSignsPerSecond } from "../lab/openssl.ts";
import { cpuSeconds } from "../lab/process-stats.ts";
import { type Report, text } from "../lab/report.ts";
import type { Bench, Scenario } from "../lab/scenario.ts";
import { median, ratios } from "../lab/statistics.ts";
import type { HttpClientCalls, PacedResult } from "../programs/http-client.ts";
import type { HttpPodCalls } from "../programs/http-pod.ts";
import type { MintCalls } from "../programs/mint.ts";

const SIZES = {
  full: { rounds: 3, tokens: 6000, opensslSeconds: 3, quietSeconds: 3 },
  quick: { rounds: 3, tokens: 2000, opensslSeconds: 1, quietSeconds: 1 },
  tiny: { rounds: 1, tokens: 50, opensslSeconds: 1, quietSeconds: 0.1 },
};

const SPAWNER_PORT = 29786;
const PATH = "/spawner/applications";
const STORM_CONNECTIONS = 64;
/** A few hundred people at their desktops; a hundredth of what the machine can do. */
const CACHED_RATE = 500;
const CACHED_CONNECTIONS = 32;

export const firstSeenTokens: Scenario = {
  name: "first-seen-tokens",
  summary: "new tokens/s against openssl speed, and the p99 of cached ones meanwhile",
  run: runFirstSeenTokens,
};

type Clients = { readonly storm: Program<HttpClientCalls>; readonly cached: Program<HttpClientCalls> };

async function runFirstSeenTokens({ size, command, lab, report }: Bench): Promise<void> {
  const { rounds, tokens: perRound, opensslSeconds, quietSeconds } = SIZES[size];
  const load = `${STORM_CONNECTIONS} connections, ${rounds} rounds of ${text(perRound)} tokens`;
  report.heading(`first-seen tokens: RSA-2048, ${load}, cached load ${CACHED_RATE}/s`);
  const host = await freeDesktopAddress();
  const body = JSON.stringify({ data: "x".repeat(280) });
  await lab.program<HttpPodCalls>("http-pod.ts").call("listen", { host, port: SPAWNER_PORT, body });
  const gateway = await startGateway(lab, command);
  // Per round one storm alone and one beside the cached load; and one to warm up.
  const tokens = await mintTokens(lab, gateway, host, (2 * rounds + 1) * perRound);
  const client = (): Program<HttpClientCalls> => lab.program("http-client.ts");
  const clients = { storm: client(), cached: client() };
  await storm(clients, gateway, tokens.splice(0, perRound), report);
  await rate({ rounds, perRound, opensslSeconds, lab, report, gateway, clients, tokens });
  await disturbance({ rounds, perRound, quietSeconds, report, gateway, clients, tokens, cachedToken: gateway.token(host) });
}

/** Minted by as many processes as there are cores, which end when it is done. */
async function mintTokens(lab: Lab, { keys }: Gateway, host: string, count: number): Promise<string[]> {
  const { signingPrivateKey, payloadPublicKey } = keys;
  const programs = Array.from({ length: availableParallelism() }, () => lab.program<MintCalls>("mint.ts"));
  const each = Math.ceil(count / programs.length);
  const request = { host, count: each, ttlS: TOKEN_TTL_S, signingPrivateKey, payloadPublicKey };
  const minted = await Promise.all(programs.map((program) => program.call("mint", request)));
  return minted.flat().slice(0, count);
}

type RateRun = {
  readonly rounds: number; readonly perRound: number; readonly opensslSeconds: number;
  readonly lab: Lab; readonly report: Report; readonly gateway: Gateway; readonly clients: Clients; readonly tokens: string[];
};

async function rate({ rounds, perRound, opensslSeconds, lab, report, gateway, clients, tokens }: RateRun): Promise<void> {
  const missing = opensslMissing();
  const ours: number[] = [];
  const openssl: number[] = [];
  const cpuUs: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    if (missing === null) openssl.push(await rsaSignsPerSecond(lab, opensslSeconds));
    const cpuBefore = cpuSeconds(gateway.pid);
    const seconds = await storm(clients, gateway, tokens.splice(0, perRound), report);
    cpuUs.push((cpuSeconds(gateway.pid) - cpuBefore) * 1e6 / perRound);
    ours.push(perRound / seconds);
  }
  report.figure("route-gateway", ours, " new tokens/s", [`${text(median(cpuUs))} us CPU/token`]);
  if (missing !== null) return report.skip("openssl speed", missing);
  report.figure("openssl speed rsa2048", openssl, " signs/s on one core");
  report.bound({ what: "new tokens/s beside openssl signs/s", values: ratios(ours, openssl), unit: " x", limit: { atLeast: 0.4 } });
}

type DisturbanceRun = {
  readonly rounds: number; readonly perRound: number; readonly quietSeconds: number;
  readonly report: Report; readonly gateway: Gateway; readonly clients: Clients; readonly tokens: string[]; readonly cachedToken: string;
};

async function disturbance(run: DisturbanceRun): Promise<void> {
  const { rounds, perRound, quietSeconds, report, gateway, clients, tokens, cachedToken } = run;
  const meanwhile = (work: () => Promise<unknown>): Promise<PacedResult> => cachedLoad(clients, gateway, cachedToken, report, work);
  await meanwhile(() => Bun.sleep(quietSeconds * 1000));
  const quiet: PacedResult[] = [];
  const stormy: PacedResult[] = [];
  for (let round = 0; round < rounds; round += 1) {
    quiet.push(await meanwhile(() => Bun.sleep(quietSeconds * 1000)));
    stormy.push(await meanwhile(() => storm(clients, gateway, tokens.splice(0, perRound), report)));
  }
  for (const [name, results] of [["cached p99, quiet", quiet], ["cached p99, during a storm", stormy]] as const) {
    report.figure(name, results.map(({ p99Ms }) => p99Ms), " ms", [`p50 ${text(median(results.map(({ p50Ms }) => p50Ms)))} ms`]);
  }
  const found = ratios(stormy.map(({ p99Ms }) => p99Ms), quiet.map(({ p99Ms }) => p99Ms));
  report.bound({ what: "cached p99 during a storm beside quiet", values: found, unit: " x", limit: { below: 5 } });
}

/** How long cached requests take while `work` is done. */
async function cachedLoad(
  { cached }: Clients, { port }: Gateway, token: string, report: Report, work: () => Promise<unknown>,
): Promise<PacedResult> {
  const load = cached.call("paced", { port, path: PATH, connections: CACHED_CONNECTIONS, token, rate: CACHED_RATE });
  await work();
  await cached.call("stop", undefined);
  const result = await load;
  if (result.refused > 0) report.fail(`cached load: ${result.refused} of ${result.sent} requests were refused`);
  return result;
}

/** @returns seconds */
async function storm({ storm: client }: Clients, { port }: Gateway, tokens: string[], report: Report): Promise<number> {
  const { seconds, refused } = await client.call("storm", { port, path: PATH, connections: STORM_CONNECTIONS, tokens });
  if (refused > 0) report.fail(`storm: ${refused} of ${tokens.length} new tokens were refused`);
  return seconds;
}
