// Program: many clients that ask for the same thing at the same moment, each on a connection of its own that is open already.

import type { Socket } from "bun";
import { answerCalls } from "../lab/calls.ts";
import { HttpReader } from "./http-reader.ts";

export type StampedeResult = {
  /** Answers with 200 and as many bytes as were to come. */
  readonly good: number;
  /** From the first request to the first and the last good answer, ms. */
  readonly firstMs: number;
  readonly lastMs: number;
};

/** No more new ones at a time than a listener's queue holds. */
const AT_ONCE = 100;
const LIMIT_MS = 20_000;

const calls = { stampede };
export type StampedeCalls = typeof calls;

type Client = { readonly socket: Socket; readonly answered: Promise<boolean> };

async function stampede({ port, path, clients, bytes }: { port: number; path: string; clients: number; bytes: number }): Promise<StampedeResult> {
  const open: Client[] = [];
  while (open.length < clients) {
    open.push(...await Promise.all(Array.from({ length: Math.min(AT_ONCE, clients - open.length) }, () => connect(port, bytes))));
  }
  const begin = performance.now();
  const request = `GET ${path} HTTP/1.1\r\nHost: stampede.test\r\n\r\n`;
  for (const { socket } of open) socket.write(request);
  const goodMs: number[] = [];
  const answers = Promise.all(open.map(async ({ answered }) => { if (await answered) goodMs.push(performance.now() - begin); }));
  await Promise.race([answers, Bun.sleep(LIMIT_MS)]);
  for (const { socket } of open) socket.terminate();
  return { good: goodMs.length, firstMs: Math.min(...goodMs), lastMs: Math.max(...goodMs) };
}

async function connect(port: number, bytes: number): Promise<Client> {
  const { promise: answered, resolve } = Promise.withResolvers<boolean>();
  let isOk = false;
  let received = 0;
  const reader = new HttpReader((head) => { isOk = head.startsWith("HTTP/1.1 200 "); }, (piece) => { received += piece.length; }, () => resolve(isOk && received === bytes));
  const socket = await Bun.connect({
    hostname: "127.0.0.1", port,
    socket: { data: (_, piece) => reader.data(piece), close: () => resolve(false), error: () => resolve(false) },
  });
  return { socket, answered };
}

answerCalls(calls);
