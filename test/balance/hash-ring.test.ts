import { describe, expect, test } from "bun:test";
import type { Member } from "../../src/balance/balancer.ts";
import { balancer, members, named, randomOf, tally } from "./members.ts";

const policy = { kind: "hash", by: { kind: "client" } } as const;
const KEYS = 20_000;

function owners(list: readonly Member[], out: readonly string[] = []): string[] {
  const of = balancer(list, { policy });
  for (const key of out) of.report(key, false);
  return Array.from({ length: KEYS }, (_, index) => of.choose(`client ${index}`)?.key ?? "none");
}

function moved(before: readonly string[], after: readonly string[]): Array<[from: string, to: string]> {
  return before.flatMap((from, index) => (after[index] === from ? [] : [[from, after[index] ?? "none"] as [string, string]]));
}

describe("hash", () => {
  test("the same key goes to the same member, in every balancer and in whatever order its members are listed", () => {
    const list = named(20);
    const random = randomOf(4);
    const shuffled = [...list].sort(() => random() - 0.5);
    expect(shuffled).not.toEqual(list);
    expect(owners(shuffled)).toEqual(owners(list));
  });

  test.each([["10.0.0.60:8080", "10.0.2.226:8080", "client 206"], ["10.0.0.146:8080", "10.0.1.67:8080", "client 4946"]])(
    "%s and %s have a point in common, and still agree about %s in either order", (first, second, key) => {
      const [a, b] = [{ key: first, weight: 1 }, { key: second, weight: 1 }];
      expect(balancer([a, b], { policy }).choose(key)?.key).toBe(balancer([b, a], { policy }).choose(key)?.key as string);
    });

  test("the assignment is fixed: replicas of all versions must agree", () => {
    const of = balancer(members(1, 1, 1, 1), { policy });
    const keys = ["", "x", "10.1.2.3", "10.1.2.4", "2001:db8::1", "ünï", "a".repeat(4096)];
    expect(keys.map((key) => of.choose(key)?.key).join("")).toBe("abdacca");
  });

  test.each([2, 4, 10, 100])("each of %i members owns about its share", (count) => {
    const counts = tally(owners(named(count)));
    expect(Object.keys(counts)).toHaveLength(count);
    const share = KEYS / count;
    const tolerance = count === 100 ? 0.4 : 0.25;
    for (const owned of Object.values(counts)) expect(Math.abs(owned - share)).toBeLessThan(share * tolerance);
  });

  test("keys that differ in their last character only are spread out as well", () => {
    const of = balancer(named(10), { policy });
    const counts = tally(Array.from({ length: KEYS }, (_, index) => of.choose(`10.1.${index >> 8}.${index & 255}`)?.key ?? "none"));
    expect(Object.keys(counts)).toHaveLength(10);
    expect(Math.max(...Object.values(counts))).toBeLessThan((KEYS / 10) * 1.3);
  });

  test.each([1, 2, 4, 10, 100, 256, 512])("one more than %i members takes about its share, and nothing else moves", (count) => {
    const moves = moved(owners(named(count)), owners(named(count + 1)));
    const newcomer = named(count + 1).at(-1)?.key;
    expect(moves.filter(([, to]) => to !== newcomer)).toEqual([]);
    expect(Math.abs(moves.length / KEYS - 1 / (count + 1))).toBeLessThan(0.35 / (count + 1));
  });

  test.each([2, 10, 100])("one fewer than %i members moves only the keys that it had", (count) => {
    const list = named(count);
    const gone = list[1]?.key;
    const moves = moved(owners(list), owners(list.filter(({ key }) => key !== gone)));
    expect(moves.length).toBeGreaterThan(0);
    expect(moves.filter(([from]) => from !== gone)).toEqual([]);
  });

  test("a member that is out lends its keys to several others, and gets them back", () => {
    const list = named(10);
    const before = owners(list);
    const moves = moved(before, owners(list, ["10.0.0.3:8080"]));
    expect(moves.every(([from, to]) => from === "10.0.0.3:8080" && to !== from)).toBeTrue();
    expect(new Set(moves.map(([, to]) => to)).size).toBe(9);
    const of = balancer(list, { policy });
    of.report("10.0.0.3:8080", false);
    of.report("10.0.0.3:8080", true);
    expect(before.map((_, index) => of.choose(`client ${index}`)?.key ?? "none")).toEqual(before);
  });

  test("weights are shares", () => {
    const counts = tally(owners(members(1, 2, 5, 12)));
    for (const [key, weight] of [["a", 1], ["b", 2], ["c", 5], ["d", 12]] as const) {
      expect(Math.abs((counts[key] ?? 0) / KEYS - weight / 20)).toBeLessThan(0.2 * (weight / 20));
    }
    expect(tally(owners(members(64, 128, 320, 768)))).toEqual(counts);
  });

  test("the lightest has a place beside the heaviest", () => {
    const counts = tally(owners(members(1000, 1)));
    expect(counts.b).toBeGreaterThan(0);
    expect(counts.b).toBeLessThan(KEYS / 100);
    const of = balancer([...named(300, 1000), { key: "light", weight: 1 }], { policy });
    expect(Array.from({ length: 400_000 }, (_, index) => of.choose(`client ${index}`)?.key)).toContain("light");
  });

  test("a newcomer of another weight moves nothing else while the average stays within the scale", () => {
    const moves = moved(owners(named(9)), owners([...named(9), { key: "heavy", weight: 3 }]));
    expect(moves.length).toBeGreaterThan(0);
    expect(moves.filter(([, to]) => to !== "heavy")).toEqual([]);
  });

  test("a heavier newcomer that changes the scale still moves little else", () => {
    // The average weight goes from 1 to 2, so that all others have half as many points.
    const moves = moved(owners(named(9)), owners([...named(9), { key: "heavy", weight: 11 }]));
    expect(Math.abs(moves.filter(([, to]) => to === "heavy").length / KEYS - 11 / 20)).toBeLessThan(0.06);
    expect(moves.filter(([, to]) => to !== "heavy").length / KEYS).toBeLessThan(0.25);
  });

  test("a retry goes to the same second member every time, and every member gets its turn", () => {
    const of = balancer(named(5), { policy });
    const walk = (): string[] => {
      const tried = new Set<Member>();
      for (let member = of.choose("x", tried); member !== null; member = of.choose("x", tried)) tried.add(member);
      return [...tried].map(({ key }) => key);
    };
    expect(new Set(walk()).size).toBe(5);
    expect(walk()).toEqual(walk());
  });

  test("requests without a key take turns", () => {
    const of = balancer(members(1, 1, 1), { policy });
    expect([1, 2, 3, 4].map(() => of.choose(null)?.key)).toEqual(["a", "b", "c", "a"]);
  });
});
