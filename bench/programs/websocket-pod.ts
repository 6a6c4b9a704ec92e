// Program: a pod's WebSocket service. Binary messages come back as they are; a text message asks for a flood of them.

import { answerCalls } from "../lab/calls.ts";

export type Flood = { readonly frames: number; readonly bytes: number };

type Session = { message: Uint8Array; left: number };

const calls = {
  listen({ host, port }: { host: string; port: number }): void {
    Bun.serve<Session>({
      hostname: host, port, reusePort: false,
      fetch(request, server) {
        const data = { message: new Uint8Array(0), left: 0 };
        return server.upgrade(request, { data }) ? undefined : new Response("upgrade\n", { status: 426 });
      },
      websocket: {
        idleTimeout: 0, perMessageDeflate: false,
        // Bounded by not going on after -1; nothing may be dropped.
        backpressureLimit: 0,
        message(ws, message) {
          if (typeof message !== "string") return void ws.send(message);
          const { frames, bytes } = JSON.parse(message) as Flood;
          ws.data = { message: new Uint8Array(bytes).fill(0x5a), left: frames };
          flood(ws);
        },
        drain: flood,
      },
    });
  },
};
export type WebSocketPodCalls = typeof calls;

/** Until it is done or the socket takes no more; then `drain` goes on. */
function flood(ws: Bun.ServerWebSocket<Session>): void {
  while (ws.data.left > 0) {
    ws.data.left -= 1;
    if (ws.send(ws.data.message) < 0) return;
  }
}

answerCalls(calls);
