// Cached token, 300-byte JSON, 64 connections: the everyday request. Ours beside a lean nginx with Lua that does the same
// work, with and without keep-alive to the pod, and beside a plain haproxy; rounds interleaved, access logs on everywhere.

import { takeLines } from "../lab/access-log.ts";
import { startGateway } from "../lab/gateway.ts";
import { haproxyMissing, startHaproxy } from "../lab/haproxy.ts";
import { freeDesktopAddress, type Lab } from "../lab/lab.ts";
import { luaMissing, nginxMissing, startJsonPod, startLuaRouter } from "../lab/nginx.ts";
import { cpuSeconds } from "../lab/process-stats.ts";
import { type Report, text } from "../lab/report.ts";
import type { Bench, Scenario, Server } from "../lab/scenario.ts";
import { median, ratios, summarize } from "../lab/statistics.ts";
import { runWrk, wrkMissing } from "../lab/wrk.ts";

const SIZES = {
  // Short rounds: what comes next to each other finds the same machine, also where others share it.
  full: { rounds: 21, seconds: 1, warmupSeconds: 4 },
  quick: { rounds: 3, seconds: 2, warmupSeconds: 1 },
  tiny: { rounds: 1, seconds: 1, warmupSeconds: 1 },
};

const CONNECTIONS = 64;
const SPAWNER_PORT = 29786;
const BODY = JSON.stringify({ status: 200, data: "x".repeat(300 - '{"status":200,"data":""}'.length) });

const LUA = "nginx + lua";
const LUA_CLOSING = "nginx + lua, no keep-alive";

export const cachedToken: Scenario = {
  name: "cached-token",
  summary: "requests/s and p99 with a cached token, against nginx + Lua and haproxy",
  run: runCachedToken,
};

/** What was seen of one server, one entry a round. */
type Seen = {
  readonly server: Server;
  readonly rate: number[];
  readonly p99Ms: number[];
  readonly cpuUs: number[];
  requests: number;
  lines: number;
  errors: number;
};

async function runCachedToken({ size, command, lab, report }: Bench): Promise<void> {
  const missing = wrkMissing() ?? nginxMissing();
  if (missing !== null) return report.skip("cached token", missing);
  const { rounds, seconds, warmupSeconds } = SIZES[size];
  const load = `300-byte JSON, ${CONNECTIONS} connections, ${rounds} interleaved rounds of ${seconds} s`;
  report.heading(`cached token: ${load}, access logs on`);
  const { token, servers } = await startServers(lab, command, report);
  const seen = servers.map((server): Seen => ({ server, rate: [], p99Ms: [], cpuUs: [], requests: 0, lines: 0, errors: 0 }));
  for (const one of seen) await measure(lab, one, token, warmupSeconds);
  for (const one of seen) forget(one);
  for (let round = 0; round < rounds; round += 1) {
    for (const one of seen) await measure(lab, one, token, seconds);
  }
  for (const one of seen) describe(report, one);
  judge(report, seen);
}

async function startServers(lab: Lab, command: readonly string[], report: Report): Promise<{ token: string; servers: Server[] }> {
  const target = await freeDesktopAddress();
  await startJsonPod(lab, target, SPAWNER_PORT, BODY);
  const gateway = await startGateway(lab, command);
  const token = gateway.token(target);
  const servers: Server[] = [gateway];
  const noLua = luaMissing();
  if (noLua !== null) report.skip("nginx + Lua", noLua);
  else {
    const options = { token, target, targetPort: SPAWNER_PORT };
    servers.push(await startLuaRouter(lab, LUA, { ...options, keepAlive: 128 }));
    servers.push(await startLuaRouter(lab, LUA_CLOSING, { ...options, keepAlive: 0 }));
  }
  const noHaproxy = haproxyMissing();
  if (noHaproxy !== null) report.skip("haproxy", noHaproxy);
  else servers.push(await startHaproxy(lab, target, SPAWNER_PORT));
  return { token, servers };
}

async function measure(lab: Lab, seen: Seen, token: string, seconds: number): Promise<void> {
  const { pid, port, log } = seen.server;
  const headers = { Authorization: `Bearer ${token}` };
  const cpuBefore = cpuSeconds(pid);
  const url = `http://127.0.0.1:${port}/spawner/applications`;
  const load = await runWrk(lab, { url, headers, connections: CONNECTIONS, seconds });
  seen.cpuUs.push((cpuSeconds(pid) - cpuBefore) * 1e6 / load.requests);
  seen.rate.push(load.requests / load.seconds);
  seen.p99Ms.push(load.p99Ms);
  seen.requests += load.requests;
  seen.errors += load.errors;
  if (log !== null) seen.lines += await takeLines(log, load.requests);
}

/** After the warm-up. */
function forget(seen: Seen): void {
  for (const values of [seen.rate, seen.p99Ms, seen.cpuUs]) values.length = 0;
  seen.requests = seen.lines = seen.errors = 0;
}

function describe(report: Report, { server, rate, p99Ms, cpuUs, requests, lines, errors }: Seen): void {
  const cpu = summarize(cpuUs).median;
  report.figure(server.name, rate, " req/s", [
    `p99 ${text(median(p99Ms))} ms`,
    `${text(cpu)} us CPU/request (${text(cpu * median(rate) / 1e4)}% of a core)`,
    `${text(lines)} log lines for ${text(requests)} requests`,
  ]);
  if (errors > 0) report.fail(`${server.name}: ${errors} of ${requests} requests failed`);
  if (lines < requests) report.fail(`${server.name}: ${lines} log lines for ${requests} requests`);
}

function judge(report: Report, seen: readonly Seen[]): void {
  const [ours, ...peers] = seen as [Seen, ...Seen[]];
  const byName = (name: string): Seen | undefined => peers.find(({ server }) => server.name === name);
  for (const { server, rate, cpuUs } of peers) {
    const cpu = ratios(ours.cpuUs, cpuUs);
    report.figure(`ours / ${server.name}`, ratios(ours.rate, rate), " x req/s", [`${text(median(cpu))} x CPU/request`]);
  }
  const lua = byName(LUA);
  const closing = byName(LUA_CLOSING);
  if (lua === undefined || closing === undefined) return;
  // What is within reach of anybody here.
  for (const { server, rate } of peers) if (server !== closing.server) report.figure(`${server.name} / ${LUA_CLOSING}`, ratios(rate, closing.rate), " x req/s");
  const unit = " x";
  const beside = { lua: ratios(ours.rate, lua.rate), closing: ratios(ours.rate, closing.rate) };
  report.bound({ what: `requests/s beside ${LUA}`, values: beside.lua, unit, limit: { atLeast: 1 } });
  report.bound({ what: `requests/s beside ${LUA_CLOSING}`, values: beside.closing, unit, limit: { atLeast: 3 } });
  report.bound({ what: `p99 beside ${LUA}`, values: ratios(ours.p99Ms, lua.p99Ms), unit, limit: { atMost: 1 } });
}
