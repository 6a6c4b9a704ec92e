// Keep-alive connections to upstreams, by target. Nothing waits for anything here: a request takes an idle connection or
// dials a new one. Bounds are on what is kept idle; what is in use is bounded by the clients that we accept.

import type { Socket } from "bun";
import type { Sweepable, Sweeper } from "../lib/deadlines.ts";
import { Dial } from "./dial.ts";
import { ConnectError, isIdempotent, type UpstreamRequest, type UpstreamResponse, UpstreamClosedError } from "./exchange.ts";
import { HttpConnection } from "./http-connection.ts";
import { BufferBudget } from "./response-body.ts";
import { ResponseHeadMemo } from "./response-head.ts";

export type HttpPoolSettings = {
  readonly connectTimeoutMs: number;
  readonly writeTimeoutMs: number;
  readonly idleConnectionsPerTarget: number;
  readonly idleConnections: number;
  readonly idleTimeoutMs: number;
  readonly responseBufferBytes: number;
  readonly responseBufferTotalBytes: number;
};

export type Address = { readonly address: string; readonly port: number; readonly key: string };

/**
 * A request that must not be sent twice only goes out on a connection that was in use a moment ago: upstreams close idle
 * ones after 2 s (gunicorn) or more, and a close that crosses our request could not be told from a lost answer.
 */
const FRESH_MS = 1000;

export class HttpPool implements Sweepable {
  readonly #idle = new Map<string, HttpConnection[]>();
  readonly #open = new Set<HttpConnection>();
  #idleCount = 0;
  #retired = false;
  readonly #connection;

  constructor(private readonly settings: HttpPoolSettings, private readonly sweeper: Sweeper) {
    this.#connection = {
      writeTimeoutMs: settings.writeTimeoutMs,
      bufferBytes: settings.responseBufferBytes,
      budget: new BufferBudget(settings.responseBufferTotalBytes),
      heads: new ResponseHeadMemo(),
    };
  }

  /**
   * Sends one request; then one of the two is called, once: `resolve` with the head of the answer and its body, `reject`
   * (callbacks rather than a promise: this is the way of every request) with ConnectError, UpstreamClosedError, UpstreamTimeoutError, ProtocolError, BodyTooLargeError or ClientGoneError.
   */
  exchange(address: Address, request: UpstreamRequest, resolve: (response: UpstreamResponse) => void, reject: (error: Error) => void): void {
    const replayable = isIdempotent(request.method);
    const connection = this.#take(address.key, replayable);
    if (connection === null) return this.#dial(address, request, resolve, reject);
    connection.start(request, resolve, !replayable || request.body instanceof ReadableStream ? reject : (error) => {
      if (error instanceof UpstreamClosedError && connection.wasStale) this.#dial(address, request, resolve, reject);
      else reject(error);
    });
  }

  /** Open connections, for tests and metrics. */
  get size(): { open: number; idle: number } {
    return { open: this.#open.size, idle: this.#idleCount };
  }

  /** Cuts everything, also what is in use. */
  close(): void {
    for (const connection of this.#open) connection.close();
  }

  /** Keeps nothing any more: idle connections close now, busy ones after their exchange. */
  retire(): void {
    this.#retired = true;
    for (const idle of [...this.#idle.values()]) for (const connection of idle.slice()) connection.close();
  }

  #take(key: string, mayBeOld: boolean): HttpConnection | null {
    const idle = this.#idle.get(key);
    if (idle === undefined) return null;
    const connection = idle.at(-1);
    if (connection === undefined || (!mayBeOld && performance.now() - connection.idleSinceMs > FRESH_MS)) return null;
    idle.pop();
    this.#idleCount -= 1;
    if (idle.length === 0) this.#idle.delete(key);
    return connection;
  }

  #dial(address: Address, request: UpstreamRequest, resolve: (response: UpstreamResponse) => void, reject: (error: Error) => void): void {
    const connection = new HttpConnection(address.key, this, this.#connection);
    const dial = new Dial(this.sweeper, performance.now() + this.settings.connectTimeoutMs, (error, socket) => {
      if (error !== null) return reject(error);
      connection.opened(socket as Socket<HttpConnection>);
      this.#open.add(connection);
      this.sweeper.add(connection);
      if (this.#open.size === 1) this.sweeper.add(this);
      connection.start(request, resolve, reject);
    });
    request.watcher.slow(dial);
    Bun.connect<HttpConnection>({
      hostname: address.address, port: address.port, data: connection,
      socket: { ...HANDLERS, open: (socket) => { if (!dial.settle(null, socket)) socket.terminate(); } },
    }).catch((error: Error) => dial.settle(new ConnectError("cannot connect", { cause: error })));
  }

  // ---- ConnectionOwner

  idle(connection: HttpConnection): void {
    const idle = this.#idle.get(connection.key);
    if (this.#retired || (idle?.length ?? 0) >= this.settings.idleConnectionsPerTarget || this.#idleCount >= this.settings.idleConnections) {
      return connection.close();
    }
    if (idle === undefined) this.#idle.set(connection.key, [connection]);
    else idle.push(connection);
    this.#idleCount += 1;
  }

  closed(connection: HttpConnection): void {
    this.#open.delete(connection);
    this.sweeper.delete(connection);
    const idle = this.#idle.get(connection.key);
    const at = idle?.indexOf(connection) ?? -1;
    if (idle === undefined || at < 0) return;
    idle.splice(at, 1);
    this.#idleCount -= 1;
    if (idle.length === 0) this.#idle.delete(connection.key);
  }

  sweep(nowMs: number): void {
    if (this.#open.size === 0) return this.sweeper.delete(this);
    for (const idle of this.#idle.values()) {
      // Oldest first: the first one that is young enough ends the walk.
      for (let oldest = idle[0]; oldest !== undefined && nowMs - oldest.idleSinceMs >= this.settings.idleTimeoutMs; oldest = idle[0]) {
        oldest.close();
      }
    }
  }
}

const HANDLERS = {
  data(socket: Socket<HttpConnection>, chunk: Buffer) { socket.data.received(chunk); },
  drain(socket: Socket<HttpConnection>) { socket.data.drained(); },
  close(socket: Socket<HttpConnection>, error?: Error) { socket.data.closed(error ?? null); },
  error(socket: Socket<HttpConnection>, error: Error) { socket.data.closed(error); },
};
