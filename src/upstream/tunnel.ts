// Two TCP connections as one: what comes in on one goes out on the other, untouched and in order. A side that does not read
// stops the other side being read; a side that is done sending (FIN) is passed on as such while the other one goes on.
// The invariant: whatever ends a tunnel, `#end` runs once and closes both.

import type { Socket } from "bun";
import type { Sweepable, Sweeper } from "../lib/deadlines.ts";
import { Dial } from "./dial.ts";
import { ConnectError, ConnectTimeoutError } from "./exchange.ts";
import { Outgoing } from "./outgoing.ts";

/** Between two keep-alive probes of the kernel, ms: a peer that vanished is found out in minutes. */
const KEEP_ALIVE_MS = 60_000;

/** A client that is told the end gets this long to take it in, ms: closing while it still sends would be a reset that overtakes it. */
const LINGER_MS = 10_000;

export type TunnelAddress = { readonly address: string; readonly port: number };

export type TunnelEnd = {
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** null when the two sides ended it in order. */
  readonly reason: string | null;
};

export type TunnelRequest = {
  /** Tried in turn until one can be connected to; at least one. */
  readonly backends: readonly TunnelAddress[];
  /** For each of them, ms. */
  readonly connectTimeoutMs: number;
  /** Without a byte in either direction for this long it is cut; ms. */
  readonly idleTimeoutMs: number;
  /** What the client has sent already. */
  readonly first: Uint8Array;
  /** Connected, and nothing sent yet. @param localPort our own port of the connection */
  connected?(backend: TunnelAddress, localPort: number): void;
  /** Bytes as they flow: from the client, to the client. */
  moved?(bytesIn: number, bytesOut: number): void;
  ended(end: TunnelEnd): void;
};

/** One direction: where bytes go, and what the kernel did not take of them yet. */
class Direction {
  #queue: Outgoing | null = null;
  /** The sender's FIN has come. */
  isEnding = false;
  /** And was passed on, behind everything before it. */
  isOver = false;

  constructor(private readonly from: Socket<unknown>, private readonly to: Socket<unknown>) {}

  /** @returns false when the far side is gone */
  push(chunk: Uint8Array): boolean {
    if (this.#queue === null) {
      const taken = this.to.write(chunk, 0, chunk.length);
      if (taken === chunk.length) return true;
      if (taken < 0) return false;
      this.#queue = new Outgoing();
      this.#queue.write(this.to, chunk.subarray(taken));
      this.from.pause();
      return true;
    }
    return this.#queue.write(this.to, chunk);
  }

  /** @returns false when the far side is gone */
  drain(): boolean {
    const queue = this.#queue;
    if (queue === null) return true;
    if (!queue.drain(this.to)) return false;
    if (queue.pendingBytes > 0) return true;
    // Idle tunnels keep no queue.
    this.#queue = null;
    this.from.resume();
    if (this.isEnding) this.#finish();
    return true;
  }

  end(): void {
    this.isEnding = true;
    if (this.#queue === null) this.#finish();
  }

  #finish(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.to.shutdown();
  }
}

export class Tunnel implements Sweepable {
  #upstream: Socket<Tunnel> | null = null;
  #up: Direction | null = null;
  #down: Direction | null = null;
  #dial: Dial<Tunnel> | null = null;
  #early: Uint8Array[];
  #clientIsDone = false;
  #bytesIn = 0;
  #bytesOut = 0;
  #activeMs = performance.now();
  /** The backend has left in order: until when the client may take its time. */
  #lingerUntilMs = Infinity;
  #ended = false;

  /** Dials at once. The owner of `client` hands its events on to the methods below; half-open connections must be allowed on it. */
  constructor(private readonly client: Socket<unknown>, private readonly request: TunnelRequest, private readonly sweeper: Sweeper) {
    this.#early = [request.first];
    client.pause();
    this.#connect(0);
  }

  // ---- the client's side

  clientData(chunk: Uint8Array): void {
    if (this.#up === null) {
      // What was read before the pause took effect.
      this.#early.push(chunk);
      return;
    }
    if (this.#lingerUntilMs < Infinity) return;
    this.#count(chunk.length, 0);
    if (!this.#up.push(chunk)) this.#end("backend closed the connection");
  }

  clientDrained(): void {
    if (this.#lingerUntilMs < Infinity) this.#lingerUntilMs = performance.now() + LINGER_MS;
    if (this.#down?.drain() === false) this.#end("client closed the connection");
    else this.#endIfOver();
  }

  /** FIN. */
  clientEnded(): void {
    this.#clientIsDone = true;
    this.#up?.end();
    this.#endIfOver();
  }

  /** In order only when it had said all and heard all. @param error null when the connection did not break */
  clientClosed(error: Error | null): void {
    if (error === null && this.#down?.isOver === true) this.#up?.end();
    const isInOrder = this.#down?.isOver === true && (this.#up?.isOver === true || this.#lingerUntilMs < Infinity);
    this.#end(isInOrder ? null : "client closed the connection");
  }

  /** For shutdown. */
  cut(reason: string): void {
    this.#end(reason);
  }

  // ---- the backend's side

  #connect(index: number): void {
    const backend = this.request.backends[index];
    if (backend === undefined) return this.#end("no backend could be connected to");
    const dial = new Dial<Tunnel>(this.sweeper, performance.now() + this.request.connectTimeoutMs, (error, socket) => {
      if (this.#ended) return socket?.terminate();
      // Nothing was sent: the next one may have it.
      if (error instanceof ConnectError || error instanceof ConnectTimeoutError) return this.#connect(index + 1);
      if (error !== null) return this.#end(error.message);
      this.#connected(backend, socket as Socket<Tunnel>);
    });
    this.#dial = dial;
    Bun.connect<Tunnel>({
      hostname: backend.address, port: backend.port, data: this, allowHalfOpen: true,
      socket: { ...HANDLERS, open: (socket) => { if (!dial.settle(null, socket)) socket.terminate(); } },
    }).catch((error: Error) => dial.settle(new ConnectError("cannot connect", { cause: error })));
  }

  #connected(backend: TunnelAddress, upstream: Socket<Tunnel>): void {
    this.#upstream = upstream;
    this.#dial = null;
    for (const socket of [this.client, upstream]) {
      socket.setNoDelay(true);
      socket.setKeepAlive(true, KEEP_ALIVE_MS);
    }
    this.#up = new Direction(this.client, upstream);
    this.#down = new Direction(upstream, this.client);
    this.sweeper.add(this);
    this.request.connected?.(backend, upstream.localPort);
    this.client.resume();
    for (const chunk of this.#early.splice(0)) this.clientData(chunk);
    if (this.#clientIsDone) this.#up.end();
  }

  upstreamData(chunk: Uint8Array): void {
    this.#count(0, chunk.length);
    if (this.#down?.push(chunk) === false) this.#end("client closed the connection");
  }

  upstreamDrained(): void {
    if (this.#up?.drain() === false) this.#end("backend closed the connection");
    else this.#endIfOver();
  }

  upstreamEnded(): void {
    this.#down?.end();
    this.#endIfOver();
  }

  upstreamClosed(error: Error | null): void {
    if (this.#upstream === null) return;
    // When our FIN went first, Bun tells the other one as the close itself.
    if (error === null && this.#up?.isOver === true) this.#down?.end();
    if (error !== null || this.#down?.isEnding !== true) return this.#end("backend closed the connection");
    // It has said all, and part of it may still wait for the client; what the client says from now on nobody hears.
    this.#lingerUntilMs = performance.now() + LINGER_MS;
    this.client.resume();
    this.#endIfOver();
  }

  // ---- the end

  sweep(nowMs: number): void {
    if (nowMs - this.#activeMs >= this.request.idleTimeoutMs) this.#end("idle");
    // Counted from the last byte that the client took.
    else if (nowMs >= this.#lingerUntilMs) this.#end(this.#down?.isOver === true ? null : "client stopped reading");
  }

  #count(bytesIn: number, bytesOut: number): void {
    this.#bytesIn += bytesIn;
    this.#bytesOut += bytesOut;
    this.#activeMs = performance.now();
    this.request.moved?.(bytesIn, bytesOut);
  }

  #endIfOver(): void {
    if (this.#down?.isOver === true && (this.#up?.isOver === true || (this.#clientIsDone && this.#lingerUntilMs < Infinity))) this.#end(null);
  }

  #end(reason: string | null): void {
    if (this.#ended) return;
    this.#ended = true;
    this.sweeper.delete(this);
    this.#dial?.abort();
    const upstream = this.#upstream;
    this.#upstream = null;
    // In order: both have said all and heard all, and end() says the last of it. Otherwise the reset tells that it was cut.
    if (reason === null) {
      this.client.end();
      upstream?.end();
    } else {
      this.client.terminate();
      upstream?.terminate();
    }
    this.request.ended({ bytesIn: this.#bytesIn, bytesOut: this.#bytesOut, reason });
  }
}

const HANDLERS = {
  data(socket: Socket<Tunnel>, chunk: Buffer) { socket.data.upstreamData(chunk); },
  drain(socket: Socket<Tunnel>) { socket.data.upstreamDrained(); },
  end(socket: Socket<Tunnel>) { socket.data.upstreamEnded(); },
  close(socket: Socket<Tunnel>, error?: Error) { socket.data.upstreamClosed(error ?? null); },
  error(socket: Socket<Tunnel>, error: Error) { socket.data.upstreamClosed(error); },
};
