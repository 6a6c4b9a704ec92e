// Program: many WebSocket sessions, or one at work. Sessions stay open between calls, by the port that they go to.

import { answerCalls } from "../lab/calls.ts";
import { type Latency, latency } from "../lab/statistics.ts";
import { encodeOrder, type Order } from "./console-order.ts";
import type { Flood } from "./websocket-pod.ts";
import { WebSocketSession } from "./websocket-session.ts";

/** Handshakes under way at a time. */
const OPENING = 50;

type Opening = { readonly port: number; readonly target: string; readonly count: number; readonly protocol?: string };

export type Streamed = { readonly seconds: number; readonly frames: number };

const calls = { open, count, flood, stream, echo, cutAll };
export type WebSocketClientCalls = typeof calls;

const sessions = new Map<number, WebSocketSession[]>();

async function open({ port, target, count, protocol }: Opening): Promise<void> {
  const list = sessions.get(port) ?? [];
  sessions.set(port, list);
  for (let left = count; left > 0; left -= OPENING) {
    const opening = Array.from({ length: Math.min(OPENING, left) }, () => WebSocketSession.open(port, target, protocol));
    list.push(...await Promise.all(opening));
  }
}

/** Sessions that are still open. */
function count({ port }: { port: number }): number {
  return (sessions.get(port) ?? []).filter((session) => session.isOpen).length;
}

/** On the first session: asks for frames. @returns seconds until the last one was there */
async function flood({ port, ...wanted }: Flood & { port: number }): Promise<number> {
  const session = first(port);
  const { promise: done, resolve, reject } = Promise.withResolvers<void>();
  let left = wanted.frames;
  session.onError = reject;
  session.onMessage = (bytes) => {
    if (bytes !== wanted.bytes) reject(new Error(`a message of ${bytes} bytes`));
    left -= 1;
    if (left === 0) resolve();
  };
  const start = performance.now();
  session.send(Buffer.from(JSON.stringify(wanted)), true);
  await done;
  return (performance.now() - start) / 1000;
}

/** On the first session: orders bytes from a console's sender, in frames of whatever size the proxy hands on. */
async function stream({ port, ...order }: Order & { port: number }): Promise<Streamed> {
  const session = first(port);
  const { promise: done, resolve, reject } = Promise.withResolvers<void>();
  let left = order.bytes;
  let frames = 0;
  session.onError = reject;
  session.onMessage = (bytes) => {
    left -= bytes;
    frames += 1;
    if (left < 0) reject(new Error(`${-left} bytes more than ordered`));
    if (left === 0) resolve();
  };
  const start = performance.now();
  session.send(encodeOrder(order));
  await done;
  return { seconds: (performance.now() - start) / 1000, frames };
}

/** On the newest session: `rounds` messages, each sent when the one before is back. */
async function echo({ port, bytes, rounds }: { port: number; bytes: number; rounds: number }): Promise<Latency> {
  const session = sessions.get(port)?.at(-1) ?? first(port);
  const content = Buffer.alloc(bytes);
  const took = new Float64Array(rounds);
  for (let round = 0; round < rounds; round += 1) {
    content.writeUInt32BE(round, 0);
    const { promise: back, resolve, reject } = Promise.withResolvers<void>();
    session.onError = reject;
    session.onMessage = (_, received) => received?.equals(content) === true ? resolve() : reject(new Error("another message came back"));
    const begin = performance.now();
    session.send(content);
    await back;
    took[round] = performance.now() - begin;
  }
  return latency(took);
}

function cutAll(): void {
  for (const session of [...sessions.values()].flat()) session.cut();
  sessions.clear();
}

function first(port: number): WebSocketSession {
  const session = sessions.get(port)?.[0];
  if (session === undefined) throw new Error(`no session to port ${port}`);
  return session;
}

answerCalls(calls);
