// The listener before the plain HTTP server, where connections are counted or come through proxies that say whom they stand for:
// Bun.serve shows no connection that has not asked for anything. It lets connections in, waits for their first bytes and relays them,
// untouched, to the server on loopback, which keeps all other rules (heads, bodies, idle connections).

import type { Socket } from "bun";
import type { Sweepable, Sweeper } from "../lib/deadlines.ts";
import type { Stall } from "../limits/minimum-rate.ts";
import type { ListenAddress } from "../settings.ts";
import { Tunnel, type TunnelAddress } from "../upstream/tunnel.ts";
import { Turns } from "../upstream/turns.ts";
import { type Admission, type Arrival, OPENING_MS } from "./admission.ts";
import type { AnnouncedClients } from "./announced.ts";
import { type FrontConnection, FrontListener } from "./front-listener.ts";

/** Connections that have said nothing yet. */
const SILENT_LIMIT = 10_000;

/**
 * Connections that are being brought to our own server at a time. All of five thousand that came at once made one turn of the
 * event loop take half a second, and a request takes four; the queue of a listener holds 512, and who is too many tries again after a second.
 */
const OPENING_AT_ONCE = 16;

/** To our own server on this machine. */
const CONNECT_TIMEOUT_MS = 5000;

export type PlainFrontOptions = {
  readonly listen: ListenAddress;
  readonly admission: Admission;
  /** The server behind, and who is told whom its connections stand for. */
  readonly server: TunnelAddress;
  readonly clients: AnnouncedClients;
  /** 10,000 unless told. */
  readonly silentLimit?: number;
  /** How little a client may take of what waits for it, in how long. */
  readonly stall: Stall;
};

export class PlainFront extends FrontListener<PlainConnection> {
  /** Oldest first. */
  readonly #silent = new Set<PlainConnection>();
  readonly turns = new Turns(OPENING_AT_ONCE);

  /** @throws Error EADDRINUSE, EACCES: with the address in its message */
  constructor(readonly options: PlainFrontOptions, readonly sweeper: Sweeper) {
    super(options.listen, "--http");
  }

  protected override admit(socket: Socket<PlainConnection | undefined>, peer: string): PlainConnection | null {
    const arrival = this.options.admission.arrive(peer);
    return arrival === null ? null : new PlainConnection(this, socket, arrival);
  }

  protected override admitted(connection: PlainConnection): void {
    this.#silent.add(connection);
    // The oldest goes: whoever means it asks at once, so that a crowd of silent ones shuts nobody out.
    const [oldest] = this.#silent;
    if (this.#silent.size > (this.options.silentLimit ?? SILENT_LIMIT)) oldest?.cut("too many silent connections");
  }

  spoke(connection: PlainConnection): void {
    this.#silent.delete(connection);
  }

  override forget(connection: PlainConnection): void {
    this.#silent.delete(connection);
    super.forget(connection);
  }
}

class PlainConnection implements FrontConnection, Sweepable {
  readonly #deadlineMs = performance.now() + OPENING_MS;
  /** Of a PROXY header that is not whole yet. */
  #bytes: Buffer | null = null;
  #tunnel: Tunnel | null = null;
  #isOver = false;

  constructor(private readonly front: PlainFront, private readonly socket: Socket<PlainConnection | undefined>, private readonly arrival: Arrival) {
    front.sweeper.add(this);
  }

  received(chunk: Buffer): void {
    if (this.#tunnel !== null) return this.#tunnel.clientData(chunk);
    if (this.#isOver) return;
    if (!this.arrival.awaitsHeader) return this.#relay(chunk);
    const bytes = this.#bytes === null ? chunk : Buffer.concat([this.#bytes, chunk]);
    const rest = this.arrival.read(bytes);
    if (rest === "refused") return this.cut("refused");
    this.#bytes = rest === null ? bytes : null;
    if (rest !== null && rest.length > 0) this.#relay(rest);
  }

  drained(): void {
    this.#tunnel?.clientDrained();
  }

  ended(): void {
    if (this.#tunnel === null) this.cut("left without a request");
    else this.#tunnel.clientEnded();
  }

  closed(error: Error | null): void {
    this.#tunnel?.clientClosed(error);
    this.#leave();
  }

  sweep(nowMs: number): void {
    if (nowMs < this.#deadlineMs) return;
    if (this.arrival.awaitsHeader) this.arrival.refuse("no PROXY header in time");
    this.cut("no request in time");
  }

  isBusy(nowMs: number): boolean {
    return this.#tunnel?.isBusy(nowMs) === true;
  }

  cut(reason: string): void {
    if (this.#tunnel !== null) return this.#tunnel.cut(reason);
    this.socket.terminate();
    this.#leave();
  }

  #relay(first: Buffer): void {
    const { options, sweeper } = this.front;
    sweeper.delete(this);
    this.front.spoke(this);
    let localPort: number | null = null;
    this.#tunnel = new Tunnel(this.socket, {
      backends: [options.server], connectTimeoutMs: CONNECT_TIMEOUT_MS, turns: this.front.turns, first,
      // The server behind has its own rules for idle connections.
      idleTimeoutMs: Infinity, halfOpen: false, stall: options.stall,
      connected: (_backend, upstream) => {
        localPort = upstream.localPort;
        options.clients.announce(localPort, this.arrival.client);
      },
      ended: () => { if (localPort !== null) options.clients.forget(localPort); },
    }, sweeper);
  }

  #leave(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#bytes = null;
    this.front.sweeper.delete(this);
    this.front.forget(this);
    this.arrival.leave();
  }
}
