// Program: a pod whose answers are waited for: long polls. Nobody hears anything until all are answered at once.

import type { Socket } from "bun";
import { answerCalls } from "../lab/calls.ts";

const BODY = JSON.stringify({ events: [] });
const ANSWER = `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`;

const calls = { listen, count, answerAll };
export type HangingPodCalls = typeof calls;

const waiting = new Set<Socket>();

function listen({ host, port }: { host: string; port: number }): void {
  Bun.listen({
    hostname: host, port,
    socket: {
      // A request of ours has no body and comes in one piece.
      data: (socket, bytes) => { if (bytes.toString("latin1", 0, 4) === "GET ") waiting.add(socket); },
      close: (socket) => { waiting.delete(socket); },
      error() {},
    },
  });
}

/** Those that wait. */
function count(): number {
  return waiting.size;
}

/** @returns how many waited */
function answerAll(): number {
  const { size } = waiting;
  for (const socket of waiting) socket.write(ANSWER);
  waiting.clear();
  return size;
}

answerCalls(calls);
