// Consoles of VMs: route-gateway in front of a WebSocket as KubeVirt's, beside websockify in front of a TCP server as Xvnc.
// Both ends obey the same orders, and the same client gives them; what stands in between is not the same work, see README.md.

import { makeCertificate } from "../lab/certificate.ts";
import { CONSOLE_PATH, startConsoles } from "../lab/consoles-gateway.ts";
import type { Lab } from "../lab/lab.ts";
import { opensslMissing } from "../lab/openssl.ts";
import { cpuSeconds, openFilesLimit, proportionalBytes, settledBytes } from "../lab/process-stats.ts";
import { type Limit, type Report, text } from "../lab/report.ts";
import type { Bench, Scenario } from "../lab/scenario.ts";
import { type Bridge, checkAlive, type Client, interleave, measureEchoes, type Rounds } from "../lab/session-rounds.ts";
import { median, ratios } from "../lab/statistics.ts";
import { startWebsockify, WEBSOCKIFY_PROTOCOL, websockifyMissing } from "../lab/websockify.ts";
import type { ConsoleSenderCalls } from "../programs/console-sender.ts";
import type { WebSocketClientCalls } from "../programs/websocket-client.ts";

/** Idle sessions: ours, theirs, and of each as many that are there before the measurement. */
const SIZES = {
  full: { rounds: 5, bytes: 1024 ** 3, echoes: 3000, idle: 1000, idleTheirs: 200, warm: 100, warmTheirs: 20 },
  quick: { rounds: 3, bytes: 256 * 1024 ** 2, echoes: 1000, idle: 300, idleTheirs: 50, warm: 50, warmTheirs: 5 },
  tiny: { rounds: 1, bytes: 1024 ** 2, echoes: 20, idle: 20, idleTheirs: 5, warm: 5, warmTheirs: 2 },
};

/** What websockify reads at once, and so makes a frame of. */
const FRAME_BYTES = 64 * 1024;
/** What KubeVirt's copy loop reads at once: its buffer of 10 KiB, less the longest header of a frame. */
const KUBEVIRT_FRAME_BYTES = 10 * 1024 - 14;
/** What the proxy has open beside two files a session. */
const OTHER_FILES = 100;
const TOKEN = "a-service-account-token-of-the-bench";

export const consoles: Scenario = {
  name: "consoles",
  summary: "a VM's console: MB/s, 64-byte echo p50, memory of a session, against websockify",
  run: runConsoles,
};

/** Where the servers find their consoles. */
type Backends = { readonly tcpPort: number; readonly plainPort: number; readonly secure: SecureApi | null };
type SecureApi = { readonly port: number; readonly caFile: string; readonly tokenFile: string };

/** plain and tls are ours; what is promised is promised for a plain API. */
type Console = Bridge & { readonly kind: "plain" | "tls" | "theirs" };

type Run = Rounds<Console>;

async function runConsoles({ size, command, lab, report }: Bench): Promise<void> {
  const { rounds, bytes, echoes, idle, idleTheirs, warm, warmTheirs } = SIZES[size];
  const load = `${text(bytes / 1024 ** 2)} MiB, ${text(echoes)} echoes of 64 bytes`;
  report.heading(`consoles: ${load}, ${rounds} interleaved rounds; ${text(idle)} idle sessions, ${text(idleTheirs)} of websockify`);
  const missing = websockifyMissing();
  if (missing !== null) report.skip("consoles beside websockify", missing);
  const backends = await startBackends(lab, report);
  const client = lab.program<WebSocketClientCalls>("websocket-client.ts");
  const busy = await startServers(lab, command, backends);
  for (const server of busy) await open(client, server, 1);
  const run = { client, servers: busy, rounds, report };
  await bulk(run, bytes, FRAME_BYTES, "64 KiB frames");
  await bulk(run, bytes, KUBEVIRT_FRAME_BYTES, "KubeVirt's frames");
  await echo(run, echoes);
  await client.call("cutAll", undefined);
  // New ones: what the bulk has left in a process would be used again, and the sessions would seem to cost nothing.
  const fresh = await startServers(lab, command, backends);
  const ours = [allowed(idle, warm, report), warm] as const;
  const counts = { plain: ours, tls: ours, theirs: [idleTheirs, warmTheirs] } as const;
  await idleSessions({ ...run, servers: fresh }, counts);
  await client.call("cutAll", undefined);
}

/** Each in a process of its own. */
async function startBackends(lab: Lab, report: Report): Promise<Backends> {
  const sender = (): ReturnType<typeof lab.program<ConsoleSenderCalls>> => lab.program<ConsoleSenderCalls>("console-sender.ts");
  const tcpPort = await sender().call("listenTcp", undefined);
  const plainPort = await sender().call("listenWebSocket", { path: CONSOLE_PATH, secured: null });
  const missing = opensslMissing();
  if (missing !== null) {
    report.skip("consoles with TLS to the API", missing);
    return { tcpPort, plainPort, secure: null };
  }
  const { caFile, key, cert } = await makeCertificate(lab);
  const port = await sender().call("listenWebSocket", { path: CONSOLE_PATH, secured: { key, cert, token: TOKEN } });
  return { tcpPort, plainPort, secure: { port, caFile, tokenFile: lab.write("service-account-token", `${TOKEN}\n`) } };
}

/** websockify in the middle: each of ours runs directly before or after it. */
async function startServers(lab: Lab, command: readonly string[], { tcpPort, plainPort, secure }: Backends): Promise<Console[]> {
  const servers: Console[] = [{ ...await startConsoles(lab, command, { port: plainPort, account: null }), kind: "plain" }];
  if (websockifyMissing() === null) servers.push({ ...await startWebsockify(lab, tcpPort), target: "/websockify", kind: "theirs" });
  if (secure !== null) servers.push({ ...await startConsoles(lab, command, { port: secure.port, account: secure }), kind: "tls" });
  return servers;
}

/** As an old noVNC does it, which offers what websockify speaks; both of them choose it. */
async function open(client: Client, { port, target }: Console, count: number): Promise<void> {
  await client.call("open", { port, target, count, protocol: WEBSOCKIFY_PROTOCOL });
}

/** websockify makes its own frames in both cases. */
async function bulk(run: Run, bytes: number, frameBytes: number, what: string): Promise<void> {
  const megabytes = bytes / 1e6;
  const seen = await interleave(run, async ({ pid, port }) => {
    const before = cpuSeconds(pid);
    const { seconds, frames } = await run.client.call("stream", { port, bytes, frameBytes });
    return { rate: megabytes / seconds, cpuUs: (cpuSeconds(pid) - before) * 1e6 / megabytes, frameBytes: bytes / frames };
  });
  const rates = seen.map((rounds) => rounds.map(({ rate }) => rate));
  for (const [index, { name }] of run.servers.entries()) {
    const cpu = `${text(median(seen[index]!.map(({ cpuUs }) => cpuUs)))} us CPU/MB`;
    const frames = `frames of ${text(median(seen[index]!.map(({ frameBytes }) => frameBytes)))} bytes`;
    run.report.figure(`${what}, ${name}`, rates[index]!, " MB/s", [cpu, frames]);
  }
  compare(run, rates, `${what}, MB/s`, frameBytes === FRAME_BYTES ? { plain: { atLeast: 1 } } : {});
}

async function echo(run: Run, echoes: number): Promise<void> {
  const { p50Us, p99Us } = await measureEchoes(run, echoes);
  compare(run, p50Us, "64-byte echo, p50", { plain: { atMost: 1 } });
  compare(run, p99Us, "64-byte echo, p99", {});
}

type Counts = { readonly [kind in Console["kind"]]: readonly [count: number, warm: number] };

/** One process of ours grows, one of theirs forks: of a family, shared pages are counted in parts. */
async function idleSessions(run: Run, counts: Counts): Promise<void> {
  const { client, servers, report } = run;
  const kib: number[][] = [];
  for (const server of servers) {
    const [count, warm] = counts[server.kind];
    await open(client, server, warm);
    const before = await settledBytes(server.pid, proportionalBytes);
    await open(client, server, count);
    const each = (await settledBytes(server.pid, proportionalBytes) - before) / count / 1024;
    kib.push([each]);
    report.figure(`idle session, ${server.name}`, [each], ` KiB (of ${text(count)})`);
    await checkAlive(client, server, warm + count, report);
  }
  compare(run, kib, "idle session, memory", { plain: { below: 1 }, tls: { below: 1 } });
}

type Limits = { readonly [kind in Console["kind"]]?: Limit };

/** Each of ours with theirs, if that is here: judged where there is a limit. @param values a list for each server */
function compare({ servers, report }: Run, values: readonly number[][], what: string, limits: Limits): void {
  const theirs = values[servers.findIndex(({ kind }) => kind === "theirs")];
  if (theirs === undefined) return;
  for (const [index, { kind, name }] of servers.entries()) {
    if (kind === "theirs") continue;
    const [found, limit] = [ratios(values[index]!, theirs), limits[kind]];
    if (limit === undefined) report.figure(`${name} / websockify`, found, " x", [what]);
    else report.bound({ what: `${what} of ${name} beside websockify`, values: found, unit: " x", limit });
  }
}

/** As many of `wanted` sessions as there may be open files for. */
function allowed(wanted: number, warm: number, report: Report): number {
  const count = Math.min(wanted, Math.floor((openFilesLimit() - OTHER_FILES) / 2) - warm);
  if (count < wanted) report.note(`${count} idle sessions instead of ${wanted}: no more open files are allowed (ulimit -Hn)`);
  return count;
}
