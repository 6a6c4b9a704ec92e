// One bridged WebSocket session: the browser's leg is Bun's ServerWebSocket, the upstream's leg is ours. Messages cross as
// they came; a side that does not read stops the other side being read; when one side leaves, the other is told at once.
// The invariant: whatever ends a session, `#end` runs once, closes both legs and writes the access line.

import type { ServerWebSocket } from "bun";
import type { WebSocketSettings } from "../settings.ts";
import type { UpstreamEvents, UpstreamWebSocket } from "../upstream/websocket.ts";
import { FrameError, isSendableCode } from "../upstream/websocket-frame.ts";

/** Queued towards the client before the upstream is paused; together with kernel buffers well under 8 MiB. */
export const CLIENT_QUEUE_BYTES = 512 * 1024;
/** Text below this gains nothing from compression. */
const COMPRESS_FROM_BYTES = 1024;

export type SessionEnd = {
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** That the client got or gave; 1005: none was said, 1006: it vanished. */
  readonly code: number;
  /** Why the proxy ended it; null when one of the two sides did. */
  readonly reason: string | null;
};

/** What Bun.serve tells of a client's WebSocket; the session, or the refusal (closing.ts), that it belongs to. */
export interface ClientLeg {
  opened(ws: ServerWebSocket<ClientLeg>): void;
  clientMessage(ws: ServerWebSocket<ClientLeg>, message: string | Buffer): void;
  clientAlive(): void;
  clientDrained(ws: ServerWebSocket<ClientLeg>): void;
  clientClosed(code: number, reason: string): void;
}

export class Session implements UpstreamEvents, ClientLeg {
  bytesIn = 0;
  bytesOut = 0;
  /** When a data frame last passed, for the idle limit; monotonic ms. */
  lastDataMs = performance.now();
  #ws: ServerWebSocket<ClientLeg> | null = null;
  #upstream: UpstreamWebSocket | null;
  #upstreamPaused = false;
  #clientPaused = false;
  #clientMissed = 0;
  #upstreamMissed = 0;
  #ended = false;
  #reason: string | null = null;
  /** The close frame that the client gets when it has taken what waits before it. */
  #farewell: { readonly code: number; readonly reason: string } | null = null;

  constructor(
    upstream: UpstreamWebSocket,
    private readonly compressText: boolean,
    readonly idleTimeoutMs: number,
    private readonly onEnd: (session: Session, end: SessionEnd) => void,
    /** Payload bytes as they flow; null: nobody counts. */
    private readonly moved: ((bytesIn: number, bytesOut: number) => void) | null = null,
  ) {
    this.#upstream = upstream;
  }

  // ---- the client's leg

  opened(ws: ServerWebSocket<ClientLeg>): void {
    this.#ws = ws;
    this.#upstream?.attach(this);
  }

  clientMessage(ws: ServerWebSocket<ClientLeg>, message: string | Buffer): void {
    const isText = typeof message === "string";
    const data = isText ? Buffer.from(message) : message;
    this.bytesIn += data.length;
    this.moved?.(data.length, 0);
    this.lastDataMs = performance.now();
    this.#clientMissed = 0;
    const waiting = this.#upstream?.send(data, isText) ?? -1;
    if (waiting > 0 && !this.#clientPaused) {
      this.#clientPaused = true;
      ws.pause();
    }
  }

  /** A ping, which Bun answers, or a pong. */
  clientAlive(): void {
    this.#clientMissed = 0;
  }

  /** The kernel took what was queued towards the client. */
  clientDrained(ws: ServerWebSocket<ClientLeg>): void {
    this.#clientMissed = 0;
    if (this.#farewell !== null) return this.#takeLeave(ws);
    if (!this.#upstreamPaused || ws.getBufferedAmount() > CLIENT_QUEUE_BYTES / 2) return;
    this.#upstreamPaused = false;
    this.#upstreamMissed = 0;
    this.#upstream?.resume();
  }

  clientClosed(code: number, reason: string): void {
    this.#ws = null;
    if (code !== 1006) {
      this.#upstream?.sendClose(code, reason);
      return this.#end(code);
    }
    // The client vanished, or Bun refused its frames and says why. 1006 is never put on the wire; the upstream hears that its peer went away.
    this.#upstream?.sendClose(1001, "");
    if (reason === "") return this.#end(code);
    this.#reason ??= `client: ${reason}`;
    this.#end(refusalCode(reason));
  }

  // ---- the upstream's leg

  /** Corked: one system call for many messages. Inside, Bun does not tell how much waits. */
  batch(run: () => void): void {
    const ws = this.#ws;
    if (ws === null) return run();
    let thrown: unknown = null;
    ws.cork(() => {
      try {
        run();
      } catch (error) {
        thrown = error;
      }
    });
    this.#pauseUpstream(ws);
    if (thrown !== null) throw thrown;
  }

  message(data: Buffer, isText: boolean): void {
    const ws = this.#ws;
    if (ws === null || this.#upstream === null) return;
    this.bytesOut += data.length;
    this.moved?.(0, data.length);
    this.lastDataMs = performance.now();
    const sent = isText
      ? ws.sendText(data.toString("utf8"), this.compressText && data.length >= COMPRESS_FROM_BYTES)
      : ws.sendBinary(data);
    if (sent === -1) this.#pauseUpstream(ws);
  }

  #pauseUpstream(ws: ServerWebSocket<ClientLeg>): void {
    if (this.#upstreamPaused || this.#upstream === null || ws.getBufferedAmount() <= CLIENT_QUEUE_BYTES) return;
    this.#upstreamPaused = true;
    this.#upstream.pause();
  }

  ping(data: Buffer): void {
    this.#upstream?.sendPong(data);
  }

  /** `beat` asks the connection itself, which sees every byte. */
  pong(): void {}

  drained(): void {
    if (!this.#clientPaused) return;
    this.#clientPaused = false;
    this.#clientMissed = 0;
    this.#ws?.resume();
  }

  /** A close frame of the upstream: answered to it, told to the client. */
  close(code: number, reason: string): void {
    this.#upstream?.sendClose(code, "");
    this.#dismiss(code, reason);
  }

  gone(error: Error | null): void {
    if (error !== null && this.#upstream !== null) this.#reason = error.message;
    this.#dismiss(error instanceof FrameError && error.code === 1009 ? 1009 : 1011, "");
  }

  // ---- the proxy's own reasons

  /** For shutdown (1012), an expired limit (1001) and the like: both sides hear it. */
  shut(code: number, reason: string): void {
    this.#reason = reason;
    this.#upstream?.sendClose(code === 1012 ? 1001 : code, "");
    this.#closeClient(code, reason);
    this.#end(code);
  }

  /** One beat of keep-alive: asks both sides for a sign of life and ends the session of one that stays silent. */
  beat(settings: WebSocketSettings, nowMs: number): void {
    if (this.#farewell === null && this.idleTimeoutMs > 0 && nowMs - this.lastDataMs >= this.idleTimeoutMs) return this.shut(1001, "idle");
    if (this.#upstream?.showedLife()) this.#upstreamMissed = 0;
    // A paused leg is not read, so its pongs cannot be seen; the other leg, which does not drain, is the one to judge. When
    // both are paused, both are judged, by what they take.
    if ((!this.#clientPaused || this.#upstreamPaused) && this.#clientMissed >= settings.missedPongs) return this.#silent("client");
    this.#clientMissed += 1;
    if (this.#upstream === null) return;
    if ((!this.#upstreamPaused || this.#clientPaused) && this.#upstreamMissed >= settings.missedPongs) return this.#silent("upstream");
    this.#upstreamMissed += 1;
    this.#ws?.ping();
    this.#upstream?.sendPing();
  }

  #silent(side: "client" | "upstream"): void {
    this.#reason = `${side} silent`;
    this.#upstream?.sendClose(1001, "");
    if (side === "upstream") return this.#dismiss(1011, "");
    const ws = this.#ws;
    this.#ws = null;
    ws?.terminate();
    this.#end(1006);
  }

  /** The upstream is done with; the client first gets what waits for it, because Bun cuts a closed session after four seconds. */
  #dismiss(code: number, reason: string): void {
    if (this.#upstream === null) return;
    this.#upstream.end();
    this.#upstream = null;
    if (this.#clientPaused) this.#ws?.resume();
    this.#clientPaused = false;
    this.#farewell = { code, reason };
    if (this.#ws !== null) this.#takeLeave(this.#ws);
    else this.#end(code);
  }

  #takeLeave(ws: ServerWebSocket<ClientLeg>): void {
    if (this.#farewell === null || ws.getBufferedAmount() > 0) return;
    const { code, reason } = this.#farewell;
    this.#closeClient(code, reason);
    this.#end(code);
  }

  #closeClient(code: number, reason: string): void {
    const ws = this.#ws;
    this.#ws = null;
    if (this.#clientPaused) ws?.resume();
    // Bun writes an empty close frame for 1006: what a peer that gave no code must be answered with.
    if (isSendableCode(code)) ws?.close(code, reason);
    else ws?.close(1006);
  }

  #end(code: number): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#upstream?.end();
    this.#upstream = null;
    this.onEnd(this, { bytesIn: this.bytesIn, bytesOut: this.bytesOut, code, reason: this.#reason });
  }
}

/** The code of the close frame that Bun sent to a client whose frames it refused, by its text for it; it does not tell the code itself. */
function refusalCode(text: string): number {
  if (/too big message|does not fit/.test(text)) return 1009;
  return /UTF-8|compressed/.test(text) ? 1007 : 1002;
}
