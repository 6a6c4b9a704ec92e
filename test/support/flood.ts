// Binary frames from either end of a session, as many as fit: what shows where a bridge stops.

import type { PodConnection } from "./pod.ts";
import { clientFrame, OP, type WsClient } from "./ws-client.ts";

const PIECE = Buffer.alloc(64 * 1024, 5);

/** Sends as fast as the kernel takes it. @returns a live count of payload bytes handed to the kernel, whole frames only */
export function flood(end: PodConnection, bytes: number): { sent: number } {
  const count = { sent: 0 };
  const pump = (): void => {
    while (count.sent < bytes && !end.isClosed) {
      end.onDrained = null;
      end.send(OP.binary, PIECE);
      count.sent += PIECE.length;
      end.onDrained = pump;
      if (end.pending > 0) return;
    }
  };
  pump();
  return count;
}

/** The same from the client. */
export function floodFrom(client: WsClient, bytes: number): { sent: number } {
  const count = { sent: 0 };
  const frame = clientFrame(OP.binary, PIECE);
  const pump = (): void => {
    while (count.sent < bytes && !client.isClosed) {
      count.sent += PIECE.length;
      if (!client.write(frame)) return void client.socket.once("drain", pump);
    }
  };
  pump();
  return count;
}
