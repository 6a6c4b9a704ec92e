import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { balancer, members, picks, randomOf, tally } from "./members.ts";

const policy = { kind: "random-two" } as const;

function drawing(...numbers: number[]): () => number {
  return () => numbers.shift() ?? 0;
}

describe("random-two", () => {
  test("the less busy of the two that were drawn is chosen, the first one when they are equal", () => {
    const list = members(1, 1, 1, 1);
    const of = balancer(list, { policy, random: drawing(0.3, 0.9, 0.3, 0.9) });
    expect(of.choose(null)?.key).toBe("b");
    of.began(list[1] as typeof list[0]);
    expect(of.choose(null)?.key).toBe("d");
  });

  test("a heavy member is less busy with two than a light one with one", () => {
    const [heavy, light] = members(3, 1) as [{ key: string; weight: number }, { key: string; weight: number }];
    const of = balancer([heavy, light], { policy, random: drawing(0.9, 0, 0.1, 0) });
    of.began(heavy);
    of.began(heavy);
    of.began(light);
    expect([of.choose(null)?.key, of.choose(null)?.key]).toEqual(["a", "a"]);
  });

  test("two different members are drawn, whatever the numbers are", () => {
    const number = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 2, maxLength: 8 }), number, number, (weights, first, second) => {
      const list = members(...weights);
      const [idle, busy] = [balancer(list, { policy, random: drawing(first, second) }), balancer(list, { policy, random: drawing(first, second) })];
      const drawn = idle.choose(null) as { key: string; weight: number };
      for (let count = 0; count < 100; count++) busy.began(drawn);
      expect(busy.choose(null)?.key).not.toBe(drawn.key);
    }));
  });

  test("idle members get their shares by weight", () => {
    const counts = tally(picks(balancer(members(5, 3, 2), { policy, random: randomOf(1) }), 10_000));
    // Three standard deviations of a fair draw are 150.
    expect(Math.abs((counts.a ?? 0) - 5000)).toBeLessThan(150);
    expect(Math.abs((counts.b ?? 0) - 3000)).toBeLessThan(150);
    expect(Math.abs((counts.c ?? 0) - 2000)).toBeLessThan(150);
  });

  test("the busiest is never more than a little above the average", () => {
    const of = balancer(members(...Array.from({ length: 20 }, () => 1)), { policy, random: randomOf(2) });
    for (let count = 0; count < 2000; count++) of.began(of.choose(null) as { key: string; weight: number });
    // One random pick would leave some 30 above the average of 100.
    expect(Math.max(...of.states().map(({ inFlight }) => inFlight))).toBeLessThan(106);
  });

  test("a retry draws among those that were not tried", () => {
    const list = members(1, 1, 1);
    const of = balancer(list, { policy, random: randomOf(3) });
    const tried = new Set(list.slice(0, 1));
    const keys = Array.from({ length: 50 }, () => of.choose(null, tried)?.key);
    expect(new Set(keys)).toEqual(new Set(["b", "c"]));
  });
});
