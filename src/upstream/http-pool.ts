// Keep-alive connections to upstreams, by target. A request takes an idle connection, or waits for one that is made for it; a
// target that is slow to connect to keeps nobody waiting but its own requests. Bounds are on what is kept idle and on what is
// being connected; what is in use is bounded by the clients that we accept.

import type { Socket } from "bun";
import type { Sweepable, Sweeper } from "../lib/deadlines.ts";
import { connect, type PooledAddress } from "./connect.ts";
import { Dial } from "./dial.ts";
import { DialQueue } from "./dial-queue.ts";
import { type ExchangeReceiver, type ExchangeWatcher, isIdempotent, isRepeatable, type UpstreamRequest, UpstreamClosedError } from "./exchange.ts";
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

/**
 * A request that must not be sent twice only goes out on a connection that was in use a moment ago: upstreams close idle
 * ones after 2 s (gunicorn) or more, and a close that crosses our request could not be told from a lost answer.
 */
const FRESH_MS = 1000;

export class HttpPool implements Sweepable {
  readonly #idle = new Map<string, HttpConnection[]>();
  readonly #open = new Set<HttpConnection>();
  readonly #queues = new Map<string, DialQueue<HttpConnection>>();
  #idleCount = 0;
  #retired = false;
  #closed = false;
  readonly #connection;
  /** Of whole bodies on their way to clients, also those that don't come from upstreams. */
  readonly budget: BufferBudget;

  constructor(private readonly settings: HttpPoolSettings, private readonly sweeper: Sweeper) {
    this.budget = new BufferBudget(settings.responseBufferTotalBytes);
    this.#connection = {
      writeTimeoutMs: settings.writeTimeoutMs,
      bufferBytes: settings.responseBufferBytes,
      budget: this.budget,
      heads: new ResponseHeadMemo(),
    };
  }

  /** Sends one request; then its receiver is told, once: the head of the answer and its body, or why there is none. */
  exchange(address: PooledAddress, request: UpstreamRequest, receiver: ExchangeReceiver): void {
    const connection = this.#take(poolKey(address), isIdempotent(request.method));
    if (connection === null) this.#await(address, request, receiver);
    else connection.start(request, receiver);
  }

  /**
   * Resolves when there is a connection that the next request can take: it stays idle for as long as idle ones do.
   * @param watcher learns how to give up
   * @throws ConnectError, ConnectTimeoutError, ClientGoneError, UpstreamClosedError when the pool was closed (as rejections)
   */
  warm(address: PooledAddress, watcher: Pick<ExchangeWatcher, "slow"> | null = null): Promise<void> {
    if (this.#idle.has(poolKey(address))) return Promise.resolve();
    if (this.#closed) return Promise.reject(closedByShutdown());
    return new Promise((resolve, reject) => {
      const waiter = this.#queue(address).wait(this.#connectDeadline(), (connection) => {
        connection.release();
        resolve();
      }, reject);
      watcher?.slow(waiter);
    });
  }

  /** Open connections, for tests and metrics. */
  get size(): { open: number; idle: number } {
    return { open: this.#open.size, idle: this.#idleCount };
  }

  /** Cuts everything, also what is in use; what is asked from now on fails. */
  close(): void {
    this.#closed = true;
    for (const queue of [...this.#queues.values()]) queue.close(closedByShutdown());
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

  /** For a connection of its own, or one that becomes free before. */
  #await(address: PooledAddress, request: UpstreamRequest, receiver: ExchangeReceiver): void {
    // A request whose connection was cut by that is not sent again.
    if (this.#closed) return receiver.failed(closedByShutdown());
    let connection: HttpConnection | null = null;
    const waiter = this.#queue(address).wait(this.#connectDeadline(), (given) => {
      connection = given;
      given.start(request, receiver);
    }, (error) => receiver.failed(error));
    request.watcher.slow({ abort: () => { if (connection === null) waiter.abort(); else connection.giveUp(request); } });
  }

  #queue(address: PooledAddress): DialQueue<HttpConnection> {
    const known = this.#queues.get(poolKey(address));
    if (known !== undefined) return known;
    const queue: DialQueue<HttpConnection> = new DialQueue<HttpConnection>(this.sweeper, {
      dial: (done) => this.#dial(address, done),
      spare: (connection) => connection.release(),
      emptied: () => { if (this.#queues.get(poolKey(address)) === queue) this.#queues.delete(poolKey(address)); },
    });
    this.#queues.set(poolKey(address), queue);
    return queue;
  }

  #dial(address: PooledAddress, done: (error: Error | null, connection?: HttpConnection) => void): void {
    const connection = new HttpConnection(address, this, this.#connection);
    connect(address, connection, HANDLERS, new Dial<HttpConnection>(this.sweeper, this.#connectDeadline(), (error, socket) => {
      if (error !== null) return done(error);
      connection.opened(socket as Socket<HttpConnection>);
      this.#open.add(connection);
      this.sweeper.add(connection);
      if (this.#open.size === 1) this.sweeper.add(this);
      done(null, connection);
    }));
  }

  #connectDeadline(): number {
    return performance.now() + this.settings.connectTimeoutMs;
  }

  // ---- ConnectionOwner

  idle(connection: HttpConnection): void {
    // Where nothing is to be kept idle, nothing is used twice.
    if (this.#queues.size > 0 && this.settings.idleConnectionsPerTarget > 0 && this.#queues.get(poolKey(connection.address))?.offer(connection) === true) return;
    const idle = this.#idle.get(poolKey(connection.address));
    if (this.#retired || this.#closed || (idle?.length ?? 0) >= this.settings.idleConnectionsPerTarget || this.#idleCount >= this.settings.idleConnections) {
      return connection.close();
    }
    if (idle === undefined) this.#idle.set(poolKey(connection.address), [connection]);
    else idle.push(connection);
    this.#idleCount += 1;
  }

  closed(connection: HttpConnection): void {
    this.#open.delete(connection);
    this.sweeper.delete(connection);
    const idle = this.#idle.get(poolKey(connection.address));
    const at = idle?.indexOf(connection) ?? -1;
    if (idle === undefined || at < 0) return;
    idle.splice(at, 1);
    this.#idleCount -= 1;
    if (idle.length === 0) this.#idle.delete(poolKey(connection.address));
  }

  unread({ address }: HttpConnection, request: UpstreamRequest, receiver: ExchangeReceiver, error: Error): void {
    if (isRepeatable(request)) this.#await(address, request, receiver);
    else receiver.failed(error);
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

/** No allocation for plain ones, which is nearly every request. */
function poolKey({ key, trust }: PooledAddress): string {
  return trust === undefined || trust === "" ? key : `${key} ${trust}`;
}

function closedByShutdown(): UpstreamClosedError {
  return new UpstreamClosedError("closed by shutdown");
}

const HANDLERS = {
  data(socket: Socket<HttpConnection>, chunk: Buffer) { socket.data.received(chunk); },
  drain(socket: Socket<HttpConnection>) { socket.data.drained(); },
  close(socket: Socket<HttpConnection>, error?: Error) { socket.data.closed(error ?? null); },
  error(socket: Socket<HttpConnection>, error: Error) { socket.data.closed(error); },
};
