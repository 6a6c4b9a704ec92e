// Start: from exec to the first answer, and the memory of an idle server. The clock starts before the process is made, so
// making it counts too; the bench's own code has run once before, so that only the start of route-gateway is measured.

import { makeKeys, spawnGateway, type Keys } from "../lab/gateway.ts";
import { freePort, type Lab } from "../lab/lab.ts";
import { residentBytes } from "../lab/process-stats.ts";
import type { Bench, Scenario } from "../lab/scenario.ts";
import { Connection } from "../programs/connection.ts";

const SIZES = { full: { starts: 10, idleMs: 1000 }, quick: { starts: 10, idleMs: 300 }, tiny: { starts: 2, idleMs: 50 } };

const START_LIMIT_MS = 10_000;

export const start: Scenario = {
  name: "start",
  summary: "exec to the first answer, and idle memory",
  run: runStart,
};

async function runStart({ size, command, lab, report }: Bench): Promise<void> {
  const { starts, idleMs } = SIZES[size];
  report.heading(`start: ${starts} times, memory after ${idleMs} ms of idling`);
  const keys = makeKeys();
  await oneStart(lab, command, keys, idleMs);
  const answerMs: number[] = [];
  const idleMb: number[] = [];
  for (let round = 0; round < starts; round += 1) {
    const seen = await oneStart(lab, command, keys, idleMs);
    answerMs.push(seen.answerMs);
    idleMb.push(seen.idleBytes / 1e6);
  }
  report.bound({ what: "first answer after exec", values: answerMs, unit: " ms", limit: { atMost: 60 } });
  report.bound({ what: "idle memory (Rss)", values: idleMb, unit: " MB", limit: { atMost: 60 } });
}

type Seen = { readonly answerMs: number; readonly idleBytes: number };

async function oneStart(lab: Lab, command: readonly string[], keys: Keys, idleMs: number): Promise<Seen> {
  const port = await freePort();
  const begin = performance.now();
  const { running } = spawnGateway(lab, command, keys, port);
  while (!(await answers(port))) {
    if (running.child.exitCode !== null) throw new Error(`route-gateway ended with ${running.child.exitCode}: ${running.complaint}`);
    if (performance.now() - begin > START_LIMIT_MS) throw new Error(`no answer within ${START_LIMIT_MS / 1000} s`);
  }
  const answerMs = performance.now() - begin;
  await Bun.sleep(idleMs);
  const idleBytes = residentBytes(running.pid);
  await lab.stop(running);
  return { answerMs, idleBytes };
}

/** Tried again a millisecond later at the earliest: a loop without a pause would take a core from what it measures. */
async function answers(port: number): Promise<boolean> {
  try {
    const connection = await Connection.open("127.0.0.1", port);
    const status = await connection.ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    connection.close();
    return status === 200;
  } catch {
    // Refused: it does not listen yet.
    await Bun.sleep(1);
    return false;
  }
}
