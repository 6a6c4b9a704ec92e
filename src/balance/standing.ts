// What is known of one member of a service: its load, its health, and its place in the order of turns. Plain data that the
// balancer keeps and the policies read; no decision is taken here.

import { Ejection } from "./ejection.ts";

/** Somewhere that requests may go. */
export type Member = {
  /** Tells it from the others, also across updates. */
  readonly key: string;
  /** Its share of the requests, 1 to 1000. */
  readonly weight: number;
};

export class Standing<M extends Member> {
  weight: number;
  /** Requests and sessions under way. */
  inFlight = 0;
  /** Ever since it was added. */
  requests = 0;
  failures = 0;
  /** What active health says. */
  isHealthy = true;
  /** Healthy and not ejected. */
  isAvailable = true;
  /** Requests go to it: it is available, or nothing is. */
  isServing = false;
  /** Not a member any more; kept while something of it is under way. */
  isGone = false;
  /** Smooth weighted round-robin: how much it is owed. */
  turn = 0;
  readonly ejection = new Ejection();

  constructor(public member: M) {
    this.weight = member.weight;
  }
}

/** In which order members without a name get requests. */
export interface Order<M extends Member> {
  /** From now on requests go to these; at least one, unless the service has no members. */
  serve(serving: ReadonlyArray<Standing<M>>): void;
  /** null when all that serve were tried. */
  pick(tried: ReadonlySet<M>): Standing<M> | null;
}
