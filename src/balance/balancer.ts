// Which server of a service a request goes to. The policy picks among those that serve: members that active health calls
// healthy and that passive health has not ejected. The two are separate verdicts, and neither ends the other.
//
// Invariant: as long as there are members, some serve. The last available one is never ejected, and when active health has
// given all of them up, all serve: a request that may fail is better than one that must.

import type { BalancePolicy, EjectionSettings } from "../service.ts";
import { HashRing } from "./hash-ring.ts";
import { InTurn, smoothly } from "./in-turn.ts";
import { LeastBusy } from "./least-busy.ts";
import { RandomTwo } from "./random-two.ts";
import { type Member, type Order, Standing } from "./standing.ts";

export type { Member } from "./standing.ts";

export type BalancerOptions = {
  readonly policy: BalancePolicy;
  readonly ejection: EjectionSettings;
  /** For "sticky": the id that stands in the cookie of this member key. Without it nobody is found by an id. */
  readonly idOf?: (key: string) => string;
  /** A member was ejected, for so long. */
  readonly ejected?: (key: string, forMs: number) => void;
  /** Monotonic, ms. */
  readonly now?: () => number;
  /** From 0 to below 1. */
  readonly random?: () => number;
};

export type MemberState = {
  readonly key: string;
  readonly weight: number;
  readonly inFlight: number;
  readonly isHealthy: boolean;
  /** How much longer; 0: it is not ejected. */
  readonly ejectedForMs: number;
  /** Both since the member was added. */
  readonly requests: number;
  readonly failures: number;
};

const NONE: ReadonlySet<never> = new Set<never>();

export class Balancer<M extends Member> {
  readonly #policy: BalancePolicy;
  readonly #ejection: EjectionSettings;
  readonly #now: () => number;
  readonly #idOf: ((key: string) => string) | null;
  readonly #ejected: (key: string, forMs: number) => void;
  readonly #order: Order<M>;
  readonly #ring = new HashRing<M>();
  readonly #byId = new Map<string, Standing<M>>();
  /** Also those that are gone while something of them is under way. */
  readonly #byKey = new Map<string, Standing<M>>();
  #standings: ReadonlyArray<Standing<M>> = [];
  #available = 0;
  /** The end of the next ejection; Infinity: nobody is ejected, and no clock is read. */
  #returnsAtMs = Infinity;
  /** The one member of a service that has one. */
  #only: M | null = null;

  /** @param members up to 1000; where two have the same key, the first counts */
  constructor(members: readonly M[], { policy, ejection, idOf, ejected = () => {}, now = () => performance.now(), random = Math.random }: BalancerOptions) {
    this.#policy = policy;
    this.#ejection = ejection;
    this.#idOf = idOf ?? null;
    this.#ejected = ejected;
    this.#now = now;
    this.#order = orderOf(policy, random);
    this.update(members);
  }

  /** Other members: what is known of those whose key stays is kept, with their new weight. */
  update(members: readonly M[]): void {
    const standings = new Map<string, Standing<M>>();
    for (const member of members) if (!standings.has(member.key)) standings.set(member.key, this.#standing(member));
    for (const [key, standing] of this.#byKey) if (!standings.has(key)) this.#depart(key, standing);
    this.#standings = [...standings.values()];
    this.#only = this.#standings.length === 1 ? this.#standings[0]?.member ?? null : null;
    if (this.#policy.kind === "hash") this.#ring.build(this.#standings);
    this.#byId.clear();
    if (this.#policy.kind === "sticky" && this.#idOf !== null) for (const [key, standing] of standings) this.#byId.set(this.#idOf(key), standing);
    this.#settle();
  }

  /**
   * @param key for "hash" what requests are told apart by, for "sticky" the id out of the cookie; null: there is none
   * @param tried members that the request has failed at, as they were returned; they are not chosen again
   * @returns null when all were tried, or there are none
   */
  choose(key: string | null, tried: ReadonlySet<M> = NONE): M | null {
    const only = this.#only;
    if (only !== null) return tried.has(only) ? null : only;
    if (this.#returnsAtMs !== Infinity) this.#settleReturned();
    const named = key === null ? null : this.#find(key, tried);
    // A retry that has been everywhere else: those that are out may be better than their reputation.
    const standing = named ?? this.#order.pick(tried) ?? smoothly(this.#standings, tried, null);
    return standing === null ? null : standing.member;
  }

  /** A request or session goes to the member now; `ended` is owed. */
  began({ key }: M): void {
    const standing = this.#byKey.get(key);
    if (standing === undefined) return;
    standing.inFlight += 1;
    standing.requests += 1;
  }

  ended({ key }: M): void {
    const standing = this.#byKey.get(key);
    // It may have begun while its member was away: that was not counted.
    if (standing === undefined || standing.inFlight === 0) return;
    standing.inFlight -= 1;
    if (standing.isGone && standing.inFlight === 0) this.#byKey.delete(key);
  }

  succeeded({ key }: M): void {
    this.#byKey.get(key)?.ejection.succeeded(this.#now);
  }

  failed({ key }: M): void {
    const standing = this.#byKey.get(key);
    if (standing === undefined) return;
    standing.failures += 1;
    if (this.#ejection.failures === 0) return;
    this.#settleReturned();
    // What is out already fails for the same reason; the growth is for returns.
    if (standing.isGone || !standing.isAvailable) return;
    const nowMs = this.#now();
    if (!standing.ejection.failed(nowMs, this.#ejection) || this.#available === 1) return;
    standing.ejection.eject(nowMs, this.#ejection);
    this.#settle();
    this.#ejected(key, standing.ejection.untilMs - nowMs);
  }

  /** What active health found out. Keys that are not members are of no interest. */
  report(key: string, isHealthy: boolean): void {
    const standing = this.#byKey.get(key);
    if (standing === undefined || standing.isGone || standing.isHealthy === isHealthy) return;
    standing.isHealthy = isHealthy;
    this.#settle();
  }

  get members(): readonly M[] {
    return this.#standings.map(({ member }) => member);
  }

  /** For metrics and the admin API. */
  states(): readonly MemberState[] {
    const nowMs = this.#now();
    return this.#standings.map(({ member: { key }, weight, inFlight, isHealthy, ejection, requests, failures }) => ({
      key, weight, inFlight, isHealthy, ejectedForMs: Math.max(0, ejection.untilMs - nowMs), requests, failures,
    }));
  }

  #find(key: string, tried: ReadonlySet<M>): Standing<M> | null {
    if (this.#policy.kind === "hash") return this.#ring.find(key, tried);
    const standing = this.#byId.get(key);
    return standing !== undefined && standing.isServing && !tried.has(standing.member) ? standing : null;
  }

  #standing(member: M): Standing<M> {
    const known = this.#byKey.get(member.key);
    if (known !== undefined && !known.isGone) {
      known.member = member;
      known.weight = member.weight;
      return known;
    }
    const standing = new Standing(member);
    // One that comes back starts anew, but what is under way still is.
    standing.inFlight = known?.inFlight ?? 0;
    this.#byKey.set(member.key, standing);
    return standing;
  }

  #depart(key: string, standing: Standing<M>): void {
    standing.isGone = true;
    if (standing.inFlight === 0) this.#byKey.delete(key);
  }

  #settleReturned(): void {
    if (this.#returnsAtMs !== Infinity && this.#now() >= this.#returnsAtMs) this.#settle();
  }

  /** Works out who serves; to be called whenever that may have changed. */
  #settle(): void {
    const nowMs = this.#now();
    this.#returnsAtMs = Infinity;
    this.#available = 0;
    for (const standing of this.#standings) {
      const isOut = standing.ejection.isOut(nowMs);
      if (isOut) this.#returnsAtMs = Math.min(this.#returnsAtMs, standing.ejection.untilMs);
      standing.isAvailable = standing.isHealthy && !isOut;
      if (standing.isAvailable) this.#available += 1;
    }
    const isPanic = this.#available === 0;
    for (const standing of this.#standings) standing.isServing = isPanic || standing.isAvailable;
    this.#order.serve(this.#standings.filter(({ isServing }) => isServing));
  }
}

function orderOf<M extends Member>({ kind }: BalancePolicy, random: () => number): Order<M> {
  if (kind === "least-connections") return new LeastBusy<M>();
  if (kind === "random-two") return new RandomTwo<M>(random);
  // Also those who come without a key or an id.
  return new InTurn<M>();
}
