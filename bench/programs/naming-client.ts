// Program: the same GET again and again on many connections, and who answered it. A request that gets no good answer is counted by
// what became of it, and never sent again: what fails here, a user would have seen.

import { cpuUsage } from "node:process";
import type { Socket } from "bun";
import { answerCalls } from "../lab/calls.ts";

export type NamingResult = {
  readonly seconds: number;
  /** CPU time of this process, s. */
  readonly cpuSeconds: number;
  readonly byName: Readonly<Record<string, number>>;
  /** By the answer's status, or "closed", "unanswered". */
  readonly failed: Readonly<Record<string, number>>;
};

/** No answer for this long is no answer. */
const LIMIT_MS = 10_000;

const calls = { start, take, stop };
export type NamingClientCalls = typeof calls;

let clients: NamingClient[] = [];
let byName: Record<string, number> = {};
let failed: Record<string, number> = {};
let since = { ms: 0, cpu: cpuUsage() };

async function start({ port, connections }: { port: number; connections: number }): Promise<void> {
  clients = Array.from({ length: connections }, () => new NamingClient(port));
  await Promise.all(clients.map((client) => client.connect()));
  take();
  for (const client of clients) client.ask();
}

/** What there was since the last call. */
function take(): NamingResult {
  const spent = cpuUsage(since.cpu);
  const taken = { seconds: (performance.now() - since.ms) / 1000, cpuSeconds: (spent.user + spent.system) / 1e6, byName, failed };
  byName = {};
  failed = {};
  since = { ms: performance.now(), cpu: cpuUsage() };
  return taken;
}

/** What is under way is waited for. @returns what there was since the last `take` */
async function stop(): Promise<NamingResult> {
  const deadline = performance.now() + LIMIT_MS;
  for (const client of clients) client.isStopping = true;
  while (clients.some(({ isAsking }) => isAsking) && performance.now() < deadline) await Bun.sleep(5);
  for (const client of clients) client.close();
  return take();
}

function count(table: Record<string, number>, name: string): void {
  table[name] = (table[name] ?? 0) + 1;
}

class NamingClient {
  isStopping = false;
  isAsking = false;
  #socket: Socket | null = null;
  #text = "";

  constructor(private readonly port: number) {}

  async connect(): Promise<void> {
    this.#socket = await Bun.connect({
      hostname: "127.0.0.1", port: this.port,
      socket: { data: (_, bytes) => this.#data(bytes), close: () => void this.#closed(), error() {} },
    });
  }

  ask(): void {
    if (this.isStopping) return;
    this.isAsking = true;
    this.#socket?.write("GET /name HTTP/1.1\r\nHost: names.test\r\n\r\n");
  }

  close(): void {
    if (this.isAsking) count(failed, "unanswered");
    this.isAsking = false;
    this.#socket?.terminate();
  }

  #data(bytes: Buffer): void {
    this.#text += bytes.toString("latin1");
    const end = this.#text.indexOf("\r\n\r\n");
    if (end < 0) return;
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(this.#text)?.[1] ?? NaN);
    if (this.#text.length < end + 4 + length) return;
    const status = this.#text.slice(9, 12);
    if (status === "200") count(byName, this.#text.slice(end + 4));
    else count(failed, status);
    this.#text = "";
    this.isAsking = false;
    this.ask();
  }

  async #closed(): Promise<void> {
    if (this.isAsking) count(failed, "closed");
    this.isAsking = false;
    this.#text = "";
    if (this.isStopping) return;
    try {
      await this.connect();
      this.ask();
    } catch {
      count(failed, "not connected");
    }
  }
}

answerCalls(calls);
