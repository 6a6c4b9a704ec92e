// What each address that we bind asks of a connection before anything else: whether there is room for it, and whom it stands for.
// A peer that is one of our proxies has to say that first, with a PROXY protocol header; from anybody else such a header is the
// client's own bytes, and nobody believes them.

import { CidrSet, plainAddress } from "../lib/address.ts";
import type { Settings } from "../settings.ts";
import { ConnectionLimits } from "./connection-limits.ts";
import { readProxyHeader } from "./proxy-protocol.ts";

/** From the connection to its first bytes: a whole PROXY header, a whole ClientHello; as long as Bun.serve waits for a request's head. */
export const OPENING_MS = 10_000;

export interface AdmissionLog {
  record(message: string, fields: Readonly<Record<string, string | number>>): void;
}

export class Admission {
  readonly #proxies: CidrSet;

  /**
   * @param proxies CIDRs of the peers whose connections begin with a PROXY header
   * @throws Error when one is not a CIDR
   */
  constructor(readonly limits: ConnectionLimits, proxies: readonly string[]) {
    this.#proxies = new CidrSet(proxies);
  }

  /** null: nothing is asked of anybody. One for all addresses that are bound. */
  static of({ limits: { connections, connectionsPerAddress }, proxyProtocol }: Pick<Settings, "limits" | "proxyProtocol">, log: AdmissionLog | null = null): Admission | null {
    if (connections === 0 && connectionsPerAddress === 0 && proxyProtocol.length === 0) return null;
    const refused = (client: string, reason: string, others: number): void => log?.record("connection refused", { client, reason, others });
    return new Admission(new ConnectionLimits({ connections, connectionsPerAddress, refused }), proxyProtocol);
  }

  /** @param peer address of the connection's other end @returns null: there is no room */
  arrive(peer: string): Arrival | null {
    const address = plainAddress(peer);
    const isProxy = this.#proxies.has(address);
    return this.limits.enter(isProxy ? null : address, address) ? new Arrival(this.limits, address, isProxy) : null;
  }
}

/** One connection that was let in. */
export class Arrival {
  /** Whom it was counted for; null: for nobody. */
  #counted: string | null;
  #isHere = true;

  /** @param client address of the peer until its header says another @param awaitsHeader the peer has to say first whom it stands for */
  constructor(private readonly limits: ConnectionLimits, public client: string, public awaitsHeader: boolean) {
    this.#counted = awaitsHeader ? null : client;
  }

  /**
   * @param bytes of the connection, from its beginning
   * @returns what follows the header; null: it is not whole yet; "refused": it is none, or its client has no room
   */
  read(bytes: Buffer): Buffer | "refused" | null {
    const header = readProxyHeader(bytes);
    if (header.kind === "incomplete") return null;
    if (header.kind === "bad") return this.refuse(header.reason);
    this.awaitsHeader = false;
    // A proxy that speaks for itself, to see whether we are there, takes nobody's place.
    if (header.client === null) return bytes.subarray(header.length);
    this.client = header.client.address;
    if (!this.limits.name(this.client)) return "refused";
    this.#counted = this.client;
    return bytes.subarray(header.length);
  }

  /** For the log, which is told once a second at most. */
  refuse(reason: string): "refused" {
    this.limits.refuse(this.client, reason);
    return "refused";
  }

  /** May be called again. */
  leave(): void {
    if (!this.#isHere) return;
    this.#isHere = false;
    this.limits.leave(this.#counted);
  }
}
