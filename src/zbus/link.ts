// A connection to the broker that comes back: when it is lost or does not open, it is opened again, after a pause that doubles
// up to ten seconds, with jitter so that many nodes don't return at once. Only a connection that held for a while resets the
// pause: a broker that accepts and then refuses is not hammered.

import type { RedisConnection } from "./connection.ts";

const PAUSE_MS = 100;
const PAUSE_LIMIT_MS = 10_000;
/** For so long must a connection have held for the next pause to be the shortest, ms. */
const HELD_MS = 10_000;

export type LinkEvents = {
  connected(): void;
  /** Lost, refused, or not opened. */
  failed(error: Error): void;
};

export class Link {
  #current: RedisConnection | null = null;
  #opening: Promise<RedisConnection | null> | null = null;
  #failures = 0;
  #openedMs = 0;
  #closed = false;
  #wake: (() => void) | null = null;

  constructor(private readonly connect: () => Promise<RedisConnection>, private readonly events: LinkEvents, private readonly random: () => number = Math.random) {}

  get isConnected(): boolean {
    return this.#current !== null;
  }

  /** The connection, as soon as there is one; null when the link was closed. */
  async get(): Promise<RedisConnection | null> {
    if (this.#current !== null) return this.#current;
    if (this.#closed) return null;
    return this.#opening ??= this.#open();
  }

  /** It cannot be used any more; another one is opened. */
  failed(connection: RedisConnection, error: Error): void {
    if (connection !== this.#current) return;
    this.#current = null;
    connection.close();
    this.#failures = performance.now() - this.#openedMs < HELD_MS ? this.#failures + 1 : 1;
    if (this.#closed) return;
    this.events.failed(error);
    void this.get();
  }

  close(): void {
    this.#closed = true;
    this.#wake?.();
    this.#current?.close();
    this.#current = null;
  }

  async #open(): Promise<RedisConnection | null> {
    while (!this.#closed) {
      if (this.#failures > 0) await this.#pause();
      if (this.#closed) break;
      try {
        return this.#opened(await this.connect());
      } catch (error) {
        // Unreachable, wrong password, still loading: whatever it is, time may help.
        this.#failures += 1;
        if (!this.#closed) this.events.failed(error as Error);
      }
    }
    return null;
  }

  #opened(connection: RedisConnection): RedisConnection | null {
    if (this.#closed) {
      connection.close();
      return null;
    }
    this.#opening = null;
    this.#current = connection;
    this.#openedMs = performance.now();
    connection.onLost = (error) => this.failed(connection, error);
    this.events.connected();
    return connection;
  }

  async #pause(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const timer = setTimeout(resolve, pauseMs(this.#failures, this.random()));
    await promise;
    clearTimeout(timer);
    this.#wake = null;
  }
}

/** @param failures in a row, at least 1 @param random 0 to 1 */
export function pauseMs(failures: number, random: number): number {
  return Math.min(PAUSE_LIMIT_MS, PAUSE_MS * 2 ** Math.min(failures - 1, 20)) * (0.5 + random / 2);
}
