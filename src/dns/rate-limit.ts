// How much one network is answered: a token bucket for each /24 (IPv4) or /56 (IPv6), since the source address of a UDP query
// may be forged and whoever it belongs to gets our answers. Beyond the rate every second query is told to come over TCP, the
// others get nothing (what BIND and NSD call RRL): a real resolver in a flooded network still gets through.
//
// The table is bounded. A full one forgets the network that has been silent longest, so that a flood from many addresses
// costs memory of a known size and locks nobody out.

import { plainAddress } from "../lib/address.ts";

export type Verdict = "answer" | "ask-over-tcp" | "drop";

export type RateLimitOptions = {
  readonly perSecond: number;
  /** Answers at once after a silence. */
  readonly burst: number;
  readonly networksLimit: number;
  /** Monotonic ms. */
  readonly now?: () => number;
};

type Bucket = { tokens: number; refilledMs: number; refused: number };

export class RateLimit {
  /** The one asked about last is the last one. */
  readonly #buckets = new Map<string, Bucket>();
  readonly #now: () => number;

  constructor(private readonly options: RateLimitOptions) {
    this.#now = options.now ?? (() => performance.now());
  }

  /** Networks that are remembered. */
  get size(): number {
    return this.#buckets.size;
  }

  take(address: string): Verdict {
    const bucket = this.#bucketOf(networkOf(address));
    if (bucket.tokens >= 1) {
      bucket.tokens -= 1;
      return "answer";
    }
    bucket.refused += 1;
    return bucket.refused % 2 === 0 ? "ask-over-tcp" : "drop";
  }

  #bucketOf(network: string): Bucket {
    const { perSecond, burst, networksLimit } = this.options;
    const nowMs = this.#now();
    const bucket = this.#buckets.get(network) ?? { tokens: burst, refilledMs: nowMs, refused: 0 };
    bucket.tokens = Math.min(burst, bucket.tokens + (nowMs - bucket.refilledMs) * perSecond / 1000);
    bucket.refilledMs = nowMs;
    this.#buckets.delete(network);
    this.#buckets.set(network, bucket);
    if (this.#buckets.size > networksLimit) this.#buckets.delete(this.#buckets.keys().next().value!);
    return bucket;
  }
}

/** `192.0.2.7` → `192.0.2`, `2001:db8:0:1234::1` → `2001:db8:0:12`: the network that is one customer, most likely. */
export function networkOf(address: string): string {
  const plain = plainAddress(address);
  if (!plain.includes(":")) return plain.slice(0, plain.lastIndexOf("."));
  const [head = "", tail = ""] = plain.split("::");
  const groups = head === "" ? [] : head.split(":");
  const after = tail === "" ? [] : tail.split(":");
  if (plain.includes("::")) while (groups.length + after.length < 8) groups.push("0");
  const [a = "0", b = "0", c = "0", d = "0"] = [...groups, ...after].map((group) => Number.parseInt(group, 16).toString(16));
  return `${a}:${b}:${c}:${(Number.parseInt(d, 16) >> 8).toString(16)}`;
}
