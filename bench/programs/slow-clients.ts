// Program: clients that hold connections and hardly do anything on them, and the pod that answers whoever it may be with more than
// anybody reads. Heads and bodies drip a few bytes every few seconds, each client at its own moment; readers read nothing at all.

import type { Socket } from "bun";
import { answerCalls } from "../lab/calls.ts";

export type SlowKind = "heads" | "bodies" | "readers";

const DRIP_MS = 5000;
/** In turn, so that clients don't drip all at once; and no more new ones at a time than a listener's queue holds. */
const TURNS = 50;
const AT_ONCE = 100;

const PIECE = Buffer.alloc(256 * 1024, 97);

const calls = { listen, hold, connected, letGo };
export type SlowClientCalls = typeof calls;

const clients = new Set<Socket>();
let dripping: Timer | null = null;

/** A pod whose answer to a GET has so many bytes; anything else it hears out. */
function listen({ host, port, bytes }: { host: string; port: number; bytes: number }): void {
  Bun.listen<{ left: number }>({
    hostname: host, port,
    socket: {
      open: (socket) => { socket.data = { left: 0 }; },
      data: (socket, chunk) => {
        if (!chunk.toString("latin1", 0, 4).startsWith("GET ")) return;
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n\r\n`);
        socket.data.left += bytes;
        pump(socket);
      },
      drain: pump,
      error() {},
    },
  });
}

function pump(socket: Socket<{ left: number }>): void {
  while (socket.data.left > 0) {
    const piece = Math.min(PIECE.length, socket.data.left);
    const taken = socket.write(PIECE, 0, piece);
    if (taken > 0) socket.data.left -= taken;
    if (taken < piece) return;
  }
}

/** @returns how many came in */
async function hold({ port, kind, count }: { port: number; kind: SlowKind; count: number }): Promise<number> {
  while (clients.size < count) {
    const opened = await Promise.allSettled(Array.from({ length: Math.min(AT_ONCE, count - clients.size) }, () => open(port, kind)));
    if (opened.some(({ status }) => status === "rejected")) break;
  }
  const turns: Socket[][] = Array.from({ length: TURNS }, () => []);
  for (const [index, socket] of [...clients].entries()) turns[index % TURNS]?.push(socket);
  let turn = 0;
  dripping = setInterval(() => {
    turn = (turn + 1) % TURNS;
    for (const socket of turns[turn] ?? []) if (clients.has(socket)) socket.write(kind === "heads" ? "X-More: 1\r\n" : "x");
  }, DRIP_MS / TURNS);
  if (kind === "readers") clearInterval(dripping);
  return clients.size;
}

function open(port: number, kind: SlowKind): Promise<Socket> {
  return Bun.connect({
    hostname: "127.0.0.1", port,
    socket: {
      open: (socket) => {
        clients.add(socket);
        socket.write(BEGINNINGS[kind]);
        if (kind === "readers") socket.pause();
      },
      // A word from the server is its last one.
      data: (socket) => { socket.end(); },
      close: (socket) => { clients.delete(socket); },
      error() {},
    },
  });
}

const BEGINNINGS: Readonly<Record<SlowKind, string>> = {
  heads: "GET /slow HTTP/1.1\r\nHost: slow.test\r\n",
  bodies: "POST /slow HTTP/1.1\r\nHost: slow.test\r\nContent-Length: 1000000\r\n\r\n",
  readers: "GET /slow HTTP/1.1\r\nHost: slow.test\r\n\r\n",
};

/** @param looks whoever does not read would not see that it was cut: it reads now */
function connected({ looks }: { looks: boolean }): number {
  if (looks) for (const socket of clients) socket.resume();
  return clients.size;
}

function letGo(): void {
  if (dripping !== null) clearInterval(dripping);
  for (const socket of clients) socket.terminate();
  clients.clear();
}

answerCalls(calls);
