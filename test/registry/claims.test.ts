import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Gateway } from "../../src/gateway.ts";
import { type Claim, settle } from "../../src/registry/claims.ts";
import { gateway } from "./examples.ts";

function claim(id: string, host: string | null, fault: string | null = null): Claim {
  return { name: `${id}.yaml`, gateway: host === null ? null : gateway(id, `${host}.example.org`), fault };
}

function owners(claims: readonly Claim[], served: ReadonlyMap<string, Gateway> = new Map()): Record<string, string> {
  return Object.fromEntries([...settle(claims, served).gateways].map(([fqdn, { id }]) => [fqdn.split(".")[0]!, id]));
}

describe("claims", () => {
  test("are settled for the first one of each domain", () => {
    expect(owners([claim("a", "x"), claim("b", "x"), claim("c", "y")])).toEqual({ x: "a", y: "c" });
  });

  test("of a file that turned bad stay", () => {
    const { gateways, problems } = settle([claim("a", "x", "1:1: wrong"), claim("b", "x")], new Map());
    expect(gateways.get("x.example.org")?.id).toBe("a");
    expect(problems.get("a.yaml")).toBe("1:1: wrong (its last good version stays in use)");
    expect(problems.get("b.yaml")).toContain('by workload "a"');
  });

  test("that lose leave their workload what it served, when nobody claims that", () => {
    const before = settle([claim("a", "x"), claim("b", "y")], new Map());
    const taken = [claim("a", "x"), claim("b", "x")];
    expect(owners(taken, before.byId)).toEqual({ x: "a", y: "b" });
    expect(owners([...taken, claim("c", "y")], before.byId)).toEqual({ x: "a", y: "c" });
  });

  test("of two that change places are both met", () => {
    const before = settle([claim("a", "x"), claim("b", "y")], new Map());
    expect(owners([claim("a", "y"), claim("b", "x")], before.byId)).toEqual({ x: "b", y: "a" });
  });

  test("of any kind give each domain one owner and each workload one domain, and every loser a problem", () => {
    const host = fc.constantFrom("x", "y", "z");
    const claims = fc.uniqueArray(fc.record({ id: fc.constantFrom("a", "b", "c", "d"), host: fc.option(host), isBad: fc.boolean() }), { selector: ({ id }) => id })
      .map((list) => list.map(({ id, host, isBad }) => claim(id, host, isBad || host === null ? "bad" : null)));
    fc.assert(fc.property(claims, claims, (first, second) => {
      const before = settle(first, new Map());
      const { gateways, byId, problems } = settle(second, before.byId);
      expect(new Set([...gateways.values()].map(({ id }) => id)).size).toBe(gateways.size);
      expect([...byId.values()].toSorted(byFqdn)).toEqual([...gateways.values()].toSorted(byFqdn));
      for (const { name, gateway, fault } of second) {
        const isServed = gateway !== null && gateways.get(gateway.fqdn) === gateway;
        expect(problems.has(name)).toBe(fault !== null || !isServed);
      }
      for (const { gateway } of second) if (gateway !== null) expect(gateways.has(gateway.fqdn)).toBe(true);
    }), { numRuns: 500, seed: 7 });
  });
});

function byFqdn(a: Gateway, b: Gateway): number {
  return a.fqdn < b.fqdn ? -1 : 1;
}
