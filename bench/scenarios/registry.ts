// Ten thousand registered services: what a request costs among them and among ten, how soon one more is served, whether anybody
// notices, and how long a start takes that reads them all.

import { gatewayAt, spawnRegistered, startRegistered, type EdgeGateway, writeRegistry } from "../lab/edge-gateway.ts";
import { freeDesktopAddress, type Lab } from "../lab/lab.ts";
import { nginxMissing, startJsonPod } from "../lab/nginx.ts";
import { cpuSeconds } from "../lab/process-stats.ts";
import { type Report, text } from "../lab/report.ts";
import type { Bench, Scenario } from "../lab/scenario.ts";
import { median, ratios } from "../lab/statistics.ts";
import { runWrk, wrkMissing } from "../lab/wrk.ts";
import { Connection } from "../programs/connection.ts";

const SIZES = {
  full: { rounds: 7, seconds: 3, warmupSeconds: 2, many: 10_000, added: 30, addedWithinS: 10, starts: 5 },
  quick: { rounds: 3, seconds: 2, warmupSeconds: 1, many: 10_000, added: 10, addedWithinS: 5, starts: 3 },
  tiny: { rounds: 1, seconds: 1, warmupSeconds: 1, many: 100, added: 3, addedWithinS: 1, starts: 1 },
};

const FEW = 10;
const CONNECTIONS = 64;
/** Beside new registrations: enough to see everything that is dropped, and not a test of a busy server. */
const QUIET_CONNECTIONS = 4;
const POD_PORT = 29786;
const BODY = JSON.stringify({ status: 200, data: "x".repeat(276) });

const START_LIMIT_MS = 30_000;
const SERVED_LIMIT_MS = 5_000;

export const registry: Scenario = {
  name: "registry",
  summary: "10,000 registered services: requests/s as with 10, one more within 50 ms, start within 2 s",
  run: runRegistry,
};

async function runRegistry({ size, command, lab, report }: Bench): Promise<void> {
  const { rounds, seconds, warmupSeconds, many, added, addedWithinS, starts } = SIZES[size];
  report.heading(`registry: ${text(FEW)} and ${text(many)} services, ${rounds} interleaved rounds of ${seconds} s; ${added} more; ${starts} starts`);
  const missing = wrkMissing() ?? nginxMissing();
  if (missing !== null) return report.skip("requests among registered services", missing);
  const target = await freeDesktopAddress();
  await startJsonPod(lab, target, POD_PORT, BODY);
  const [few, all] = [await register(lab, command, target, FEW), await register(lab, command, target, many)];
  await lookUp(lab, report, [few, all], { rounds, seconds, warmupSeconds });
  await addMore(lab, report, all, target, added, addedWithinS);
  await lab.stop(all.gateway.running);
  await start(lab, command, report, all.root, many, starts);
}

type Site = { readonly gateway: EdgeGateway; readonly root: string; readonly hosts: readonly string[] };

async function register(lab: Lab, command: readonly string[], target: string, count: number): Promise<Site> {
  const hosts = Array.from({ length: count }, (_, index) => `service-${index}.gateway.test`);
  const root = await writeRegistry(lab, `root-${count}`, hosts.map((host) => gatewayAt(host, target, POD_PORT)));
  return { gateway: await startRegistered(lab, command, { name: `${text(count)} services`, root, pair: null }), root, hosts };
}

// ---- a look-up

type Rounds = { readonly rounds: number; readonly seconds: number; readonly warmupSeconds: number };
type Seen = { readonly site: Site; /** That are asked for, in turn. */ readonly hosts: readonly string[]; readonly rate: number[]; readonly cpuUs: number[] };

/**
 * The same requests at both, which is what a look-up among more of them costs; and at the larger one all hosts in turn, each last
 * asked for long ago: what it has of them is not in the processor's caches any more, and neither is what the load has.
 */
async function lookUp(lab: Lab, report: Report, sites: readonly [Site, Site], { rounds, seconds, warmupSeconds }: Rounds): Promise<void> {
  const [ten, many] = sites;
  const of = (site: Site, hosts: readonly string[]): Seen => ({ site, hosts, rate: [], cpuUs: [] });
  const seen = [of(ten, ten.hosts), of(many, ten.hosts), of(many, many.hosts)] as const;
  for (const one of seen) await measure(lab, report, one, warmupSeconds);
  for (const { rate, cpuUs } of seen) rate.length = cpuUs.length = 0;
  for (let round = 0; round < rounds; round += 1) {
    // In turn the first, because whoever comes later may find a machine that has slowed down.
    for (const one of round % 2 === 0 ? seen : seen.toReversed()) await measure(lab, report, one, seconds);
  }
  for (const { site, hosts, rate, cpuUs } of seen) {
    report.figure(`requests for ${text(hosts.length)}, ${site.gateway.name}`, rate, " req/s", [`${text(median(cpuUs))} us CPU/request`]);
  }
  const [few, same, all] = seen;
  report.figure("all in turn beside ten services", ratios(all.rate, few.rate), " x req/s", [`${text(median(ratios(all.cpuUs, few.cpuUs)))} x CPU`]);
  // A tenth is what a machine in use makes of two equal servers.
  report.bound({ what: "requests/s for the same ten beside ten services", values: ratios(same.rate, few.rate), unit: " x", limit: { atLeast: 0.9 } });
}

async function measure(lab: Lab, report: Report, { site: { gateway }, hosts, rate, cpuUs }: Seen, seconds: number): Promise<void> {
  const { name, pid, httpPort } = gateway;
  const before = cpuSeconds(pid);
  const load = await runWrk(lab, { url: `http://127.0.0.1:${httpPort}/applications`, headers: {}, connections: CONNECTIONS, seconds, hosts });
  if (load.errors > 0) report.fail(`${name}: ${load.errors} of ${load.requests} requests failed`);
  cpuUs.push((cpuSeconds(pid) - before) * 1e6 / load.requests);
  rate.push(load.requests / load.seconds);
}

// ---- one more

/** Through the admin API, while others are asked for on connections that stay. */
async function addMore(lab: Lab, report: Report, { gateway, hosts }: Site, target: string, added: number, withinS: number): Promise<void> {
  const load = runWrk(lab, {
    url: `http://127.0.0.1:${gateway.httpPort}/applications`, headers: {}, connections: QUIET_CONNECTIONS, seconds: withinS, hosts: hosts.slice(0, 100),
  });
  // Whoever waits for the load only after all would leave its failure to nobody.
  load.catch(() => {});
  const servedMs: number[] = [];
  const pauseMs = withinS * 1000 / (added + 2);
  for (let index = 0; index < added; index += 1) {
    await Bun.sleep(pauseMs);
    servedMs.push(await addOne(gateway, `more-${index}`, target));
  }
  const { requests, errors, p99Ms, maxMs } = await load;
  report.figure("others, meanwhile", [p99Ms], " ms p99", [`longest ${text(maxMs)} ms`, `${text(requests)} requests`]);
  if (errors > 0) report.fail(`${errors} of ${requests} requests of other services failed while services were registered`);
  report.bound({ what: `one more among ${text(hosts.length)}, from the call to its first answer`, values: servedMs, unit: " ms", limit: { below: 50 } });
}

/** @returns ms from the call until its host is served */
async function addOne({ adminPort, httpPort }: EdgeGateway, name: string, target: string): Promise<number> {
  const connection = await Connection.open("127.0.0.1", httpPort);
  const request = `GET / HTTP/1.1\r\nHost: ${name}.gateway.test\r\n\r\n`;
  if (await connection.ask(request) === 200) throw new Error(`${name} is served before it is registered`);
  const begin = performance.now();
  const body = JSON.stringify({ name, backends: [`http://${target}:${POD_PORT}`] });
  const call = fetch(`http://127.0.0.1:${adminPort}/api/gateways/${name}`, { method: "PUT", headers: { "content-type": "application/json" }, body });
  const { status } = await call;
  if (status !== 201) throw new Error(`${name} was not registered: ${status} ${await (await call).text()}`);
  while (await connection.ask(request) !== 200) {
    if (performance.now() - begin > SERVED_LIMIT_MS) throw new Error(`${name} is not served within ${SERVED_LIMIT_MS / 1000} s`);
  }
  const tookMs = performance.now() - begin;
  connection.close();
  return tookMs;
}

// ---- a start

async function start(lab: Lab, command: readonly string[], report: Report, root: string, many: number, starts: number): Promise<void> {
  const listenMs: number[] = [];
  for (let round = 0; round < starts; round += 1) {
    const begin = performance.now();
    const gateway = await spawnRegistered(lab, command, { name: `${text(many)} services`, root, pair: null });
    await answered(gateway);
    listenMs.push(performance.now() - begin);
    await lab.stop(gateway.running);
  }
  report.bound({ what: `first answer after exec, ${text(many)} files`, values: listenMs, unit: " ms", limit: { below: 2000 } });
}

/** Of the last service in the list: when it is served, all of them are. */
async function answered({ running, httpPort, port }: EdgeGateway): Promise<void> {
  const deadline = performance.now() + START_LIMIT_MS;
  for (const address of [httpPort, port]) {
    while (!(await canConnect(address))) {
      if (running.child.exitCode !== null) throw new Error(`route-gateway ended with ${running.child.exitCode}: ${running.complaint}`);
      if (performance.now() > deadline) throw new Error(`not listening within ${START_LIMIT_MS / 1000} s`);
      await Bun.sleep(2);
    }
  }
}

async function canConnect(port: number): Promise<boolean> {
  try {
    (await Connection.open("127.0.0.1", port)).close();
    return true;
  } catch {
    // Refused: it does not listen yet.
    return false;
  }
}
