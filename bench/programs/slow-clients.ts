// Program: clients that hold connections and hardly do anything on them, and the pod that answers whoever it may be with more than
// anybody reads. Heads and bodies drip a few bytes every few seconds, each client at its own moment; readers read nothing at all.
//
// Readers are made by libc: they say that they take segments of an Ethernet's size. For loopback's own size the kernel keeps some
// megabytes for each before the server sees that nobody reads, which it does for no client from afar.

import type { Socket } from "bun";
import { dlopen, ptr } from "bun:ffi";
import { answerCalls } from "../lab/calls.ts";

export type SlowKind = "heads" | "bodies" | "readers";

const DRIP_MS = 5000;
/** In turn, so that clients don't drip all at once; and no more new ones at a time than a listener's queue holds. */
const TURNS = 1000;
const AT_ONCE = 100;

const PIECE = Buffer.alloc(256 * 1024, 97);

const calls = { listen, hold, letGo };
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
  if (kind === "readers") return holdReaders(port, count);
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
  return clients.size;
}

function open(port: number, kind: SlowKind): Promise<Socket> {
  return Bun.connect({
    hostname: "127.0.0.1", port,
    socket: {
      open: (socket) => {
        clients.add(socket);
        socket.write(BEGINNINGS[kind]);
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

function letGo(): void {
  if (dripping !== null) clearInterval(dripping);
  for (const socket of clients) socket.terminate();
  clients.clear();
  for (const fd of readers) close(fd);
}

// ---- readers

const libc = dlopen("libc.so.6", {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
  connect: { args: ["i32", "ptr", "u32"], returns: "i32" },
  send: { args: ["i32", "ptr", "u64", "i32"], returns: "i64" },
  close: { args: ["i32"], returns: "i32" },
}).symbols;

/** Linux. */
const AF_INET = 2;
const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const IPPROTO_TCP = 6;
const TCP_MAXSEG = 2;
const MSG_NOSIGNAL = 0x4000;

const readers = new Set<number>();

async function holdReaders(port: number, count: number): Promise<number> {
  while (readers.size < count) {
    const fd = openReader(port);
    if (fd === null) break;
    readers.add(fd);
    if (readers.size % AT_ONCE === 0) await Bun.sleep(1);
  }
  return readers.size;
}

function openReader(port: number): number | null {
  const fd = libc.socket(AF_INET, SOCK_STREAM, 0);
  for (const [level, option, value] of [[IPPROTO_TCP, TCP_MAXSEG, 1460], [SOL_SOCKET, SO_RCVBUF, 4096]] as const) libc.setsockopt(fd, level, option, ptr(new Int32Array([value])), 4);
  // struct sockaddr_in
  const address = Buffer.alloc(16);
  address.writeUInt16LE(AF_INET, 0);
  address.writeUInt16BE(port, 2);
  address.set([127, 0, 0, 1], 4);
  const request = Buffer.from(BEGINNINGS.readers);
  if (libc.connect(fd, ptr(address), address.length) === 0 && Number(libc.send(fd, ptr(request), request.length, MSG_NOSIGNAL)) === request.length) return fd;
  libc.close(fd);
  return null;
}

function close(fd: number): void {
  readers.delete(fd);
  libc.close(fd);
}

answerCalls(calls);
