import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { smoothly } from "../../src/balance/in-turn.ts";
import { Standing } from "../../src/balance/standing.ts";
import { balancer, members, picks, tally } from "./members.ts";

const weights = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 12 });

/** The algorithm as nginx describes it, on plain arrays. */
function smoothModel(weights: readonly number[], count: number): number[] {
  const owed = weights.map(() => 0);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return Array.from({ length: count }, () => {
    weights.forEach((weight, index) => { owed[index] = (owed[index] as number) + weight; });
    const best = owed.indexOf(Math.max(...owed));
    owed[best] = (owed[best] as number) - total;
    return best;
  });
}

describe("round-robin", () => {
  test("members of equal weight take turns", () => {
    expect(picks(balancer(members(1, 1, 1)), 7)).toEqual(["a", "b", "c", "a", "b", "c", "a"]);
    expect(picks(balancer(members(4, 4)), 4)).toEqual(["a", "b", "a", "b"]);
  });

  test("a heavy member is spread out between the others", () => {
    expect(picks(balancer(members(5, 1, 1)), 7)).toEqual(["a", "a", "b", "a", "c", "a", "a"]);
  });

  test("each gets exactly its weight over as many requests as the weights sum up to, again and again", () => {
    fc.assert(fc.property(weights, fc.integer({ min: 1, max: 3 }), (weights, rounds) => {
      const list = members(...weights);
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const counts = tally(picks(balancer(list), total * rounds));
      for (const { key, weight } of list) expect(counts[key]).toBe(weight * rounds);
    }));
  });

  test("the order is that of the algorithm, also where the weights are equal", () => {
    fc.assert(fc.property(fc.oneof(weights, weights.map((list) => list.map(() => 7))), (weights) => {
      const list = members(...weights);
      expect(picks(balancer(list), 100)).toEqual(smoothModel(weights, 100).map((index) => list[index]?.key ?? "none"));
    }));
  });

  test("at any time nobody is more than its weight away from its share", () => {
    fc.assert(fc.property(weights, fc.integer({ min: 0, max: 300 }), (weights, count) => {
      const list = members(...weights);
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const counts = tally(picks(balancer(list), count));
      for (const { key, weight } of list) expect(Math.abs((counts[key] ?? 0) - (count * weight) / total)).toBeLessThan(weight + 1);
    }));
  });

  test("a member that is out leaves its share to all others, not to its neighbour", () => {
    const of = balancer(members(1, 1, 1, 1));
    of.report("b", false);
    expect(tally(picks(of, 300))).toEqual({ a: 100, c: 100, d: 100 });
  });

  test("a newcomer gets its share from its first round on, whatever others are owed", () => {
    const of = balancer(members(100, 7, 3));
    picks(of, 37);
    of.update(members(100, 7, 3, 10).slice(1));
    const counts = tally(picks(of, 200));
    expect(Math.abs((counts.d ?? 0) - 100)).toBeLessThanOrEqual(10);
    expect(Math.abs((counts.b ?? 0) - 70)).toBeLessThanOrEqual(10);
  });

  test("what a member is owed stays within about a round, whoever comes and goes", () => {
    const candidates = fc.array(fc.uniqueArray(fc.nat({ max: 5 }), { minLength: 1 }), { minLength: 1, maxLength: 20 });
    fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 6, maxLength: 6 }), candidates, (weights, candidates) => {
      const standings = members(...weights).map((member) => new Standing(member));
      const round = weights.reduce((sum, weight) => sum + weight, 0);
      for (let repeat = 0; repeat < 50; repeat++) {
        for (const indexes of candidates) smoothly(indexes.map((index) => standings[index] as Standing<{ key: string; weight: number }>), new Set(), null);
      }
      for (const { turn } of standings) expect(Math.abs(turn)).toBeLessThanOrEqual(round);
    }));
  });

  test("changes after every few requests don't favor the first member", () => {
    const of = balancer(members(2, 1, 1));
    const all = Array.from({ length: 400 }, (_, round) => {
      of.update(members(2, 1, 1, ...(round % 2 === 0 ? [1] : [])));
      return picks(of, 2);
    }).flat();
    const counts = tally(all);
    // Of 5 shares in every other round and of 4 in the rest: 2 x 400 x (2/5 + 2/4) / 2 and half as much.
    expect(Math.abs((counts.a ?? 0) - 360)).toBeLessThan(45);
    expect(Math.abs((counts.b ?? 0) - 180)).toBeLessThan(45);
    expect(Math.abs((counts.c ?? 0) - 180)).toBeLessThan(45);
  });
});
