// What scenarios of WebSocket sessions share: interleaved rounds through several bridges, the echo of small messages, and the
// proof that idle sessions are alive.

import type { WebSocketClientCalls } from "../programs/websocket-client.ts";
import type { Program } from "./lab.ts";
import { cpuSeconds } from "./process-stats.ts";
import { type Report, text } from "./report.ts";
import type { Server } from "./scenario.ts";
import { median } from "./statistics.ts";

export const ECHO_BYTES = 64;

export type Client = Program<WebSocketClientCalls>;

/** A server with the path and query that clients open a session with. */
export type Bridge = Server & { readonly target: string };

export type Rounds<Server extends Bridge = Bridge> = {
  readonly client: Client;
  readonly servers: readonly Server[];
  readonly rounds: number;
  readonly report: Report;
};

/** One measurement of each server a round, after one of each that does not count. @returns a list for each server */
export async function interleave<Server extends Bridge, T>(
  { servers, rounds }: Rounds<Server>, measure: (server: Server) => Promise<T>,
): Promise<T[][]> {
  const seen = servers.map((): T[] => []);
  for (const server of servers) await measure(server);
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, server] of servers.entries()) seen[index]!.push(await measure(server));
  }
  return seen;
}

/** A list for each server, with a percentile of each round's echoes, us. */
export type EchoTimes = { readonly p50Us: number[][]; readonly p99Us: number[][] };

/** Prints the figures as well. */
export async function measureEchoes(run: Rounds, echoes: number): Promise<EchoTimes> {
  const seen = await interleave(run, async ({ pid, port }) => {
    const before = cpuSeconds(pid);
    const took = await run.client.call("echo", { port, bytes: ECHO_BYTES, rounds: echoes });
    return { ...took, cpuUs: (cpuSeconds(pid) - before) * 1e6 / echoes };
  });
  const p50Us = seen.map((list) => list.map(({ p50Ms }) => p50Ms * 1000));
  const p99Us = seen.map((list) => list.map(({ p99Ms }) => p99Ms * 1000));
  for (const [index, { name }] of run.servers.entries()) {
    const cpuUs = seen[index]!.map((round) => round.cpuUs);
    const beside = [`p99 ${text(median(p99Us[index]!))} us`, `${text(median(cpuUs))} us CPU/echo`];
    run.report.figure(`64-byte echo, ${name}`, p50Us[index]!, " us p50", beside);
  }
  return { p50Us, p99Us };
}

/** Open is not enough: the newest one must still carry messages. */
export async function checkAlive(client: Client, { name, port }: Bridge, opened: number, report: Report): Promise<void> {
  const open = await client.call("count", { port });
  if (open < opened) report.fail(`${name}: ${opened - open} of ${opened} idle sessions were closed`);
  await client.call("echo", { port, bytes: ECHO_BYTES, rounds: 10 });
}
