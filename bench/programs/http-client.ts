// Program: HTTP load that wrk cannot make. A storm sends each of many tokens once; a paced load sends the same request at a
// fixed rate, whatever the answers do, and measures how long each one takes.

import { answerCalls } from "../lab/calls.ts";
import { type Latency, latency } from "../lab/statistics.ts";
import { Connection, tokenRequest } from "./connection.ts";

export type StormResult = { readonly seconds: number; readonly refused: number };
export type PacedResult = Latency & { readonly sent: number; readonly refused: number };

type Destination = { readonly port: number; readonly path: string; readonly connections: number };

const calls = { storm, paced };
export type HttpClientCalls = typeof calls;

/** Every token once, as fast as `connections` take them. */
async function storm({ port, path, connections, tokens }: Destination & { tokens: string[] }): Promise<StormResult> {
  const open = await openAll(port, connections);
  let next = 0;
  let refused = 0;
  const start = performance.now();
  await Promise.all(open.map(async (connection) => {
    for (let token = tokens[next++]; token !== undefined; token = tokens[next++]) {
      if (await connection.ask(tokenRequest(path, token)) !== 200) refused += 1;
    }
  }));
  const seconds = (performance.now() - start) / 1000;
  for (const connection of open) connection.close();
  return { seconds, refused };
}

/**
 * `rate` requests a second for `seconds`. When a request is due and no connection is free it waits, and that counts: a server
 * that stands still is seen by all requests that would have come meanwhile, not only by those that it has already.
 */
async function paced({ port, path, connections, token, rate, seconds }: Destination & { token: string; rate: number; seconds: number }): Promise<PacedResult> {
  const free = await openAll(port, connections);
  const all = [...free];
  const request = tokenRequest(path, token);
  const total = Math.round(rate * seconds);
  const took = new Float64Array(total);
  const waiting: Array<(connection: Connection) => void> = [];
  let refused = 0;
  async function one(index: number): Promise<void> {
    // From now, not from when it was due: a late timer is this process's delay, not the server's.
    const begin = performance.now();
    const connection = free.pop() ?? await new Promise<Connection>((resolve) => waiting.push(resolve));
    if (await connection.ask(request) !== 200) refused += 1;
    took[index] = performance.now() - begin;
    const next = waiting.shift();
    if (next === undefined) free.push(connection);
    else next(connection);
  }
  const running: Promise<void>[] = [];
  const start = performance.now();
  while (running.length < total) {
    const due = Math.min(total, Math.floor((performance.now() - start) / 1000 * rate) + 1);
    while (running.length < due) running.push(one(running.length));
    await Bun.sleep(1);
  }
  await Promise.all(running);
  for (const connection of all) connection.close();
  return { ...latency(took), sent: total, refused };
}

function openAll(port: number, count: number): Promise<Connection[]> {
  return Promise.all(Array.from({ length: count }, () => Connection.open("127.0.0.1", port)));
}

answerCalls(calls);
