// How slow a client may be that sends a body or takes an answer: so many bytes a second, over windows of ten seconds in which
// it was the client that was waited for. Time in which somebody else was slow is not the client's, and doesn't come in here.

/** What a client may be slow for before it is judged, ms. */
export const WINDOW_MS = 10_000;

/**
 * A client that takes nothing of an answer for this long is given up, whatever the rate. Its kernel and ours hold some megabytes,
 * which a client at 20 kB/s needs minutes for, hence not the 60 s that nginx waits between two writes.
 */
const STALL_MS = 300_000;
/** What a kernel may hold for a client before we see that it takes any of it (Linux, tcp_wmem). */
const KERNEL_BYTES = 4 * 1024 * 1024;

/** @param perSecond bytes; 0: anything goes @returns how long a client at that rate may seem to take nothing of an answer, ms */
export function stallMsAt(perSecond: number): number {
  return perSecond === 0 ? STALL_MS : Math.min(STALL_MS, WINDOW_MS + KERNEL_BYTES / perSecond * 1000);
}

/** Who takes less than so many of the bytes that wait for it, in so long, is given up. */
export type Stall = { readonly ms: number; readonly bytes: number };

/**
 * For who sees only what a kernel takes: in that time it takes, for a client at that rate, what the client reads, less what it held for it at the start. Also
 * for a client that reads nothing it may go on to take a little, now and then, as the memory of all connections allows.
 * @param perSecond as above
 */
export function stallAt(perSecond: number): Stall {
  const ms = stallMsAt(perSecond);
  return { ms, bytes: Math.max(1, perSecond * ms / 1000 - KERNEL_BYTES) };
}

export class MinimumRate {
  #bytes = 0;
  #waitedMs = 0;

  /** @param perSecond bytes; 0: anything goes */
  constructor(private readonly perSecond: number) {}

  /**
   * The client was waited for, and something came of it.
   * @param waitedMs since it was asked for more
   * @returns false when a whole window was too slow
   */
  moved(bytes: number, waitedMs: number): boolean {
    this.#bytes += bytes;
    this.#waitedMs += waitedMs;
    if (this.#waitedMs < WINDOW_MS) return true;
    const isEnough = this.#bytes >= this.perSecond * this.#waitedMs / 1000;
    this.#bytes = 0;
    this.#waitedMs = 0;
    return isEnough;
  }
}
