// TLS passed through by its server name: bytes of one connection, new connections, and thousands that nobody uses. Beside us
// nginx's stream proxy with ssl_preread, which bounds hang on, and haproxy in TCP mode. Both ends of a connection send a real
// ClientHello and then plain bytes: no proxy looks, and the ends cost less than what is measured.

import { join } from "node:path";
import { recordClientHello } from "../lab/client-hello.ts";
import { gatewayAt, startRegistered, writeRegistry } from "../lab/edge-gateway.ts";
import { haproxyMissing, startHaproxyPassthrough } from "../lab/haproxy.ts";
import { freePort, type Lab, type Program } from "../lab/lab.ts";
import { nginxMissing, startJsonPod, startStreamProxy, streamMissing } from "../lab/nginx.ts";
import { cpuSeconds, openFilesLimit, settledBytes } from "../lab/process-stats.ts";
import { type Report, text } from "../lab/report.ts";
import type { Bench, Scenario, Server } from "../lab/scenario.ts";
import { median, ratios } from "../lab/statistics.ts";
import type { TunnelClientCalls } from "../programs/tunnel-client.ts";
import type { TunnelPodCalls } from "../programs/tunnel-pod.ts";

/**
 * `connections`: in each of the `turns`, after `warmConnections`, which a program that is compiled while it runs needs until it is. All of
 * one server stay below the 28,000 ports that Linux connects from: a closed connection keeps its port for a minute, and looking for a
 * free one would become what is measured.
 */
const SIZES = {
  full: { rounds: 5, bytes: 2 * 1024 ** 3, turns: 8, connections: 2000, warmConnections: 10_000, idle: 4000, warmIdle: 500 },
  quick: { rounds: 3, bytes: 512 * 1024 ** 2, turns: 5, connections: 2000, warmConnections: 10_000, idle: 2000, warmIdle: 500 },
  tiny: { rounds: 1, bytes: 1024 ** 2, turns: 1, connections: 200, warmConnections: 0, idle: 20, warmIdle: 5 },
};

const STREAM_NAME = "tunnel.gateway.test";
const LANES = 64;
/** What the proxy has open beside two files a tunnel. */
const OTHER_FILES = 100;

const NGINX = "nginx stream";

export const passthrough: Scenario = {
  name: "passthrough",
  summary: "TLS passed through: MB/s, new connections/s, memory of an idle tunnel, against nginx and haproxy",
  run: runPassthrough,
};

type Client = Program<TunnelClientCalls>;
type Run = { readonly client: Client; readonly hello: string; readonly servers: readonly Server[]; readonly rounds: number; readonly report: Report };

async function runPassthrough({ size, command, lab, report }: Bench): Promise<void> {
  const { rounds, bytes, turns, connections, warmConnections, idle, warmIdle } = SIZES[size];
  const load = `${text(bytes / 1024 ** 2)} MiB in ${rounds} interleaved rounds; ${text(connections)} new connections in ${LANES} lanes, in ${turns}`;
  report.heading(`passthrough: ${load}; ${text(idle)} idle tunnels`);
  for (const missing of [streamMissing(), haproxyMissing()]) if (missing !== null) report.skip("passthrough beside a peer", missing);
  const hello = await recordClientHello(STREAM_NAME);
  const client = lab.program<TunnelClientCalls>("tunnel-client.ts");
  const pod = await lab.program<TunnelPodCalls>("tunnel-pod.ts").call("listen", undefined);
  const start = (): Promise<Server[]> => startServers(lab, command, async () => pod);
  await bulk({ client, hello, servers: await start(), rounds, report }, bytes);
  await churn(lab, command, { client, hello, rounds: turns, report }, { connections, warmConnections });
  // New ones: what the bulk has left in a process would be used again, and tunnels would seem to cost nothing.
  await idleTunnels({ client, hello, servers: await start(), rounds, report }, idle, warmIdle);
  await client.call("cutAll", undefined);
}

/** Ours first. @param podFor asked once for each of them */
async function startServers(lab: Lab, command: readonly string[], podFor: () => Promise<number>): Promise<Server[]> {
  const podPort = await podFor();
  const root = await writeRegistry(lab, `root-${podPort}`, [gatewayAt(STREAM_NAME, "127.0.0.1", podPort, true)]);
  const servers: Server[] = [await startRegistered(lab, command, { name: "route-gateway", root, pair: null })];
  if (streamMissing() === null) servers.push(await startStreamProxy(lab, STREAM_NAME, await podFor()));
  if (haproxyMissing() === null) servers.push(await startHaproxyPassthrough(lab, STREAM_NAME, await podFor()));
  return servers;
}

async function bulk(run: Run, bytes: number): Promise<void> {
  const { client, hello, report } = run;
  const megabytes = bytes / 1e6;
  await compare(run, "bulk", "MB/s", "us CPU/MB", async ({ pid, port }) => {
    const before = cpuSeconds(pid);
    const seconds = await client.call("pull", { port, hello, bytes });
    return { rate: megabytes / seconds, cpuUs: (cpuSeconds(pid) - before) * 1e6 / megabytes };
  });
  report.note("one connection, pod to client");
}

/** nginx answers a ClientHello on a plain port with 400 and closes: a pod that costs little, and is the first to go. */
async function churn(lab: Lab, command: readonly string[], run: Omit<Run, "servers">, { connections, warmConnections }: { readonly connections: number; readonly warmConnections: number }): Promise<void> {
  const { client, hello, report } = run;
  if (nginxMissing() !== null) return report.skip("new connections/s", "nginx is not installed");
  const podFor = async (): Promise<number> => {
    const pod = await freePort();
    await startJsonPod(lab, "127.0.0.1", pod, "{}");
    return pod;
  };
  const servers = [...await startServers(lab, command, podFor), await startBareRelay(lab, await podFor())];
  for (const { port } of servers) await client.call("churn", { port, hello, lanes: LANES, connections: warmConnections });
  await compare({ ...run, servers }, "new connections", "/s", "us CPU/connection", async ({ name, pid, port }) => {
    const before = cpuSeconds(pid);
    const { seconds, failed } = await client.call("churn", { port, hello, lanes: LANES, connections });
    if (failed > 0) report.fail(`${name}: ${failed} of ${connections} connections brought no answer`);
    return { rate: connections / seconds, cpuUs: (cpuSeconds(pid) - before) * 1e6 / connections };
  });
}

/** What is in reach of a relay in this runtime. */
async function startBareRelay(lab: Lab, pod: number): Promise<Server> {
  const port = await freePort();
  const running = lab.spawn("bare-relay", [process.execPath, "--no-orphans", join(import.meta.dir, "../programs/bare-relay.ts"), `${port}`, `${pod}`]);
  await running.untilListening("127.0.0.1", port);
  return { name: "a relay in Bun that does nothing else", pid: running.pid, port, log: null };
}

type Measured = { readonly rate: number; readonly cpuUs: number };

/** Interleaved, after one of each that does not count. */
async function compare(
  { servers, rounds, report }: Run, what: string, unit: string, cpuUnit: string, measure: (server: Server) => Promise<Measured>,
): Promise<void> {
  const seen = servers.map((): Measured[] => []);
  for (const server of servers) await measure(server);
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, server] of servers.entries()) seen[index]!.push(await measure(server));
  }
  const ratesOf = (index: number): number[] => seen[index]!.map(({ rate }) => rate);
  for (const [index, { name }] of servers.entries()) {
    const cpu = median(seen[index]!.map(({ cpuUs }) => cpuUs));
    report.figure(`${what}, ${name}`, ratesOf(index), ` ${unit}`, [`${text(cpu)} ${cpuUnit}`]);
  }
  for (const [index, { name }] of servers.entries()) {
    if (index === 0) continue;
    const values = ratios(ratesOf(0), ratesOf(index));
    if (name === NGINX) report.bound({ what: `${what}, ${unit} beside ${name}`, values, unit: " x", limit: { atLeast: 0.9 } });
    else report.figure(`ours / ${name}`, values, ` x ${unit}`);
  }
}

async function idleTunnels({ client, hello, servers, report }: Run, wanted: number, warm: number): Promise<void> {
  const count = Math.min(wanted, Math.floor((openFilesLimit() - OTHER_FILES) / 2) - warm);
  if (count < wanted) report.note(`${count} idle tunnels instead of ${wanted}: no more open files are allowed (ulimit -Hn)`);
  for (const [index, { name, pid, port }] of servers.entries()) {
    await client.call("hold", { port, hello, count: warm });
    const before = await settledBytes(pid);
    await client.call("hold", { port, hello, count });
    const kib = (await settledBytes(pid) - before) / count / 1024;
    report.figure(`idle tunnel, ${name}`, [kib], ` KiB (of ${text(count)})`);
    const answering = await client.call("answering", { port });
    if (answering < warm + count) report.fail(`${name}: ${warm + count - answering} of ${warm + count} idle tunnels carry nothing`);
    if (index === 0) report.bound({ what: "idle tunnel, memory", values: [kib], unit: " KiB", limit: { atMost: 8 } });
  }
}
