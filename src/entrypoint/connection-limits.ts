// How many connections clients may have: in all, and of one address (an IPv6 /64 counts as one). One count for all addresses that
// we bind. Whoever is over a limit is closed at once, which costs an accept and nothing else; the log hears of it once a second
// at most, with the number of those it did not hear of.
//
// Invariant: who was let in leaves once, under the address that it was counted under.

import { CidrSet } from "../lib/address.ts";
import { clientKey } from "../limits/client-key.ts";

/** Between two lines about refused connections, ms. */
const LINE_MS = 1000;

export type ConnectionLimitOptions = {
  /** In all; 0: no bound. */
  readonly connections: number;
  /** Of one address; 0: no bound. */
  readonly connectionsPerAddress: number;
  /** CIDRs of clients whose number is not looked at; they count in all. */
  readonly exempt?: readonly string[];
  /** @param others refused since the last such line, this one not among them */
  readonly refused?: (client: string, reason: string, others: number) => void;
  /** Monotonic ms. */
  readonly now?: () => number;
};

export class ConnectionLimits {
  /** Clients that have connections. */
  readonly #counts = new Map<string, number>();
  readonly #exempt: CidrSet;
  readonly #now: () => number;
  #total = 0;
  #lineMs = -Infinity;
  #others = 0;

  /** @throws Error when an exemption is not a CIDR */
  constructor(private readonly options: ConnectionLimitOptions) {
    this.#exempt = new CidrSet(options.exempt ?? []);
    this.#now = options.now ?? (() => performance.now());
  }

  /** Connections that were let in and have not left. */
  get size(): number {
    return this.#total;
  }

  /** Clients that have them. */
  get clients(): number {
    return this.#counts.size;
  }

  /**
   * A connection has come. Who is let in has to {@link leave}.
   * @param client address; null: not known yet, see {@link name}
   */
  enter(client: string | null, peer: string = client ?? ""): boolean {
    const { connections } = this.options;
    if (connections > 0 && this.#total >= connections) return this.refuse(peer, "too many connections");
    if (client !== null && !this.name(client)) return false;
    this.#total += 1;
    return true;
  }

  /** The client of a connection that was let in without its address. @returns false: it is over its own limit, and leaves as nobody */
  name(client: string): boolean {
    const limit = this.options.connectionsPerAddress;
    if (limit === 0 || this.#exempt.has(client)) return true;
    const key = clientKey(client);
    const count = this.#counts.get(key) ?? 0;
    if (count >= limit) return this.refuse(client, "too many connections of this address");
    this.#counts.set(key, count + 1);
    return true;
  }

  /** @param client as it was let in or named; null: it never was named */
  leave(client: string | null): void {
    this.#total -= 1;
    if (client === null || this.options.connectionsPerAddress === 0 || this.#exempt.has(client)) return;
    const key = clientKey(client);
    const count = this.#counts.get(key) ?? 0;
    if (count > 1) this.#counts.set(key, count - 1);
    else this.#counts.delete(key);
  }

  /** Says that somebody was refused, unless it has just said so of others. */
  refuse(client: string, reason: string): false {
    const nowMs = this.#now();
    if (nowMs - this.#lineMs < LINE_MS) this.#others += 1;
    else {
      this.options.refused?.(client, reason, this.#others);
      this.#lineMs = nowMs;
      this.#others = 0;
    }
    return false;
  }
}
