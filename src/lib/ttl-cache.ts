// A bounded map whose entries end at a time: the one cache shape of the data plane (tokens, names). Bounded in entries
// and in bytes as the caller counts them; what was not used for longest goes first. One sweeping timer for all entries.
//
// Invariant: `get` never returns an entry whose time has come, whether or not the sweep has been there.

/** How often expired entries are thrown out; they are never returned in between, they only take their place. */
const SWEEP_MS = 5_000;
/** A hit moves its entry to the young end at most this often: moving costs twenty times what reading does. */
const TOUCH_MS = 1_000;
/** When full, this share of the entries goes at once: walking over the old end of a Map is what costs. */
const EVICTED_SHARE = 256;

export type TtlCacheOptions = {
  readonly entries: number;
  readonly bytes: number;
  /** Unix time in ms. */
  readonly now?: () => number;
};

type Entry<V> = { readonly value: V; readonly expiresAtMs: number; readonly bytes: number; touchedMs: number };

export class TtlCache<V> {
  /** In the order of last use, oldest first (to within TOUCH_MS). */
  readonly #entries = new Map<string, Entry<V>>();
  readonly #limit: { readonly entries: number; readonly bytes: number };
  readonly #now: () => number;
  #bytes = 0;
  #timer: Timer | null = null;

  constructor({ entries, bytes, now = Date.now }: TtlCacheOptions) {
    this.#limit = { entries, bytes };
    this.#now = now;
  }

  get(key: string): V | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    const now = this.#now();
    if (now >= entry.expiresAtMs) {
      this.delete(key);
      return undefined;
    }
    if (now - entry.touchedMs >= TOUCH_MS) this.#touch(key, entry, now);
    return entry.value;
  }

  /**
   * Stores a value until `expiresAtMs` (Unix time in ms). Nothing is stored when that has passed, or when the entry
   * alone is over the bound; an older value of the key is gone in every case.
   * @param bytes what the entry takes in memory, key included, as the caller estimates it
   */
  set(key: string, value: V, expiresAtMs: number, bytes: number): void {
    this.delete(key);
    const now = this.#now();
    if (!(now < expiresAtMs) || bytes > this.#limit.bytes || this.#limit.entries < 1) return;
    if (this.#entries.size >= this.#limit.entries || this.#bytes + bytes > this.#limit.bytes) this.#makeRoom(bytes);
    this.#entries.set(key, { value, expiresAtMs, bytes, touchedMs: now });
    this.#bytes += bytes;
    this.#timer ??= setInterval(() => this.#sweep(), SWEEP_MS).unref();
  }

  delete(key: string): boolean {
    const entry = this.#entries.get(key);
    if (entry === undefined) return false;
    this.#bytes -= entry.bytes;
    return this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
    this.#bytes = 0;
    this.#stop();
  }

  /** Entries held, expired ones that were not swept yet included. */
  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Empties the cache and ends its timer. */
  close(): void {
    this.clear();
  }

  #touch(key: string, entry: Entry<V>, now: number): void {
    entry.touchedMs = now;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
  }

  #makeRoom(bytes: number): void {
    let surplus = 1 + Math.floor(this.#limit.entries / EVICTED_SHARE);
    for (const key of this.#entries.keys()) {
      if (surplus <= 0 && this.#bytes + bytes <= this.#limit.bytes) return;
      this.delete(key);
      surplus -= 1;
    }
  }

  #sweep(): void {
    const now = this.#now();
    for (const [key, entry] of this.#entries) if (now >= entry.expiresAtMs) this.delete(key);
    if (this.#entries.size === 0) this.#stop();
  }

  #stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }
}
