// DNS over TCP (RFC 7766): messages behind a length of two bytes, several on one connection, answered in order. What a connection may
// hold is bounded: one message that is not whole yet, one answer that the socket did not take, and ten seconds without
// a whole query, however many bytes drip in meanwhile. Whoever breaks a rule is cut off.

import type { Socket, TCPSocketListener } from "bun";
import { plainAddress } from "../lib/address.ts";
import { type Sweepable, Sweeper } from "../lib/deadlines.ts";
import { HEADER_BYTES } from "./query.ts";
import { networkOf } from "./rate-limit.ts";

/** RFC 7766 section 6.2.3 asks for seconds. */
const IDLE_TIMEOUT_MS = 10_000;
/** When there is one more, the one that has been silent longest goes. */
const CONNECTIONS_LIMIT = 128;
const CONNECTIONS_PER_NETWORK = 16;

export type TcpOptions = {
  readonly host: string;
  readonly port: number;
  /** @returns null to cut the connection */
  answer(message: Buffer, client: string): Buffer | null;
  /** Monotonic ms, for tests. */
  readonly now?: () => number;
};

export class TcpListener {
  readonly #listener: TCPSocketListener<Connection>;
  readonly #sweeper: Sweeper;
  /** The one that was heard last is the last one. */
  readonly #connections = new Set<Connection>();

  /** @throws Error EADDRINUSE, EACCES, ... */
  constructor(readonly options: TcpOptions) {
    this.#sweeper = new Sweeper(options.now);
    this.#listener = Bun.listen<Connection>({
      hostname: options.host, port: options.port, exclusive: true,
      socket: {
        open: (socket) => { socket.data = new Connection(this, socket); this.#admit(socket.data); },
        data: (socket, chunk) => socket.data.received(chunk),
        drain: (socket) => socket.data.drained(),
        close: (socket) => this.#forget(socket.data),
        error: () => {}, // "close" follows and says the same.
      },
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  /** Connections now. */
  get size(): number {
    return this.#connections.size;
  }

  /** Of answers that clients have not taken. */
  get pendingBytes(): number {
    let bytes = 0;
    for (const connection of this.#connections) bytes += connection.pendingBytes;
    return bytes;
  }

  stop(): void {
    this.#listener.stop(true);
    for (const connection of [...this.#connections]) connection.cut();
    this.#sweeper.close();
  }

  heard(connection: Connection): void {
    this.#connections.delete(connection);
    this.#connections.add(connection);
  }

  #admit(connection: Connection): void {
    let ofNetwork = 0;
    for (const { network } of this.#connections) if (network === connection.network) ofNetwork += 1;
    if (ofNetwork >= CONNECTIONS_PER_NETWORK) return connection.cut();
    this.#connections.add(connection);
    this.#sweeper.add(connection);
    if (this.#connections.size > CONNECTIONS_LIMIT) this.#connections.values().next().value?.cut();
  }

  #forget(connection: Connection): void {
    this.#connections.delete(connection);
    this.#sweeper.delete(connection);
  }
}

class Connection implements Sweepable {
  readonly network: string;
  readonly #client: string;
  readonly #now: () => number;
  #incoming: Buffer = Buffer.alloc(0);
  #outgoing: Buffer = Buffer.alloc(0);
  #deadlineMs: number;
  #isCut = false;

  constructor(private readonly listener: TcpListener, private readonly socket: Socket<Connection>) {
    this.#client = plainAddress(socket.remoteAddress);
    this.network = networkOf(this.#client);
    this.#now = listener.options.now ?? (() => performance.now());
    this.#deadlineMs = this.#now() + IDLE_TIMEOUT_MS;
  }

  received(chunk: Buffer): void {
    this.#incoming = this.#incoming.length === 0 ? chunk : Buffer.concat([this.#incoming, chunk]);
    while (!this.#isCut) {
      const message = this.#nextMessage();
      if (message === null) break;
      this.#deadlineMs = this.#now() + IDLE_TIMEOUT_MS;
      this.listener.heard(this);
      const answer = this.listener.options.answer(message, this.#client);
      if (answer === null) return this.cut();
      this.#send(answer);
    }
    // The beginning of a message must not hold the whole chunk that it came in.
    this.#incoming = Buffer.from(this.#incoming);
  }

  drained(): void {
    this.#outgoing = this.#outgoing.subarray(this.#write(this.#outgoing));
  }

  get pendingBytes(): number {
    return this.#outgoing.length;
  }

  sweep(nowMs: number): void {
    if (nowMs >= this.#deadlineMs) this.cut();
  }

  cut(): void {
    if (this.#isCut) return;
    this.#isCut = true;
    this.socket.terminate();
  }

  #nextMessage(): Buffer | null {
    if (this.#incoming.length < 2) return null;
    const length = this.#incoming.readUInt16BE(0);
    if (length < HEADER_BYTES) {
      this.cut();
      return null;
    }
    if (this.#incoming.length < 2 + length) return null;
    const message = this.#incoming.subarray(2, 2 + length);
    this.#incoming = this.#incoming.subarray(2 + length);
    return message;
  }

  #send(answer: Buffer): void {
    // It asks on without reading what it asked for.
    if (this.#outgoing.length > 0) return this.cut();
    const frame = Buffer.alloc(2 + answer.length);
    frame.writeUInt16BE(answer.length, 0);
    answer.copy(frame, 2);
    this.#outgoing = frame.subarray(this.#write(frame));
  }

  /** @returns how many bytes the socket took */
  #write(bytes: Buffer): number {
    return bytes.length === 0 ? 0 : Math.max(0, this.socket.write(bytes, 0, bytes.length));
  }
}
