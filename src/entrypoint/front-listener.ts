// An address that we bind below HTTP, and the connections that came through it: what the plain and the TLS front have in common.

import type { Socket, TCPSocketListener } from "bun";
import type { ListenAddress } from "../settings.ts";
import { bind } from "./listen.ts";

/** One connection, from its first byte to its end. */
export interface FrontConnection {
  received(chunk: Buffer): void;
  drained(): void;
  ended(): void;
  closed(error: Error | null): void;
  /** It carries something now. @param nowMs monotonic */
  isBusy(nowMs: number): boolean;
  cut(reason: string): void;
}

export abstract class FrontListener<C extends FrontConnection> {
  readonly #listener: TCPSocketListener<C | undefined>;
  readonly #connections = new Set<C>();

  /**
   * @param flag of the command line that says another address
   * @throws Error EADDRINUSE, EACCES: with the address in its message
   */
  constructor(listen: ListenAddress, flag: string) {
    this.#listener = bind(listen, flag, (hostname) => Bun.listen<C | undefined>({
      hostname, port: listen.port, allowHalfOpen: true, exclusive: true,
      socket: {
        open: (socket) => this.#open(socket),
        data: (socket, chunk) => socket.data?.received(chunk),
        drain: (socket) => socket.data?.drained(),
        end: (socket) => socket.data?.ended(),
        close: (socket, error) => socket.data?.closed(error ?? null),
        error: () => {}, // "close" follows and says the same.
      },
    }));
  }

  /** Makes the connection; null: it is not let in. @param peer its address; "" for a client that has already gone */
  protected abstract admit(socket: Socket<C | undefined>, peer: string): C | null;

  /** It was let in: room may have to be made, by cutting it or another one. */
  protected abstract admitted(connection: C): void;

  get hostname(): string {
    return this.#listener.hostname;
  }

  get port(): number {
    return this.#listener.port;
  }

  /** Connections that were let in and have not ended. */
  get size(): number {
    return this.#connections.size;
  }

  /** Connections that carry something now: bytes wait for one of their ends, or have just passed. */
  get busy(): number {
    const nowMs = performance.now();
    return [...this.#connections].filter((connection) => connection.isBusy(nowMs)).length;
  }

  stopAccepting(): void {
    this.#listener.stop(false);
  }

  /** Cuts what is left. */
  stop(): void {
    this.#listener.stop(false);
    for (const connection of [...this.#connections]) connection.cut("shutdown");
  }

  forget(connection: C): void {
    this.#connections.delete(connection);
  }

  #open(socket: Socket<C | undefined>): void {
    // Undefined for a client that has already gone, whatever its type says.
    const connection = this.admit(socket, socket.remoteAddress ?? "");
    if (connection === null) return void socket.terminate();
    socket.data = connection;
    this.#connections.add(connection);
    this.admitted(connection);
  }
}
