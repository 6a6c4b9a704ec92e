// A program that uses the library, told line by line on its standard input what to do, and answering with a line each. When
// the input ends it does nothing more, so that only what the library leaves open could keep it. Started by LibraryProgram.

import { existsSync, readdirSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { WebsocketProxy, type WebsocketProxyOptions } from "../../src/index.ts";

export type Order =
  | { readonly do: "new"; readonly options: WebsocketProxyOptions }
  | { readonly do: "run" | "runInThread"; readonly port: number }
  | { readonly do: "stopThread" }
  /** Keeps this thread busy for a second, and until the file is there. */
  | { readonly do: "spin"; readonly file: string }
  | { readonly do: "counts" };

/** `begun`: what was ordered is under way. */
export type Answer = { readonly id: number; readonly begun?: true; readonly error?: string; readonly code?: string; readonly value?: unknown };

const SPIN_MS = 1000;
const SPIN_LIMIT_MS = 20_000;

let proxy: WebsocketProxy | null = null;

for await (const line of createInterface({ input: process.stdin })) {
  const { id, ...order } = JSON.parse(line) as Order & { id: number };
  const value = obey(order as Order, id);
  say({ id, begun: true });
  // Not waited for: the next order may come during this one.
  void value.then((value) => say({ id, value }), ({ message, code }: NodeJS.ErrnoException) => say({ id, error: message, ...(code === undefined ? {} : { code }) }));
}

async function obey(order: Order, id: number): Promise<unknown> {
  switch (order.do) {
    case "new": proxy = new WebsocketProxy(order.options); return null;
    case "run": return await proxy?.run("127.0.0.1", order.port);
    case "runInThread": await proxy?.runInThread("127.0.0.1", order.port); return proxy?.port;
    case "stopThread": await proxy?.stopThread(); return proxy?.url;
    case "spin": return spin(order.file, id);
    case "counts": return { port: proxy?.port, url: proxy?.url, descriptors: count("fd"), threads: count("task") };
  }
}

function spin(file: string, id: number): void {
  say({ id, begun: true });
  const startedMs = performance.now();
  while (performance.now() < startedMs + SPIN_MS || !existsSync(file)) {
    if (performance.now() > startedMs + SPIN_LIMIT_MS) throw new Error("nobody ended the spinning");
  }
}

function count(what: "fd" | "task"): number {
  return readdirSync(`/proc/self/${what}`).length;
}

/** Written at once, also while this thread is about to be busy. */
function say(answer: Answer): void {
  writeSync(1, `${JSON.stringify(answer)}\n`);
}
