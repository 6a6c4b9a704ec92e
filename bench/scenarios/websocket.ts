// WebSocket sessions through /websockify: one that is flooded with 16 KiB frames (a screen that is redrawn), one whose small
// messages go back and forth (a pointer that is moved), and thousands that nobody uses. nginx beside us is a plain proxy.

import { startGateway } from "../lab/gateway.ts";
import { freeDesktopAddress, type Lab } from "../lab/lab.ts";
import { nginxMissing, startPlainProxy } from "../lab/nginx.ts";
import { cpuSeconds, openFilesLimit, settledBytes } from "../lab/process-stats.ts";
import { type Report, text } from "../lab/report.ts";
import type { Bench, Scenario } from "../lab/scenario.ts";
import { type Bridge, checkAlive, type Client, interleave, measureEchoes, type Rounds } from "../lab/session-rounds.ts";
import { median, ratios } from "../lab/statistics.ts";
import type { WebSocketClientCalls } from "../programs/websocket-client.ts";
import type { WebSocketPodCalls } from "../programs/websocket-pod.ts";

const SIZES = {
  full: { rounds: 5, floodBytes: 1024 ** 3, echoes: 3000, idle: 4000, warmIdle: 200 },
  quick: { rounds: 3, floodBytes: 256 * 1024 ** 2, echoes: 1000, idle: 1000, warmIdle: 100 },
  tiny: { rounds: 1, floodBytes: 1024 ** 2, echoes: 20, idle: 20, warmIdle: 5 },
};

const VNC_PORT = 6081;
const FRAME_BYTES = 16 * 1024;
/** What the proxy has open beside two files a session. */
const OTHER_FILES = 100;

export const websocket: Scenario = {
  name: "websocket",
  summary: "16 KiB frames MB/s, 64-byte echo p50, memory of 4,000 idle sessions, against nginx",
  run: runWebSocket,
};

async function runWebSocket({ size, command, lab, report }: Bench): Promise<void> {
  const { rounds, floodBytes, echoes, idle, warmIdle } = SIZES[size];
  const load = `${text(floodBytes / 1024 ** 2)} MiB in 16 KiB frames, ${text(echoes)} echoes of 64 bytes`;
  report.heading(`websocket: ${load}, ${rounds} interleaved rounds; ${text(idle)} idle sessions`);
  if (nginxMissing() !== null) report.skip("WebSocket beside nginx", "nginx is not installed");
  const host = await freeDesktopAddress();
  await lab.program<WebSocketPodCalls>("websocket-pod.ts").call("listen", { host, port: VNC_PORT });
  const client = lab.program<WebSocketClientCalls>("websocket-client.ts");
  const busy = await startServers(lab, command, host);
  for (const { port, target } of busy) await client.call("open", { port, target, count: 1 });
  await bulk({ client, servers: busy, rounds, report }, floodBytes / FRAME_BYTES);
  await echo({ client, servers: busy, rounds, report }, echoes);
  await client.call("cutAll", undefined);
  // New ones: what a flood has left in a process would be used again, and the sessions would seem to cost nothing.
  await idleSessions(client, await startServers(lab, command, host), idle, warmIdle, report);
  await client.call("cutAll", undefined);
}

/** Ours first. */
async function startServers(lab: Lab, command: readonly string[], host: string): Promise<Bridge[]> {
  const gateway = await startGateway(lab, command);
  const ours = { ...gateway, target: `/websockify?jwt_token=${gateway.token(host)}` };
  if (nginxMissing() !== null) return [ours];
  const nginx = await startPlainProxy(lab, `http://${host}:${VNC_PORT}/`, `
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection upgrade;
        proxy_read_timeout 1800s;
        proxy_send_timeout 1800s;`);
  return [ours, { ...nginx, target: "/websockify" }];
}

async function bulk(run: Rounds, frames: number): Promise<void> {
  const megabytes = frames * FRAME_BYTES / 1e6;
  const seen = await interleave(run, async ({ pid, port }) => {
    const before = cpuSeconds(pid);
    const seconds = await run.client.call("flood", { port, frames, bytes: FRAME_BYTES });
    return { rate: megabytes / seconds, cpuUs: (cpuSeconds(pid) - before) * 1e6 / megabytes };
  });
  const rates = seen.map((rounds) => rounds.map(({ rate }) => rate));
  for (const [index, { name }] of run.servers.entries()) {
    const cpu = `${text(median(seen[index]!.map(({ cpuUs }) => cpuUs)))} us CPU/MB`;
    run.report.figure(`16 KiB frames, ${name}`, rates[index]!, " MB/s", [cpu]);
  }
  const [ours, nginx] = rates;
  if (ours === undefined || nginx === undefined) return;
  const found = ratios(ours, nginx);
  run.report.bound({ what: "16 KiB frames, MB/s beside nginx", values: found, unit: " x", limit: { atLeast: 1.5 } });
}

async function echo(run: Rounds, echoes: number): Promise<void> {
  const [ours, nginx] = (await measureEchoes(run, echoes)).p50Us;
  if (ours === undefined || nginx === undefined) return;
  run.report.bound({ what: "64-byte echo, p50 beside nginx", values: ratios(ours, nginx), unit: " x", limit: { atMost: 1 } });
}

async function idleSessions(
  client: Client, servers: readonly Bridge[], wanted: number, warm: number, report: Report,
): Promise<void> {
  const count = Math.min(wanted, Math.floor((openFilesLimit() - OTHER_FILES) / 2) - warm);
  if (count < wanted) report.note(`${count} idle sessions instead of ${wanted}: no more open files are allowed (ulimit -Hn)`);
  const kib: number[] = [];
  for (const server of servers) {
    const { name, pid, port, target } = server;
    await client.call("open", { port, target, count: warm });
    const before = await settledBytes(pid);
    await client.call("open", { port, target, count });
    const each = (await settledBytes(pid) - before) / count / 1024;
    kib.push(each);
    report.figure(`idle session, ${name}`, [each], ` KiB (of ${text(count)})`);
    await checkAlive(client, server, warm + count, report);
  }
  const [ours, nginx] = kib;
  if (ours === undefined) return;
  report.bound({ what: "idle session, memory", values: [ours], unit: " KiB", limit: { atMost: 14 } });
  if (nginx === undefined) return;
  report.bound({ what: "idle session, memory beside nginx", values: [ours / nginx], unit: " x", limit: { below: 1 } });
}
