// Program: the far end of a VM's console, as a TCP server (Xvnc, which websockify stands in front of) or as the WebSocket of
// KubeVirt at the Kubernetes API. Both do as the orders of console-order.ts say; neither makes pictures.

import { answerCalls } from "../lab/calls.ts";
import { decodeOrder, ORDER_BYTES, type Order } from "./console-order.ts";

export type ConsoleApi = {
  /** Everything else is answered with 404. */
  readonly path: string;
  /** With it TLS is spoken and the service account's token asked for; null: plain ws, as beside `kubectl proxy`. */
  readonly secured: { readonly key: string; readonly cert: string; readonly token: string } | null;
};

const HOST = "127.0.0.1";
const PROTOCOL = "plain.kubevirt.io";
/** What is given to a TCP socket at once; the kernel takes what it has room for. */
const PIECE = Buffer.alloc(256 * 1024, 0x5a);

/** What is left of the order, and what has come of the next one. */
type Stream = { left: number; start: Buffer };
type Frames = { left: number; frame: Buffer };

const calls = { listenTcp, listenWebSocket };
export type ConsoleSenderCalls = typeof calls;

/** @returns the port */
function listenTcp(): number {
  return Bun.listen<Stream>({
    hostname: HOST, port: 0,
    socket: {
      open(socket) {
        socket.data = { left: 0, start: Buffer.alloc(0) };
        socket.setNoDelay(true);
      },
      data(socket, bytes) {
        let rest = Buffer.concat([socket.data.start, bytes]);
        for (; rest.length >= ORDER_BYTES; rest = rest.subarray(ORDER_BYTES)) obey(socket, rest.subarray(0, ORDER_BYTES));
        socket.data.start = rest;
      },
      drain: pour,
      // Whoever is cut off in the middle is of no interest: the bench sees it at its own end.
      error() {},
    },
  }).port;
}

function obey(socket: Bun.Socket<Stream>, message: Buffer): void {
  const order = decodeOrder(message);
  if (order === null) return void socket.write(message);
  socket.data.left = order.bytes;
  pour(socket);
}

/** Until it is done or the kernel takes no more; then `drain` goes on. */
function pour(socket: Bun.Socket<Stream>): void {
  while (socket.data.left > 0) {
    const wanted = Math.min(PIECE.length, socket.data.left);
    const taken = socket.write(PIECE, 0, wanted);
    if (taken > 0) socket.data.left -= taken;
    if (taken < wanted) return;
  }
}

/** @returns the port */
function listenWebSocket({ path, secured }: ConsoleApi): number {
  return Bun.serve<Frames>({
    hostname: HOST, port: 0, reusePort: false,
    ...(secured === null ? {} : { tls: { key: secured.key, cert: secured.cert } }),
    fetch(request, server) {
      if (new URL(request.url).pathname !== path) return new Response("no such console\n", { status: 404 });
      if (secured !== null && request.headers.get("authorization") !== `Bearer ${secured.token}`) return new Response("who?\n", { status: 401 });
      if (request.headers.get("sec-websocket-protocol") !== PROTOCOL) return new Response("which protocol?\n", { status: 400 });
      const options = { data: { left: 0, frame: PIECE }, headers: { "Sec-WebSocket-Protocol": PROTOCOL } };
      return server.upgrade(request, options) ? undefined : new Response("upgrade\n", { status: 426 });
    },
    websocket: {
      idleTimeout: 0, perMessageDeflate: false,
      // Bounded by not going on after -1; nothing may be dropped.
      backpressureLimit: 0,
      message(ws, message) {
        const order = decodeOrder(message as Buffer);
        if (order === null) ws.sendBinary(message as Buffer);
        else begin(ws, order);
      },
      drain: pourFrames,
    },
  }).port as number;
}

function begin(ws: Bun.ServerWebSocket<Frames>, { bytes, frameBytes }: Order): void {
  ws.data = { left: bytes, frame: PIECE.subarray(0, frameBytes) };
  pourFrames(ws);
}

function pourFrames(ws: Bun.ServerWebSocket<Frames>): void {
  while (ws.data.left > 0) {
    const frame = ws.data.frame.subarray(0, ws.data.left);
    ws.data.left -= frame.length;
    if (ws.sendBinary(frame) < 0) return;
  }
}

answerCalls(calls);
