// Members in turn, by weight: nginx's smooth weighted round-robin. Over as many picks as the weights sum up to, each member
// gets exactly its weight, and a heavy one is spread out between the others rather than served in a burst.

import type { Member, Order, Standing } from "./standing.ts";

export class InTurn<M extends Member> implements Order<M> {
  #serving: ReadonlyArray<Standing<M>> = [];
  #isEven = true;
  #next = 0;

  serve(serving: ReadonlyArray<Standing<M>>): void {
    this.#serving = serving;
    this.#isEven = serving.every(({ weight }) => weight === serving[0]?.weight);
    if (this.#next >= serving.length) this.#next = 0;
  }

  pick(tried: ReadonlySet<M>): Standing<M> | null {
    return this.#isEven ? this.#rotate(tried) : smoothly(this.#serving, tried, null);
  }

  /** The same order as that of the algorithm, without walking over all. */
  #rotate(tried: ReadonlySet<M>): Standing<M> | null {
    const serving = this.#serving;
    for (let step = 0; step < serving.length; step++) {
      const standing = serving[this.#next] as Standing<M>;
      this.#next = this.#next + 1 === serving.length ? 0 : this.#next + 1;
      if (!tried.has(standing.member)) return standing;
    }
    return null;
  }
}

/**
 * One step of the algorithm: each candidate is owed its weight more, and the one that is owed most pays for all. Candidates
 * may come and go: what one is owed stays within about a round, so that a newcomer waits no longer than that.
 * @param load only those with this many requests under way for each unit of weight; null: all
 */
export function smoothly<M extends Member>(serving: ReadonlyArray<Standing<M>>, tried: ReadonlySet<M>, load: number | null): Standing<M> | null {
  let best: Standing<M> | null = null;
  let total = 0;
  const isFirstTry = tried.size === 0;
  for (const standing of serving) {
    if ((load !== null && standing.inFlight / standing.weight !== load) || (!isFirstTry && tried.has(standing.member))) continue;
    standing.turn += standing.weight;
    total += standing.weight;
    if (best === null || standing.turn > best.turn) best = standing;
  }
  if (best !== null) best.turn -= total;
  return best;
}
