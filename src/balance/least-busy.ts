// The member with the fewest requests under way for its weight; equals take turns, by weight.

import { smoothly } from "./in-turn.ts";
import type { Member, Order, Standing } from "./standing.ts";

export class LeastBusy<M extends Member> implements Order<M> {
  #serving: ReadonlyArray<Standing<M>> = [];

  serve(serving: ReadonlyArray<Standing<M>>): void {
    this.#serving = serving;
  }

  pick(tried: ReadonlySet<M>): Standing<M> | null {
    let least = Infinity;
    const isFirstTry = tried.size === 0;
    for (const standing of this.#serving) {
      // Equal shares give equal quotients: division is rounded correctly.
      const load = standing.inFlight / standing.weight;
      if (load < least && (isFirstTry || !tried.has(standing.member))) least = load;
    }
    return least === Infinity ? null : smoothly(this.#serving, tried, least);
  }
}
