// TLS ends at the proxy: small answers on kept connections, and full handshakes, one thread and the same P-256 certificate for
// everybody, beside haproxy. Ours twice: with a certificate from files and nothing that changes, which is what is judged, and
// with registered services, where each connection's server name is looked at first. And a Bun.serve with a constant answer and no log:
// what TLS costs in this runtime before anything is done with it.

import { takeLines } from "../lab/access-log.ts";
import { startCeiling } from "../lab/bare-server.ts";
import { makeSitePair, type SitePair } from "../lab/certificate.ts";
import { gatewayAt, startFixedTls, startRegistered, writeRegistry } from "../lab/edge-gateway.ts";
import { haproxyMissing, startHaproxyTls } from "../lab/haproxy.ts";
import { freeDesktopAddress, type Lab } from "../lab/lab.ts";
import { nginxMissing, startJsonPod } from "../lab/nginx.ts";
import { opensslMissing } from "../lab/openssl.ts";
import { cpuSeconds } from "../lab/process-stats.ts";
import { type Report, text } from "../lab/report.ts";
import type { Bench, Scenario, Server } from "../lab/scenario.ts";
import { median, ratios } from "../lab/statistics.ts";
import { runWrk, wrkMissing } from "../lab/wrk.ts";

const SIZES = {
  // Short rounds: what comes next to each other finds the same machine, also where others share it.
  full: { rounds: 21, seconds: 1, warmupSeconds: 4 },
  quick: { rounds: 3, seconds: 2, warmupSeconds: 1 },
  tiny: { rounds: 1, seconds: 1, warmupSeconds: 1 },
};

const CONNECTIONS = 64;
const POD_PORT = 29786;
/** The certificate has both: what wrk says as its server name is the host of its URL, which has to resolve. */
const SERVER_NAME = "localhost";
const HOST = "pod.gateway.test";
const BODY = JSON.stringify({ status: 200, data: "x".repeat(300 - '{"status":200,"data":""}'.length) });

const OURS = "route-gateway";
const PEER = "haproxy";
const CEILING = "Bun.serve alone, constant answer, no log";

export const tls: Scenario = {
  name: "tls",
  summary: "TLS terminated: keep-alive requests/s and full handshakes/s, against haproxy",
  run: runTls,
};

type Kind = { readonly what: string; readonly unit: string; readonly headers: Readonly<Record<string, string>>; readonly mayClose: boolean };

/** A request in each: without one nothing is logged, and whoever comes to this address comes to ask. */
const KEPT: Kind = { what: "kept connections", unit: "req/s", headers: {}, mayClose: false };
const NEW: Kind = { what: "full handshakes", unit: "/s", headers: { Connection: "close" }, mayClose: true };

async function runTls({ size, command, lab, report }: Bench): Promise<void> {
  const missing = wrkMissing() ?? nginxMissing() ?? opensslMissing();
  if (missing !== null) return report.skip("TLS", missing);
  const { rounds, seconds, warmupSeconds } = SIZES[size];
  const load = `300-byte JSON, ${CONNECTIONS} connections, ${rounds} interleaved rounds of ${seconds} s`;
  report.heading(`tls: ${load}, ECDSA P-256, access logs on`);
  const servers = await startServers(lab, command, report);
  for (const kind of [KEPT, NEW]) {
    const seen = servers.map((server): Seen => ({ server, rate: [], p99Ms: [], cpuUs: [] }));
    for (const one of seen) await measure(lab, report, one, kind, warmupSeconds);
    for (const { rate, p99Ms, cpuUs } of seen) rate.length = p99Ms.length = cpuUs.length = 0;
    for (let round = 0; round < rounds; round += 1) {
      for (const one of seen) await measure(lab, report, one, kind, seconds);
    }
    describe(report, kind, seen);
  }
}

async function startServers(lab: Lab, command: readonly string[], report: Report): Promise<Server[]> {
  const target = await freeDesktopAddress();
  await startJsonPod(lab, target, POD_PORT, BODY);
  const pair: SitePair = await makeSitePair(lab, SERVER_NAME, HOST);
  const servers: Server[] = [await startFixedTls(lab, command, pair, HOST, `${target}:${POD_PORT}`)];
  const noHaproxy = haproxyMissing();
  if (noHaproxy === null) servers.push(await startHaproxyTls(lab, pair.pemFile, target, POD_PORT));
  else report.skip("TLS beside haproxy", noHaproxy);
  const root = await writeRegistry(lab, "root", [gatewayAt(HOST, target, POD_PORT)]);
  return [...servers, await startRegistered(lab, command, { name: "route-gateway, registered", root, pair }), await startCeiling(lab, CEILING, "application/json", BODY, pair)];
}

/** What was seen of one server, one entry a round. */
type Seen = { readonly server: Server; readonly rate: number[]; readonly p99Ms: number[]; readonly cpuUs: number[] };

async function measure(lab: Lab, report: Report, seen: Seen, { what, headers, mayClose }: Kind, seconds: number): Promise<void> {
  const { name, pid, port, log } = seen.server;
  const before = cpuSeconds(pid);
  const url = `https://${SERVER_NAME}:${port}/applications`;
  const load = await runWrk(lab, { url, headers, connections: CONNECTIONS, seconds, hosts: [HOST] });
  seen.cpuUs.push((cpuSeconds(pid) - before) * 1e6 / load.requests);
  seen.rate.push(load.requests / load.seconds);
  seen.p99Ms.push(load.p99Ms);
  const errors = load.errors - (mayClose ? load.closed : 0);
  if (errors > 0) report.fail(`${what}, ${name}: ${errors} of ${load.requests} requests failed`);
  const lines = log === null ? load.requests : await takeLines(log, load.requests);
  if (lines < load.requests) report.fail(`${what}, ${name}: ${lines} log lines for ${load.requests} requests`);
}

function describe(report: Report, { what, unit }: Kind, seen: readonly Seen[]): void {
  for (const { server, rate, p99Ms, cpuUs } of seen) {
    const cpu = median(cpuUs);
    report.figure(`${what}, ${server.name}`, rate, ` ${unit}`, [
      `p99 ${text(median(p99Ms))} ms`, `${text(cpu)} us CPU each (${text(cpu * median(rate) / 1e4)}% of a core)`,
    ]);
  }
  const peer = seen.find(({ server }) => server.name === PEER);
  if (peer === undefined) return;
  for (const { server, rate, cpuUs } of seen) {
    if (server === peer.server) continue;
    const found = ratios(rate, peer.rate);
    report.figure(`${server.name} / ${PEER}`, found, ` x ${unit}`, [`${text(median(ratios(cpuUs, peer.cpuUs)))} x CPU`]);
    if (server.name === OURS) report.bound({ what: `${what}, ${unit} beside ${PEER}`, values: found, unit: " x", limit: { atLeast: 1 } });
  }
}
