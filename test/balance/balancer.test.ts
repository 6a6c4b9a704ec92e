import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Balancer, Member } from "../../src/balance/balancer.ts";
import type { BalancePolicy } from "../../src/service.ts";
import { AFTER_THREE, balancer, members, picks, randomOf, tally } from "./members.ts";

const POLICIES: readonly BalancePolicy[] = [
  { kind: "round-robin" }, { kind: "least-connections" }, { kind: "random-two" }, { kind: "hash", by: { kind: "client" } },
  { kind: "sticky", cookie: "c", secret: null },
];
const idOf = (key: string): string => `id of ${key}`;

/** Three members, and a clock that the test sets. */
function clocked(weights = [1, 1, 1], ejection = AFTER_THREE): { of: Balancer<Member>; list: Member[]; clock: { ms: number }; fail: (key: string, times?: number) => void } {
  const clock = { ms: 50_000 };
  const list = members(...weights);
  const of = balancer(list, { ejection, now: () => clock.ms });
  const fail = (key: string, times = 1): void => {
    for (let count = 0; count < times; count++) of.failed({ key, weight: 1 });
  };
  return { of, list, clock, fail };
}

function ejected(of: Balancer<Member>): Record<string, number> {
  return Object.fromEntries(of.states().filter(({ ejectedForMs }) => ejectedForMs > 0).map(({ key, ejectedForMs }) => [key, ejectedForMs]));
}

function serving(of: Balancer<Member>): string {
  return [...new Set(picks(of, 100))].sort().join("");
}

describe.each(POLICIES.map((policy) => [policy.kind, policy] as const))("balancer by %s", (_, policy) => {
  test("chooses the one member whatever its health, until it was tried", () => {
    const [only] = members(3) as [Member];
    const of = balancer([only], { policy, idOf, ejection: { ...AFTER_THREE, failures: 1 } });
    of.report("a", false);
    of.failed(only);
    expect(picks(of, 2, "k")).toEqual(["a", "a"]);
    expect(of.choose(null, new Set([only]))).toBeNull();
  });

  test("chooses nobody when there are no members", () => {
    const of = balancer([], { policy, idOf });
    expect([of.choose(null), of.choose("k"), of.members.length]).toEqual([null, null, 0]);
  });

  test("tries each member once, those that are out last, and then nobody", () => {
    fc.assert(fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 9 }), fc.boolean()), { maxLength: 8 }), fc.option(fc.string()), (drawn, key) => {
      const list = members(...drawn.map(([weight]) => weight));
      const of = balancer(list, { policy, idOf, random: randomOf(5) });
      list.forEach((member, index) => of.report(member.key, drawn[index]?.[1] ?? true));
      const tried = new Set<Member>();
      for (let member = of.choose(key, tried); member !== null; member = of.choose(key, tried)) {
        expect(tried.has(member)).toBeFalse();
        tried.add(member);
      }
      expect([...tried].map((member) => member.key).sort()).toEqual(list.map((member) => member.key));
      const health = [...tried].map(({ key }) => of.states().find((state) => state.key === key)?.isHealthy);
      expect(health).toEqual([...health].sort().reverse());
    }));
  });

  test("leaves out who is unhealthy, and takes it back", () => {
    const of = balancer(members(1, 2, 1), { policy, idOf, random: randomOf(6) });
    const asked = Array.from({ length: 200 }, (_, index) => `key ${index}`);
    const chosen = (): string[] => [...new Set(asked.map((key) => of.choose(key)?.key ?? "none"))].sort();
    expect(chosen()).toEqual(["a", "b", "c"]);
    of.report("b", false);
    expect(chosen()).toEqual(["a", "c"]);
    of.report("b", true);
    expect(chosen()).toEqual(["a", "b", "c"]);
  });

  test("lets all serve when nobody is healthy", () => {
    const of = balancer(members(1, 1, 1), { policy, idOf, random: randomOf(7) });
    const asked = Array.from({ length: 200 }, (_, index) => `key ${index}`);
    for (const key of ["a", "b", "c"]) of.report(key, false);
    expect(new Set(asked.map((key) => of.choose(key)?.key))).toEqual(new Set(["a", "b", "c"]));
    of.report("c", true);
    expect(new Set(asked.map((key) => of.choose(key)?.key))).toEqual(new Set(["c"]));
  });

  test("leads keys to where they always led when nobody is healthy", () => {
    if (policy.kind !== "hash" && policy.kind !== "sticky") return;
    const of = balancer(members(1, 1, 1), { policy, idOf });
    const asked = ["id of c", "id of a", "id of b", "id of c"];
    const before = asked.map((key) => of.choose(key)?.key);
    for (const key of ["a", "b", "c"]) of.report(key, false);
    expect(asked.map((key) => of.choose(key)?.key)).toEqual(before);
  });
});

describe("sticky", () => {
  const policy = { kind: "sticky", cookie: "c", secret: null } as const;

  test("an id leads to its member; without one, or with one that nobody has, members take turns", () => {
    const of = balancer(members(1, 1, 1), { policy, idOf });
    expect(picks(of, 5, "id of c")).toEqual(["c", "c", "c", "c", "c"]);
    expect(picks(of, 3)).toEqual(["a", "b", "c"]);
    expect(picks(of, 3, "id of x")).toEqual(["a", "b", "c"]);
    // A member's own name opens nothing.
    expect(picks(of, 3, "c")).toEqual(["a", "b", "c"]);
  });

  test("a member that is out, was tried or is gone is not stuck to", () => {
    const list = members(1, 1, 1);
    const of = balancer(list, { policy, idOf });
    expect(of.choose("id of c", new Set(list.slice(2)))?.key).toBe("a");
    of.report("c", false);
    expect(of.choose("id of c")?.key).not.toBe("c");
    of.report("c", true);
    of.update(list.slice(0, 2));
    expect(of.choose("id of c")?.key).not.toBe("c");
    of.update(list);
    expect(of.choose("id of c")?.key).toBe("c");
  });
});

describe("ejection", () => {
  test("as many failures as allowed within the window eject, for the time that is set", () => {
    const { of, clock, fail } = clocked();
    fail("b", 2);
    expect(ejected(of)).toEqual({});
    fail("b");
    expect(ejected(of)).toEqual({ b: 10_000 });
    expect(serving(of)).toBe("ac");
    clock.ms += 9_999;
    expect([ejected(of), serving(of)]).toEqual([{ b: 1 }, "ac"]);
    clock.ms += 1;
    expect([ejected(of), serving(of)]).toEqual([{}, "abc"]);
  });

  test("failures that are a window apart don't add up", () => {
    const { of, clock, fail } = clocked();
    for (let count = 0; count < 20; count++) {
      fail("b");
      clock.ms += 5_000;
    }
    expect(ejected(of)).toEqual({});
    // The third one is 9,999 ms after the first.
    fail("b");
    clock.ms += 4_998;
    fail("b");
    expect(ejected(of)).toEqual({ b: 10_000 });
  });

  test("successes in between don't forgive failures", () => {
    const { of, list, fail } = clocked();
    for (let count = 0; count < 3; count++) {
      fail("b");
      of.succeeded(list[1] as Member);
    }
    expect(ejected(of)).toEqual({ b: 10_000 });
  });

  test("one failure after the return ejects again, each time for twice as long, up to the longest", () => {
    const { of, clock, fail } = clocked();
    fail("b", 3);
    for (const nextMs of [20_000, 40_000, 60_000, 60_000]) {
      clock.ms += ejected(of).b ?? 0;
      expect(ejected(of)).toEqual({});
      clock.ms += 9_999;
      fail("b");
      expect(ejected(of)).toEqual({ b: nextMs });
    }
  });

  test("a window after the return it takes as many failures as ever, but the growth stays until a success", () => {
    const { of, clock, list, fail } = clocked();
    fail("b", 3);
    clock.ms += 20_000;
    fail("b", 2);
    expect(ejected(of)).toEqual({});
    fail("b");
    expect(ejected(of)).toEqual({ b: 20_000 });
    clock.ms += 30_000;
    of.succeeded(list[1] as Member);
    fail("b", 3);
    expect(ejected(of)).toEqual({ b: 10_000 });
  });

  test("what was under way when it was ejected neither lengthens nor ends it", () => {
    const { of, clock, list, fail } = clocked();
    fail("b", 3);
    clock.ms += 4_000;
    fail("b", 10);
    of.succeeded(list[1] as Member);
    expect(ejected(of)).toEqual({ b: 6_000 });
    clock.ms += 6_000;
    fail("b");
    expect(ejected(of)).toEqual({ b: 20_000 });
  });

  test("the last available member is never ejected", () => {
    const { of, clock, fail } = clocked();
    fail("a", 3);
    fail("b", 3);
    fail("c", 50);
    expect([Object.keys(ejected(of)), serving(of)]).toEqual([["a", "b"], "c"]);
    // Others are back: its next failure counts, and so do those within the window before.
    clock.ms += 9_999;
    fail("c", 2);
    expect(Object.keys(ejected(of))).toEqual(["a", "b"]);
    clock.ms += 1;
    fail("c");
    expect([ejected(of), serving(of)]).toEqual([{ c: 10_000 }, "ab"]);
  });

  test("the last healthy one is not ejected either, and an ejected one serves when that becomes unhealthy", () => {
    const { of, fail } = clocked();
    fail("a", 3);
    of.report("b", false);
    fail("c", 3);
    expect(ejected(of)).toEqual({ a: 10_000 });
    of.report("c", false);
    expect(serving(of)).toBe("abc");
  });

  test("each returns at its own time", () => {
    const { of, clock, fail } = clocked();
    fail("a", 3);
    clock.ms += 4_000;
    fail("b", 3);
    expect([ejected(of), serving(of)]).toEqual([{ a: 6_000, b: 10_000 }, "c"]);
    clock.ms += 6_000;
    expect(serving(of)).toBe("ac");
    clock.ms += 4_000;
    expect(serving(of)).toBe("abc");
  });

  test("good answers to health checks don't end it", () => {
    const { of, clock, fail } = clocked();
    fail("b", 3);
    of.report("b", true);
    expect(serving(of)).toBe("ac");
    of.report("b", false);
    clock.ms += 10_000;
    expect(serving(of)).toBe("ac");
    of.report("b", true);
    expect(serving(of)).toBe("abc");
  });

  test("nobody is ejected when the number of failures is 0", () => {
    const { of, fail } = clocked([1, 1], { ...AFTER_THREE, failures: 0 });
    fail("b", 1000);
    expect([ejected(of), of.states()[1]?.failures]).toEqual([{}, 1000]);
  });

  test("no clock is read while nobody is ejected", () => {
    let readings = 0;
    const of = balancer(members(1, 1), { ejection: AFTER_THREE, now: () => (readings += 1) });
    const before = readings;
    for (let count = 0; count < 10; count++) {
      const member = of.choose(null) as Member;
      of.began(member);
      of.succeeded(member);
      of.ended(member);
    }
    expect(readings).toBe(before);
  });
});

describe("update", () => {
  test("keeps what is known of members whose key stays, with their new weight", () => {
    const { of, list, fail } = clocked();
    of.began(list[0] as Member);
    fail("b", 3);
    of.report("c", false);
    of.update([{ key: "c", weight: 1 }, { key: "d", weight: 1 }, { key: "b", weight: 1 }, { key: "a", weight: 3 }]);
    expect(of.states()).toEqual([
      { key: "c", weight: 1, inFlight: 0, isHealthy: false, ejectedForMs: 0, requests: 0, failures: 0 },
      { key: "d", weight: 1, inFlight: 0, isHealthy: true, ejectedForMs: 0, requests: 0, failures: 0 },
      { key: "b", weight: 1, inFlight: 0, isHealthy: true, ejectedForMs: 10_000, requests: 0, failures: 3 },
      { key: "a", weight: 3, inFlight: 1, isHealthy: true, ejectedForMs: 0, requests: 1, failures: 0 },
    ]);
    expect(tally(picks(of, 40))).toEqual({ a: 30, d: 10 });
  });

  test("hands out the new members, also where their key stayed", () => {
    const { of, list } = clocked([1, 1]);
    const anew = list.map((member) => ({ ...member }));
    of.update(anew);
    expect(of.members).toEqual(anew);
    expect(of.choose(null)).toBe(anew[0] as Member);
    of.update(anew.slice(1));
    expect(of.choose(null)).toBe(anew[1] as Member);
  });

  test("a member that comes back starts anew, but what is still under way counts", () => {
    const { of, list, fail } = clocked();
    const [a, b] = list as [Member, Member];
    for (let count = 0; count < 3; count++) of.began(b);
    of.ended(b);
    of.report("b", false);
    fail("b", 2);
    of.update([a]);
    of.ended(b);
    of.report("b", false);
    of.update(list);
    expect(of.states()[1]).toEqual({ key: "b", weight: 1, inFlight: 1, isHealthy: true, ejectedForMs: 0, requests: 0, failures: 0 });
    of.ended(b);
    expect(of.states()[1]?.inFlight).toBe(0);
  });

  test("who is gone for good is forgotten, and its last words do no harm", () => {
    const { of, list, fail } = clocked([1, 1]);
    const [a, b] = list as [Member, Member];
    of.began(b);
    of.update([a]);
    of.ended(b);
    of.ended(b);
    of.began(b);
    of.succeeded(b);
    fail("b", 5);
    of.report("b", false);
    expect(of.states().map(({ key }) => key)).toEqual(["a"]);
    of.update(list);
    expect(of.states()[1]).toEqual({ key: "b", weight: 1, inFlight: 0, isHealthy: true, ejectedForMs: 0, requests: 0, failures: 0 });
  });

  test("what ends without having begun is not counted", () => {
    const [a, b] = members(1, 1) as [Member, Member];
    const of = balancer([a, b]);
    of.ended(a);
    of.began(a);
    expect(of.states().map(({ inFlight }) => inFlight)).toEqual([1, 0]);
  });

  test("the first of two with the same key counts", () => {
    const of = balancer([{ key: "a", weight: 2 }, { key: "b", weight: 1 }, { key: "a", weight: 9 }]);
    expect(tally(picks(of, 30))).toEqual({ a: 20, b: 10 });
  });

  test("ejected members serve when nobody else is left", () => {
    const { of, list, fail } = clocked();
    fail("a", 3);
    fail("b", 3);
    of.update(list.slice(0, 2));
    expect(serving(of)).toBe("ab");
  });
});
