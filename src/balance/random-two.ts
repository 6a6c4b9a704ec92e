// The less busy of two members picked at random: nearly as even as asking all, and many proxies that do so independently
// don't flock to the one that was idle a moment ago.

import type { Member, Order, Standing } from "./standing.ts";

/** Members with the sums of the weights up to each, so that a number below the last sum stands for one of them. */
type Urn<M extends Member> = { readonly standings: ReadonlyArray<Standing<M>>; readonly sums: readonly number[] };

export class RandomTwo<M extends Member> implements Order<M> {
  #urn: Urn<M> = { standings: [], sums: [] };

  /** @param random from 0 to below 1 */
  constructor(private readonly random: () => number) {}

  serve(serving: ReadonlyArray<Standing<M>>): void {
    this.#urn = urnOf(serving);
  }

  pick(tried: ReadonlySet<M>): Standing<M> | null {
    const urn = tried.size === 0 ? this.#urn : urnOf(this.#urn.standings.filter(({ member }) => !tried.has(member)));
    const { standings, sums } = urn;
    if (standings.length < 2) return standings[0] ?? null;
    const total = sums.at(-1) as number;
    const first = indexOf(this.random() * total, sums);
    const from = first === 0 ? 0 : sums[first - 1] as number;
    const width = (sums[first] as number) - from;
    // As if the first one were not in the urn any more.
    const drawn = this.random() * (total - width);
    const second = indexOf(drawn < from ? drawn : drawn + width, sums);
    return lessBusy(standings[first] as Standing<M>, standings[second] as Standing<M>);
  }
}

function urnOf<M extends Member>(standings: ReadonlyArray<Standing<M>>): Urn<M> {
  let sum = 0;
  return { standings, sums: standings.map(({ weight }) => (sum += weight)) };
}

/** The first sum above `drawn`. */
function indexOf(drawn: number, sums: readonly number[]): number {
  let low = 0;
  for (let high = sums.length - 1; low < high;) {
    const middle = (low + high) >>> 1;
    if ((sums[middle] as number) > drawn) high = middle;
    else low = middle + 1;
  }
  return low;
}

function lessBusy<M extends Member>(a: Standing<M>, b: Standing<M>): Standing<M> {
  return b.inFlight * a.weight < a.inFlight * b.weight ? b : a;
}
