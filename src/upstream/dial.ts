// A connection attempt with a deadline. Bun.connect has neither a timeout nor an abort, so the attempt is given up by us and
// a socket that opens too late is closed on sight. Over TLS there is a socket before there is a connection: it is held here
// until its certificate was looked at, and goes when the attempt does.

import type { Socket } from "bun";
import type { Sweepable, Sweeper } from "../lib/deadlines.ts";
import { ClientGoneError, ConnectTimeoutError } from "./exchange.ts";

export class Dial<S> implements Sweepable {
  #done: ((error: Error | null, socket?: Socket<S>) => void) | null;
  #held: Socket<S> | null = null;

  constructor(private readonly sweeper: Sweeper, private readonly deadlineMs: number,
    done: (error: Error | null, socket?: Socket<S>) => void) {
    this.#done = done;
    sweeper.add(this);
  }

  get isOver(): boolean {
    return this.#done === null;
  }

  /** The socket is open and its TLS handshake under way. */
  hold(socket: Socket<S>): void {
    if (this.#done === null) socket.terminate();
    else this.#held = socket;
  }

  /** @returns false when the attempt was already over */
  settle(error: Error | null, socket?: Socket<S>): boolean {
    const done = this.#done;
    if (done === null) return false;
    this.#done = null;
    this.sweeper.delete(this);
    // Closing it has events of its own: they find the attempt over.
    if (error !== null) this.#held?.terminate();
    this.#held = null;
    done(error, socket);
    return true;
  }

  abort(): void {
    this.settle(new ClientGoneError("client went away while connecting"));
  }

  sweep(nowMs: number): void {
    if (nowMs >= this.deadlineMs) this.settle(new ConnectTimeoutError("connecting took too long"));
  }
}
