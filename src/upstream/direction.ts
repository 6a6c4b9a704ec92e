// One direction of a tunnel: where bytes go, what the kernel did not take of them yet, and whether the receiver takes enough of
// that. A receiver that does not read stops the sender being read.

import type { Socket } from "bun";
import { Outgoing } from "./outgoing.ts";

/** Somebody who takes nothing of what waits for it, unless told otherwise: the kernel's megabytes take a client at 20 kB/s minutes, in which we see nothing of it. */
export const STALL: Stall = { ms: 300_000, bytes: 1 };

/** Who takes less than so many of the bytes that wait for it, in so long, is cut. */
export type Stall = { readonly ms: number; readonly bytes: number };

export class Direction {
  #queue: Outgoing | null = null;
  /** Since when bytes wait for the receiver, monotonic ms; Infinity while none do. */
  #waitingSinceMs = Infinity;
  /** How long it was waited for before that, and what it has taken meanwhile: since it had taken as much as it has to. */
  #waitedMs = 0;
  #taken = 0;
  /** The sender's FIN has come. */
  isEnding = false;
  /** And was passed on, behind everything before it. */
  isOver = false;
  #isUnheard = false;
  /** The other one of the tunnel. */
  back: Direction | null = null;

  constructor(private readonly from: Socket<unknown>, private readonly to: Socket<unknown>, private readonly stall: Stall) {}

  /** Bytes wait for a receiver that does not take them. */
  get isWaiting(): boolean {
    return this.#queue !== null;
  }

  isStalled(nowMs: number): boolean {
    return this.#waitedMs + nowMs - this.#waitingSinceMs >= this.stall.ms;
  }

  /** @returns false when the far side is gone */
  push(chunk: Uint8Array): boolean {
    if (this.#isUnheard) return true;
    if (this.#queue !== null) return this.#queue.write(this.to, chunk);
    const taken = this.to.write(chunk, 0, chunk.length);
    if (taken === chunk.length) return true;
    if (taken < 0) return false;
    this.#queue = new Outgoing();
    this.#waitingSinceMs = performance.now();
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
    this.#taken += before - queue.pendingBytes;
    if (this.#taken >= this.stall.bytes) this.#countAnew();
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

  #countAnew(): void {
    this.#waitingSinceMs = performance.now();
    this.#waitedMs = this.#taken = 0;
  }

  #flow(): void {
    // Idle tunnels keep no queue.
    this.#queue = null;
    if (this.#waitingSinceMs < Infinity) this.#waitedMs += performance.now() - this.#waitingSinceMs;
    this.#waitingSinceMs = Infinity;
    this.from.resume();
    if (this.isEnding) this.#finish();
  }

  #finish(): void {
    if (this.isOver) return;
    this.isOver = true;
    // With both over, the tunnel is, and its connections are closed.
    if (this.back?.isOver !== true) this.to.shutdown();
  }
}
