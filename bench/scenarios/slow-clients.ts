// Thousands of slow clients beside normal ones: what a normal request takes meanwhile, what memory they cost, and that every one of
// them is cut when its time is over. Heads that never end, bodies that drip, and clients that read nothing of an answer.

import { readFileSync } from "node:fs";
import { freeDesktopAddress, freePort, type Lab, type Program } from "../lab/lab.ts";
import { cpuSeconds, growthBytes, openFilesLimit } from "../lab/process-stats.ts";
import { type Report, text } from "../lab/report.ts";
import type { Bench, Scenario, Server } from "../lab/scenario.ts";
import { median, ratios } from "../lab/statistics.ts";
import type { HttpClientCalls, PacedResult } from "../programs/http-client.ts";
import type { HttpPodCalls } from "../programs/http-pod.ts";
import type { SlowClientCalls, SlowKind } from "../programs/slow-clients.ts";

const SIZES = {
  full: { clients: 5000, seconds: 4, rounds: 3, waits: true },
  quick: { clients: 2000, seconds: 3, rounds: 1, waits: true },
  /** Nobody waits for the limits. */
  tiny: { clients: 20, seconds: 0.2, rounds: 1, waits: false },
};

const QUICK_PORT = 29786;
const SLOW_PORT = 29783;
/** A few hundred people at their desktops. */
const RATE = 500;
const CONNECTIONS = 32;
/** Too long to be collected. */
const LONG_ANSWER_BYTES = 64 * 1024 * 1024;
/** A second; high, so that a bench need not wait for minutes. */
const MINIMUM_RATE = "1MiB";

/**
 * When the last one should be gone, s: what Bun allows a head; ten seconds and the next drip for a body; ten for a
 * reader, four for what the kernel holds, and up to eight until Bun has closed it. And what it takes until the last has come in.
 */
const LIMITS_S: Readonly<Record<SlowKind, number>> = { heads: 16, bodies: 20, readers: 30 };

/** Of one slow client, connections of all ends included. */
const FILES = { direct: 2, counted: 4 } as const;
const OTHER_FILES = 500;

export const slowClients: Scenario = {
  name: "slow-clients",
  summary: "thousands of slow heads, bodies and readers: the p99 of others, memory, and when they are cut",
  run: runSlowClients,
};

type Kind = keyof typeof FILES;

type Run = {
  readonly server: Server; readonly clients: number; readonly seconds: number; readonly rounds: number; readonly waits: boolean;
  readonly paced: Program<HttpClientCalls>; readonly slow: Program<SlowClientCalls>; readonly report: Report;
};

async function runSlowClients({ size, command, lab, report }: Bench): Promise<void> {
  const { clients: wanted, seconds, rounds, waits } = SIZES[size];
  report.heading(`slow clients: ${text(wanted)} of each kind beside ${RATE} requests/s`);
  const host = await freeDesktopAddress();
  await lab.program<HttpPodCalls>("http-pod.ts").call("listen", { host, port: QUICK_PORT, body: JSON.stringify({ data: "x".repeat(280) }) });
  await lab.program<SlowClientCalls>("slow-clients.ts").call("listen", { host, port: SLOW_PORT, bytes: LONG_ANSWER_BYTES });
  const paced = lab.program<HttpClientCalls>("http-client.ts");
  const slow = lab.program<SlowClientCalls>("slow-clients.ts");
  for (const kind of ["direct", "counted"] as const) {
    const clients = Math.min(wanted, Math.floor((openFilesLimit() - OTHER_FILES) / FILES[kind]));
    if (clients < wanted) report.note(`${kind}: ${text(clients)} instead of ${text(wanted)}: no more open files are allowed (ulimit -Hn)`);
    const server = await start(lab, command, kind, host);
    for (const attack of ["heads", "bodies", "readers"] as const) await measure({ server, clients, seconds, rounds, waits, paced, slow, report }, attack);
  }
}

/** @param kind counted: connections are limited, which puts a listener of ours before Bun.serve */
async function start(lab: Lab, command: readonly string[], kind: Kind, host: string): Promise<Server> {
  const port = await freePort();
  const config = lab.write(`${kind}.yaml`, `
limits: { minimumRate: ${MINIMUM_RATE}, connections: ${kind === "counted" ? 50_000 : 0} }
services: { quick: { url: "http://${host}:${QUICK_PORT}" }, slow: { url: "http://${host}:${SLOW_PORT}" } }
routes: [{ path: /quick, service: quick }, { path: /slow, service: slow }]
`);
  const log = lab.path(`${kind}.log`);
  const running = lab.spawn("route-gateway", [...command, "serve", "--config", config, "--http", `127.0.0.1:${port}`], { stdout: log });
  await running.untilListening("127.0.0.1", port);
  return { name: kind, pid: running.pid, port, log };
}

/** What normal requests took: with nobody else there, while slow clients arrive, while they are there, and until the last has been cut. */
type Seen = { readonly quiet: PacedResult[]; readonly arriving: PacedResult[]; readonly beside: PacedResult[]; readonly leaving: PacedResult[]; readonly kib: number[]; readonly left: number[] };

async function measure(run: Run, attack: SlowKind): Promise<void> {
  const { server, clients, seconds, rounds, waits, slow, report } = run;
  const window = (): Promise<PacedResult> => normalLoad(run, () => Bun.sleep(seconds * 1000));
  await window();
  const seen: Seen = { quiet: [], arriving: [], beside: [], leaving: [], kib: [], left: [] };
  for (let round = 0; round < rounds; round += 1) {
    seen.quiet.push(await window());
    const startedMs = performance.now();
    let held = 0;
    const growth = await growthBytes(server.pid, async () => {
      seen.arriving.push(await normalLoad(run, async () => {
        held = await slow.call("hold", { port: server.port, kind: attack, count: clients });
        await untilCalm(server, held);
      }));
      seen.beside.push(await window());
      let isOver = false;
      const cut = untilCut(server.port, waits ? startedMs + LIMITS_S[attack] * 1000 : performance.now()).finally(() => { isOver = true; });
      // A connection of the load that is never used would be closed as a slow one.
      do seen.leaving.push(await normalLoad(run, () => Promise.all([Bun.sleep(LEAST_MS), Promise.race([cut, Bun.sleep(LOAD_MS)])]))); while (!isOver);
      seen.left.push(await cut);
    });
    seen.kib.push(growth / clients / 1024);
    if (held < clients) report.fail(`${attack}, ${server.name}: ${text(held)} of ${text(clients)} slow clients came in`);
    await slow.call("letGo", undefined);
  }
  describe(run, attack, seen);
}

const LOAD_MS = 4000;
/** A load that is to stop has to have begun. */
const LEAST_MS = 200;

/**
 * They have come in, and what they asked for has been done: little is left but the normal load. Whom a full queue has kept out, at
 * ours or at the pod, tries again after a second or three.
 */
async function untilCalm({ pid, port }: Server, held: number): Promise<void> {
  let calm = 0;
  for (let looks = 0; looks < LOOKS && calm < CALM_LOOKS; looks += 1) {
    const before = cpuSeconds(pid);
    await Bun.sleep(250);
    calm = cpuSeconds(pid) - before < 0.1 && ownedConnections(port) >= held ? calm + 1 : 0;
  }
}
const CALM_LOOKS = 5;
/** 6 s at most: heads are cut after ten, and come in at once; readers, of whom that takes longest, after fourteen. */
const LOOKS = 24;

/** @returns how many are still there when all should be gone */
async function untilCut(port: number, limitMs: number): Promise<number> {
  for (;;) {
    // The normal load has some of its own; what a reader's kernel was sent before it was cut stays with ours for a while, and is nobody's.
    const left = Math.max(0, ownedConnections(port) - CONNECTIONS);
    if (left === 0 || performance.now() > limitMs) return left;
    await Bun.sleep(200);
  }
}

/** Connections at this port that its process has accepted: established, or left by the client only; proc(5), net/tcp. */
function ownedConnections(port: number): number {
  // Their inode is 0 until then.
  const local = new RegExp(`^ *\\d+: [0-9A-F]+:${port.toString(16).toUpperCase().padStart(4, "0")} [0-9A-F]+:[0-9A-F]+ 0[18](?: +\\S+){5} +[1-9]`);
  return ["/proc/net/tcp", "/proc/net/tcp6"].flatMap((file) => readFileSync(file, "latin1").split("\n")).filter((line) => local.test(line)).length;
}

function describe({ server, clients, report }: Run, attack: SlowKind, { quiet, arriving, beside, leaving, kib, left }: Seen): void {
  const what = `slow ${attack}, ${server.name}`;
  const p99 = (results: readonly PacedResult[]): number[] => results.map(({ p99Ms }) => p99Ms);
  const words = (results: readonly PacedResult[]): string => `${text(median(p99(results)))} ms (longest ${text(Math.max(...results.map(({ maxMs }) => maxMs)))})`;
  report.figure(what, p99(beside), " ms p99", [`quiet ${words(quiet)}`, `while they arrive ${words(arriving)}`, `while they leave ${words(leaving)}`]);
  report.bound({ what: `${what}: p99 of others beside quiet`, values: ratios(p99(beside), p99(quiet)), unit: " x", limit: { atMost: 2 } });
  report.bound({ what: `${what}: memory of each`, values: kib, unit: " KiB", limit: { atMost: 1024 } });
  report.bound({ what: `${what}: of ${text(clients)} still connected after ${LIMITS_S[attack]} s`, values: left, unit: "", limit: { atMost: 0 } });
}

/** How long normal requests take while `work` is done. */
async function normalLoad({ paced, server: { port }, report }: Run, work: () => Promise<unknown>): Promise<PacedResult> {
  const load = paced.call("paced", { port, path: "/quick", connections: CONNECTIONS, token: "none", rate: RATE });
  await work();
  await paced.call("stop", undefined);
  const result = await load;
  if (result.refused > 0) report.fail(`normal load: ${result.refused} of ${result.sent} requests were refused`);
  return result;
}
