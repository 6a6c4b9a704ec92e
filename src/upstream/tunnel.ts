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

/** Between two bytes of somebody who is at work, ms. */
const PAUSE_MS = 300;

/** Somebody who has been told the end and shows no sign of life is given up after this long, ms: closing at once, while it still sends, would be a reset that overtakes the end. */
const LINGER_MS = 10_000;
/** Somebody who takes nothing of what waits for it, unless told otherwise: the kernel's megabytes take a client at 20 kB/s minutes, in which we see nothing of it. */
const STALL_MS = 300_000;

export type TunnelAddress = { readonly address: string; readonly port: number };

export type TunnelEnd = {
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** null when the two sides ended it in order. */
  readonly reason: string | null;
};

export type TunnelRequest = {
  /** Tried in turn until one can be connected to. */
  readonly backends: readonly TunnelAddress[];
  /** For each of them, ms. */
  readonly connectTimeoutMs: number;
  /** Without a byte in either direction for this long it is cut; ms. */
  readonly idleTimeoutMs: number;
  /**
   * false: a backend that is done sending is done, as an HTTP server is; the client gets the end and has to go. And whoever stops
   * reading is cut, whatever else it says: behind us nobody sees it.
   */
  readonly halfOpen: boolean;
  /** Without half-open connections: how long somebody may take nothing of what waits for it, ms; five minutes unless told. */
  readonly stallMs?: number;
  /** What the client has sent already. */
  readonly first: Uint8Array;
  /** Could not be connected to. */
  failed?(backend: TunnelAddress): void;
  /** Connected, and nothing sent yet. @param localPort our own port of the connection */
  connected?(backend: TunnelAddress, localPort: number): void;
  /** Bytes as they flow: from the client, to the client. */
  moved?(bytesIn: number, bytesOut: number): void;
  /** Once, whatever happens; also from within the constructor. */
  ended(end: TunnelEnd): void;
};

/** One direction: where bytes go, and what the kernel did not take of them yet. */
class Direction {
  #queue: Outgoing | null = null;
  /** Since when the receiver has taken nothing of what waits for it; Infinity while nothing waits. Monotonic ms. */
  waitingSinceMs = Infinity;
  /** The sender's FIN has come. */
  isEnding = false;
  /** And was passed on, behind everything before it. */
  isOver = false;
  #isUnheard = false;

  constructor(private readonly from: Socket<unknown>, private readonly to: Socket<unknown>) {}

  /** Bytes wait for a receiver that does not take them. */
  get isWaiting(): boolean {
    return this.#queue !== null;
  }

  /** @returns false when the far side is gone */
  push(chunk: Uint8Array): boolean {
    if (this.#isUnheard) return true;
    if (this.#queue !== null) return this.#queue.write(this.to, chunk);
    const taken = this.to.write(chunk, 0, chunk.length);
    if (taken === chunk.length) return true;
    if (taken < 0) return false;
    this.#queue = new Outgoing();
    this.waitingSinceMs = performance.now();
    this.from.pause();
    return this.#queue.write(this.to, chunk.subarray(taken));
  }

  /** @returns false when the far side is gone */
  drain(): boolean {
    const queue = this.#queue;
    if (queue === null) return true;
    const before = queue.pendingBytes;
    if (!queue.drain(this.to)) return false;
    // A socket may say that it can be written to and take nothing.
    if (queue.pendingBytes < before) this.waitingSinceMs = performance.now();
    if (queue.pendingBytes === 0) this.#flow();
    return true;
  }

  end(): void {
    this.isEnding = true;
    if (this.#queue === null) this.#finish();
  }

  /** Nobody is there any more: the sender is heard out, and what it says is dropped. */
  abandon(): void {
    this.#isUnheard = true;
    this.#flow();
  }

  #flow(): void {
    // Idle tunnels keep no queue.
    this.#queue = null;
    this.waitingSinceMs = Infinity;
    this.from.resume();
    if (this.isEnding) this.#finish();
  }

  #finish(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.to.shutdown();
  }
}

export class Tunnel implements Sweepable {
  /** null: not there yet, or gone. */
  #upstream: Socket<Tunnel> | null = null;
  #up: Direction | null = null;
  #down: Direction | null = null;
  #dial: Dial<Tunnel> | null = null;
  #early: Uint8Array[];
  #clientIsDone = false;
  #bytesIn = 0;
  #bytesOut = 0;
  #activeMs = performance.now();
  /** One side has left in order: until when the other may take its time. */
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
    // What was read before the pause took effect.
    if (this.#up === null) return void this.#early.push(chunk);
    // The backend has left: an upload that nobody hears must not keep the tunnel alive either.
    if (this.#upstream === null) return;
    this.#count(chunk.length, 0);
    if (!this.#up.push(chunk)) return this.#end("backend closed the connection");
    if (this.#up.isWaiting) this.sweeper.add(this);
  }

  clientDrained(): void {
    if (this.#down?.drain() === false) return this.#end("client closed the connection");
    this.#stillThere();
    this.#endIfOver();
  }

  /** FIN. */
  clientEnded(): void {
    this.#clientIsDone = true;
    this.#up?.end();
    this.#endIfOver();
  }

  /** In order only when it had said all and heard all. @param error null when the connection did not break */
  clientClosed(error: Error | null): void {
    // When our FIN went first, Bun tells the other one as the close itself.
    if (error === null && this.#down?.isOver === true) this.#up?.end();
    if (this.#down?.isOver !== true || this.#up?.isEnding !== true) return this.#end("client closed the connection");
    this.#linger();
  }

  /** Bytes wait for one of the ends, or have just passed. */
  isBusy(nowMs: number): boolean {
    return this.#up?.isWaiting === true || this.#down?.isWaiting === true || nowMs - this.#activeMs < PAUSE_MS;
  }

  /**
   * For shutdown. A reset would take back what the kernel has not delivered yet, and behind us a server of our own has said all
   * that it will; what others had to say, we don't know.
   */
  cut(reason: string): void {
    this.#end(reason, !this.request.halfOpen);
  }

  // ---- the backend's side

  #connect(index: number): void {
    const backend = this.request.backends[index];
    if (backend === undefined) return this.#end("no backend could be connected to");
    const dial = new Dial<Tunnel>(this.sweeper, performance.now() + this.request.connectTimeoutMs, (error, socket) => {
      if (this.#ended) return socket?.terminate();
      if (error instanceof ConnectError || error instanceof ConnectTimeoutError) {
        this.request.failed?.(backend);
        // Nothing was sent: the next one may have it.
        return this.#connect(index + 1);
      }
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
    this.#activeMs = performance.now();
    if (this.request.idleTimeoutMs < Infinity) this.sweeper.add(this);
    this.request.connected?.(backend, upstream.localPort);
    this.client.resume();
    for (const chunk of this.#early.splice(0)) this.clientData(chunk);
    if (this.#clientIsDone) this.#up.end();
  }

  /** A backend that opened after it was given up has events as well. */
  isOn(socket: Socket<Tunnel>): boolean {
    return this.#upstream === socket;
  }

  upstreamData(chunk: Uint8Array): void {
    this.#count(0, chunk.length);
    if (this.#down?.push(chunk) === false) return this.#end("client closed the connection");
    if (this.#down?.isWaiting === true) this.sweeper.add(this);
  }

  upstreamDrained(): void {
    if (this.#up?.drain() === false) return this.#end("backend closed the connection");
    this.#stillThere();
    this.#endIfOver();
  }

  upstreamEnded(): void {
    this.#down?.end();
    if (this.request.halfOpen) this.#endIfOver();
    else this.#linger();
  }

  /** In order when it had said all. It may not want to hear all: a server that refuses an upload answers and closes. */
  upstreamClosed(error: Error | null): void {
    if (error === null && this.#up?.isOver === true) this.#down?.end();
    if (this.#down?.isEnding !== true) return this.#end("backend closed the connection");
    this.#upstream = null;
    this.#up?.abandon();
    this.#linger();
  }

  // ---- the end

  sweep(nowMs: number): void {
    if (nowMs - this.#activeMs >= this.request.idleTimeoutMs) return this.#end("idle");
    if (this.#isStalled(this.#down, nowMs)) return this.#end("client stopped reading");
    if (this.#isStalled(this.#up, nowMs)) return this.#end("backend stopped reading");
    if (nowMs >= this.#lingerUntilMs && this.#down?.isWaiting !== true && this.#up?.isWaiting !== true) this.#end(null);
  }

  #isStalled(direction: Direction | null, nowMs: number): boolean {
    return !this.request.halfOpen && direction !== null && nowMs - direction.waitingSinceMs >= (this.request.stallMs ?? STALL_MS);
  }

  #linger(): void {
    // Closing the client's side has events, too.
    if (this.#ended) return;
    this.#lingerUntilMs = performance.now() + LINGER_MS;
    this.sweeper.add(this);
    this.#endIfOver();
  }

  /** Somebody took bytes that waited for it. */
  #stillThere(): void {
    this.#activeMs = performance.now();
    if (this.#lingerUntilMs < Infinity) this.#linger();
  }

  #count(bytesIn: number, bytesOut: number): void {
    this.#bytesIn += bytesIn;
    this.#bytesOut += bytesOut;
    this.#activeMs = performance.now();
    this.request.moved?.(bytesIn, bytesOut);
  }

  #endIfOver(): void {
    if (this.#down?.isOver === true && this.#up?.isOver === true) this.#end(null);
  }

  #end(reason: string | null, isInOrder = reason === null): void {
    if (this.#ended) return;
    this.#ended = true;
    this.sweeper.delete(this);
    this.#dial?.abort();
    const upstream = this.#upstream;
    this.#upstream = null;
    // In order: both have said all and heard all, and end() says the last of it. Otherwise the reset tells that it was cut.
    if (isInOrder) {
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
  data(socket: Socket<Tunnel>, chunk: Buffer) { if (socket.data.isOn(socket)) socket.data.upstreamData(chunk); },
  drain(socket: Socket<Tunnel>) { if (socket.data.isOn(socket)) socket.data.upstreamDrained(); },
  end(socket: Socket<Tunnel>) { if (socket.data.isOn(socket)) socket.data.upstreamEnded(); },
  close(socket: Socket<Tunnel>, error?: Error) { if (socket.data.isOn(socket)) socket.data.upstreamClosed(error ?? null); },
  error(socket: Socket<Tunnel>, error: Error) { if (socket.data.isOn(socket)) socket.data.upstreamClosed(error); },
};
