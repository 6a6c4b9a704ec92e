// Program: the TCP service behind a proxy of whole connections. It takes the first bytes for a ClientHello, whatever they are,
// answers them with a greeting and everything after that with as many bytes as it is asked for, as a decimal number and "\n".

import type { Socket } from "bun";
import { answerCalls } from "../lab/calls.ts";

/** What is given to a socket at once; the kernel takes what it has room for. */
const PIECE = Buffer.alloc(256 * 1024, 0x5a);

type Stream = { isGreeted: boolean; asked: string; left: number };

const calls = {
  /** @returns the port */
  listen(): number {
    return Bun.listen<Stream>({
      hostname: "127.0.0.1", port: 0,
      socket: {
        open: (socket) => {
          socket.data = { isGreeted: false, asked: "", left: 0 };
          socket.setNoDelay(true);
        },
        data: (socket, bytes) => socket.data.isGreeted ? obey(socket, bytes) : greet(socket),
        drain: pour,
        // Whoever is cut off in the middle is of no interest: the bench sees it at its own end.
        error() {},
      },
    }).port;
  },
};
export type TunnelPodCalls = typeof calls;

function greet(socket: Socket<Stream>): void {
  socket.data.isGreeted = true;
  socket.write("!");
}

function obey(socket: Socket<Stream>, bytes: Buffer): void {
  socket.data.asked += bytes.toString("latin1");
  if (!socket.data.asked.endsWith("\n")) return;
  socket.data.left = Number(socket.data.asked);
  socket.data.asked = "";
  pour(socket);
}

/** Until it is done or the kernel takes no more; then `drain` goes on. */
function pour(socket: Socket<Stream>): void {
  while (socket.data.left > 0) {
    const wanted = Math.min(PIECE.length, socket.data.left);
    const taken = socket.write(PIECE, 0, wanted);
    if (taken > 0) socket.data.left -= taken;
    if (taken < wanted) return;
  }
}

answerCalls(calls);
