// Two TCP connections as one: what comes in on one goes out on the other, untouched and in order. A side that does not read
// stops the other side being read; a side that is done sending (FIN) is passed on as such while the other one goes on.
// The invariant: whatever ends a tunnel, `#end` runs once and closes both.

import type { Socket } from "bun";
import type { Sweepable, Sweeper } from "../lib/deadlines.ts";
import { connectFailure } from "./connect.ts";
import { Dial } from "./dial.ts";
import { Direction, STALL, type Stall } from "./direction.ts";
import { ConnectError, ConnectTimeoutError } from "./exchange.ts";
import type { Turns } from "./turns.ts";

/** Between two keep-alive probes of the kernel, ms: a peer that vanished is found out in minutes. */
const KEEP_ALIVE_MS = 60_000;
/** Most tunnels are over by then, and eight system calls are a tenth of what one costs. */
const KEEP_ALIVE_AFTER_MS = 5000;

/** An answer that is due at once. */
const TURN_MS = 1000;

/** Between two bytes of somebody who is at work, ms. */
const PAUSE_MS = 300;

/** Somebody who has been told the end and shows no sign of life is given up after this long, ms: closing at once, while it still sends, would be a reset that overtakes the end. */
const LINGER_MS = 10_000;

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
  /** For each of them, ms; waiting for a turn counts. */
  readonly connectTimeoutMs: number;
  /** Shared with others that connect to the same; absent: at once. A turn lasts until there is a connection. */
  readonly turns?: Turns;
  /** A turn lasts until the first byte of an answer, where what the client has said already is answered at once. */
  readonly isAnsweredInTurn?: boolean;
  /** Without a byte in either direction for this long it is cut; ms. */
  readonly idleTimeoutMs: number;
  /**
   * false: a backend that is done sending is done, as an HTTP server is; the client gets the end and has to go. And whoever stops
   * reading is cut, whatever else it says: behind us nobody sees it.
   */
  readonly halfOpen: boolean;
  /** Without half-open connections, of the client: a backend may be slow for reasons of its own. Any byte in five minutes unless told. */
  readonly stall?: Stall;
  /** What the client has sent already. */
  readonly first: Uint8Array;
  /** Could not be connected to. */
  failed?(backend: TunnelAddress): void;
  /** Connected, and nothing sent yet. @param upstream asked, it tells our own end of the connection */
  connected?(backend: TunnelAddress, upstream: { readonly localAddress: string; readonly localPort: number }): void;
  /** Bytes as they flow: from the client, to the client. */
  moved?(bytesIn: number, bytesOut: number): void;
  /** Once, whatever happens; also from within the constructor. */
  ended(end: TunnelEnd): void;
};

export class Tunnel implements Sweepable {
  /** null: not there yet, or gone. */
  #upstream: Socket<Leg> | null = null;
  #up: Direction | null = null;
  #down: Direction | null = null;
  #dial: Dial<Leg> | null = null;
  #early: Uint8Array[];
  /** The client is not read until there is a backend that hears it. */
  #isPaused = false;
  #hasTurn = false;
  /** Monotonic ms: whoever does not answer keeps nobody waiting. */
  #turnUntilMs = Infinity;
  #clientIsDone = false;
  #bytesIn = 0;
  #bytesOut = 0;
  readonly #startedMs = performance.now();
  #activeMs = this.#startedMs;
  #isKeptAlive = false;
  /** One side has left in order: until when the other may take its time. */
  #lingerUntilMs = Infinity;
  #ended = false;

  /** Dials at once. The owner of `client` hands its events on to the methods below; half-open connections must be allowed on it. */
  constructor(private readonly client: Socket<unknown>, private readonly request: TunnelRequest, private readonly sweeper: Sweeper) {
    this.#early = [request.first];
    this.#connect(0);
  }

  // ---- the client's side

  clientData(chunk: Uint8Array): void {
    if (this.#up === null) return this.#keep(chunk);
    // The backend has left: an upload that nobody hears must not keep the tunnel alive either.
    if (this.#upstream === null) return;
    this.#count(chunk.length, 0);
    if (!this.#up.push(chunk)) return this.#end("backend closed the connection");
    if (this.#up.isWaiting) this.sweeper.add(this);
  }

  /** Most clients wait for an answer to their first bytes, and need not be stopped. */
  #keep(chunk: Uint8Array): void {
    this.#early.push(chunk);
    this.#pause();
  }

  /** What was read before it took effect may come still. */
  #pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.client.pause();
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
    const { turns } = this.request;
    const begin = (): void => {
      this.#hasTurn = true;
      Bun.connect<Leg>({ hostname: backend.address, port: backend.port, data: { tunnel: this, dial }, allowHalfOpen: true, socket: HANDLERS })
        .catch((error: Error) => dial.settle(connectFailure(error)));
    };
    const dial = new Dial<Leg>(this.sweeper, performance.now() + this.request.connectTimeoutMs, (error, socket) => {
      turns?.forget(begin);
      if (error !== null || this.request.isAnsweredInTurn !== true) this.#leaveTurn();
      if (this.#ended) return socket?.terminate();
      if (error instanceof ConnectError || error instanceof ConnectTimeoutError) {
        this.request.failed?.(backend);
        // Nothing was sent: the next one may have it.
        return this.#connect(index + 1);
      }
      if (error !== null) return this.#end(error.message);
      this.#connected(backend, socket as Socket<Leg>);
    });
    this.#dial = dial;
    if (turns === undefined) begin();
    else turns.take(begin);
    // Thousands may wait for their turns, and have much to say.
    if (!this.#hasTurn) this.#pause();
  }

  #leaveTurn(): void {
    if (!this.#hasTurn) return;
    this.#hasTurn = false;
    this.request.turns?.leave();
  }

  #connected(backend: TunnelAddress, upstream: Socket<Leg>): void {
    this.#upstream = upstream;
    this.#dial = null;
    this.#up = new Direction(this.client, upstream, STALL);
    this.#down = new Direction(upstream, this.client, this.request.stall ?? STALL);
    this.#up.back = this.#down;
    this.#down.back = this.#up;
    this.#activeMs = performance.now();
    this.#turnUntilMs = this.#activeMs + TURN_MS;
    this.sweeper.add(this);
    this.request.connected?.(backend, upstream);
    if (this.#isPaused) this.client.resume();
    for (const chunk of this.#early.splice(0)) this.clientData(chunk);
    if (this.#clientIsDone) this.#up.end();
  }

  /** A backend that opened after it was given up has events as well. */
  isOn(socket: Socket<Leg>): boolean {
    return this.#upstream === socket;
  }

  upstreamData(chunk: Uint8Array): void {
    this.#leaveTurn();
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
    if (nowMs >= this.#turnUntilMs) this.#leaveTurn();
    if (!this.#isKeptAlive && nowMs - this.#startedMs >= KEEP_ALIVE_AFTER_MS) this.#keepAlive();
    if (nowMs - this.#activeMs >= this.request.idleTimeoutMs) return this.#end("idle");
    if (this.#isStalled(this.#down, nowMs)) return this.#end("client stopped reading");
    if (this.#isStalled(this.#up, nowMs)) return this.#end("backend stopped reading");
    if (nowMs >= this.#lingerUntilMs && this.#down?.isWaiting !== true && this.#up?.isWaiting !== true) this.#end(null);
  }

  #isStalled(direction: Direction | null, nowMs: number): boolean {
    return !this.request.halfOpen && direction?.isStalled(nowMs) === true;
  }

  #keepAlive(): void {
    this.#isKeptAlive = true;
    this.client.setKeepAlive(true, KEEP_ALIVE_MS);
    this.#upstream?.setKeepAlive(true, KEEP_ALIVE_MS);
    // There is nothing else to wait for.
    if (this.request.idleTimeoutMs === Infinity && this.#up?.isWaiting !== true && this.#down?.isWaiting !== true && this.#lingerUntilMs === Infinity) this.sweeper.delete(this);
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
    this.#leaveTurn();
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

/** An attempt at a backend: what its socket knows. */
type Leg = { readonly tunnel: Tunnel; readonly dial: Dial<Leg> };

const HANDLERS = {
  open(socket: Socket<Leg>) { if (!socket.data.dial.settle(null, socket)) socket.terminate(); },
  data(socket: Socket<Leg>, chunk: Buffer) { if (socket.data.tunnel.isOn(socket)) socket.data.tunnel.upstreamData(chunk); },
  drain(socket: Socket<Leg>) { if (socket.data.tunnel.isOn(socket)) socket.data.tunnel.upstreamDrained(); },
  end(socket: Socket<Leg>) { if (socket.data.tunnel.isOn(socket)) socket.data.tunnel.upstreamEnded(); },
  close(socket: Socket<Leg>, error?: Error) { if (socket.data.tunnel.isOn(socket)) socket.data.tunnel.upstreamClosed(error ?? null); },
  error(socket: Socket<Leg>, error: Error) { if (socket.data.tunnel.isOn(socket)) socket.data.tunnel.upstreamClosed(error); },
};
