// Program: HTTP load that wrk cannot make. A storm sends each of many tokens once; a paced load sends the same request at a
// fixed rate, whatever the answers do, and measures how long each one takes.

import { answerCalls } from "../lab/calls.ts";
import { type Latency, latency } from "../lab/statistics.ts";
import { Connection, tokenRequest } from "./connection.ts";

export type StormResult = { readonly seconds: number; readonly refused: number };
export type PacedResult = Latency & { readonly sent: number; readonly refused: number };

type Destination = { readonly port: number; readonly path: string; readonly connections: number };

const calls = { storm, paced, stop };
export type HttpClientCalls = typeof calls;

let isStopping = false;

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
 * `rate` requests a second until `stop` is called. When a request is due and no connection is free it waits, and that counts:
 * a server that stands still is seen by all requests that would have come meanwhile, not only by those that it has already.
 */
async function paced({ port, path, connections, token, rate }: Destination & { token: string; rate: number }): Promise<PacedResult> {
  const load = new PacedLoad(await openAll(port, connections), tokenRequest(path, token));
  const running: Promise<void>[] = [];
  const start = performance.now();
  for (isStopping = false; !isStopping; await Bun.sleep(1)) {
    const due = (performance.now() - start) / 1000 * rate;
    while (running.length < due) running.push(load.send());
  }
  await Promise.all(running);
  load.close();
  return { ...latency(Float64Array.from(load.tookMs)), sent: running.length, refused: load.refused };
}

function stop(): void {
  isStopping = true;
}

class PacedLoad {
  readonly tookMs: number[] = [];
  refused = 0;
  readonly #free: Connection[];
  readonly #waiting: Array<(connection: Connection) => void> = [];

  constructor(private readonly connections: readonly Connection[], private readonly request: string) {
    this.#free = [...connections];
  }

  async send(): Promise<void> {
    // From now, not from when it was due: a late timer is this process's delay, not the server's.
    const begin = performance.now();
    const connection = this.#free.pop() ?? await new Promise<Connection>((resolve) => this.#waiting.push(resolve));
    if (await connection.ask(this.request) !== 200) this.refused += 1;
    this.tookMs.push(performance.now() - begin);
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(connection);
    else next(connection);
  }

  close(): void {
    for (const connection of this.connections) connection.close();
  }
}

function openAll(port: number, count: number): Promise<Connection[]> {
  return Promise.all(Array.from({ length: count }, () => Connection.open("127.0.0.1", port)));
}

answerCalls(calls);
