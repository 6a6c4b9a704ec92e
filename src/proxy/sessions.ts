// All bridged sessions of this process: keep-alive beats spread over the interval, and the end of all of them on shutdown.

import type { WebSocketSettings } from "../settings.ts";
import type { Session } from "./session.ts";

/** Sessions take turns, so that thousands of pings do not leave in one burst. */
const TURNS = 16;

export class Sessions {
  readonly #turns: ReadonlyArray<Set<Session>> = Array.from({ length: TURNS }, () => new Set<Session>());
  readonly #turnOf = new Map<Session, number>();
  #next = 0;
  #timer: ReturnType<typeof setInterval> | null = null;
  #beat = 0;

  constructor(private settings: WebSocketSettings) {}

  get size(): number {
    return this.#turnOf.size;
  }

  /** New settings hold from the next beat on, for open sessions as well. */
  configure(settings: WebSocketSettings): void {
    this.settings = settings;
    if (this.#timer !== null) this.#start();
  }

  add(session: Session): void {
    this.#turns[this.#next]?.add(session);
    this.#turnOf.set(session, this.#next);
    this.#next = (this.#next + 1) % TURNS;
    if (this.#timer === null) this.#start();
  }

  delete(session: Session): void {
    const turn = this.#turnOf.get(session);
    if (turn === undefined) return;
    this.#turnOf.delete(session);
    this.#turns[turn]?.delete(session);
    if (this.#turnOf.size === 0) this.#stop();
  }

  shutAll(code: number, reason: string): void {
    for (const session of this.#turnOf.keys()) session.shut(code, reason);
  }

  #start(): void {
    this.#stop();
    this.#timer = setInterval(() => this.#tick(), Math.max(1, this.settings.pingIntervalMs / TURNS)).unref();
  }

  #stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  #tick(): void {
    const nowMs = performance.now();
    this.#beat = (this.#beat + 1) % TURNS;
    for (const session of this.#turns[this.#beat] ?? []) session.beat(this.settings, nowMs);
  }
}
