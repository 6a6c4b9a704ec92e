import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { balancer, members, picks, tally } from "./members.ts";

const policy = { kind: "least-connections" } as const;

describe("least-connections", () => {
  test("the member with the fewest requests under way is chosen", () => {
    const list = members(1, 1, 1);
    const of = balancer(list, { policy });
    for (const index of [0, 0, 1, 2, 2]) of.began(list[index] as typeof list[0]);
    expect(picks(of, 3)).toEqual(["b", "b", "b"]);
  });

  test("a member that is twice as heavy carries twice as many", () => {
    const of = balancer(members(2, 1), { policy });
    for (let count = 0; count < 30; count++) of.began(of.choose(null) as { key: string; weight: number });
    expect(of.states().map(({ inFlight }) => inFlight)).toEqual([20, 10]);
  });

  test("idle members take turns, by weight", () => {
    expect(tally(picks(balancer(members(1, 1, 1), { policy }), 30))).toEqual({ a: 10, b: 10, c: 10 });
    expect(tally(picks(balancer(members(3, 1), { policy }), 40))).toEqual({ a: 30, b: 10 });
  });

  test("nobody is ever chosen while another one is less busy for its weight", () => {
    const step = fc.record({ ends: fc.boolean(), which: fc.nat() });
    fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 2, maxLength: 8 }), fc.array(step, { maxLength: 100 }), (weights, steps) => {
      const of = balancer(members(...weights), { policy });
      const open: Array<{ key: string; weight: number }> = [];
      for (const { ends, which } of steps) {
        const [gone] = ends && open.length > 0 ? open.splice(which % open.length, 1) : [];
        if (gone !== undefined) of.ended(gone);
        const loads = Object.fromEntries(of.states().map(({ key, inFlight, weight }) => [key, inFlight / weight]));
        const chosen = of.choose(null) as { key: string; weight: number };
        expect(loads[chosen.key]).toBe(Math.min(...Object.values(loads)));
        of.began(chosen);
        open.push(chosen);
      }
    }));
  });
});
