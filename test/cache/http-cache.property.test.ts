// Whatever is asked and answered in whatever order: nothing is given to whom it is not for, nothing stale without
// permission, nothing from before an invalidation, and never more memory than allowed. Each answer of the origin has a
// number of its own, so that for every answer of the cache it is known which one it is.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { CacheRig, type Script } from "../support/cache-origin.ts";

const MEMORY = 300_000;

/** How the origin answers from now on. */
type Mood = { readonly maxAge: number; readonly directives: readonly string[]; readonly vary: boolean; readonly cookie: boolean; readonly tag: boolean; readonly fails: boolean; readonly bytes: number };
/** One answer of the origin. */
type Given = { readonly target: string; readonly x: string; readonly mood: Mood; readonly isAuthorized: boolean; confirmedMs: number };

const mood: fc.Arbitrary<Mood> = fc.record({
  maxAge: fc.constantFrom(0, 5, 20, 100), vary: fc.boolean(), cookie: fc.nat(4).map((one) => one === 0), tag: fc.boolean(), fails: fc.nat(3).map((one) => one === 0), bytes: fc.constantFrom(10, 10_000, 100_000),
  directives: fc.oneof(
    fc.subarray(["public", "must-revalidate", "stale-while-revalidate=10", "stale-if-error=10"], { maxLength: 2 }),
    fc.subarray(["no-store", "private", "public", "no-cache", "stale-while-revalidate=10"], { maxLength: 2 }),
  ),
});
const target = fc.constantFrom("/a", "/b", "/c");
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("get" as const), target, x: fc.constantFrom("1", "2"), asked: fc.constantFrom("", "", "", "no-cache", "max-age=3", "min-fresh=10", "max-stale=10", "max-stale"), isAuthorized: fc.nat(4).map((one) => one === 0) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("pass" as const), seconds: fc.constantFrom(1, 4, 9, 30) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("mood" as const), mood }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("post" as const), target }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("purge" as const), target }) },
);

const limitOf = (directives: readonly string[], name: string): number => Number(directives.find((one) => one.startsWith(`${name}=`))?.split("=")[1] ?? 0);

test("gives nobody what is not for them, and nothing stale without permission", async () => {
  let hits = 0;
  await fc.assert(fc.asyncProperty(mood, fc.array(step, { minLength: 10, maxLength: 60 }), async (first, steps) => {
    const rig = new CacheRig({ memoryBytes: MEMORY * 4, objectBytes: 120_000 });
    const given: Given[] = [];
    const forgottenMs = new Map<string, number>();
    let current = first;
    for (const one of steps) {
      if (one.kind === "pass") rig.pass(one.seconds);
      else if (one.kind === "mood") current = one.mood;
      else if (one.kind === "purge") {
        rig.cache.purge({ url: `https://a.example${one.target}` });
        forgottenMs.set(one.target, given.length);
      } else if (one.kind === "post") {
        rig.cache.invalidate({ method: "POST", scheme: "https", host: "a.example", target: one.target, scope: "website", headers: {} }, 200, []);
        forgottenMs.set(one.target, given.length);
      } else {
        const before = given.length;
        rig.next = ({ conditions }): Script => {
          if (current.fails) return { status: 503, text: "-1", headers: { "cache-control": "no-store" } };
          const known = given.findLastIndex((answer) => answer.target === one.target && `"${given.indexOf(answer)}"` === conditions["if-none-match"]);
          // The policy of the older answer goes on: the 304 says nothing else.
          if (known >= 0 && given[known]?.mood === current) {
            (given[known] as Given).confirmedMs = rig.nowMs;
            return { status: 304, headers: { etag: `"${known}"` } };
          }
          given.push({ target: one.target, x: one.x, mood: current, isAuthorized: one.isAuthorized, confirmedMs: rig.nowMs });
          const number = given.length - 1;
          const body = Buffer.alloc(current.bytes, " ");
          body.write(String(number));
          return { headers: { "cache-control": [`max-age=${current.maxAge}`, ...current.directives].join(", "), vary: current.vary ? "x" : undefined, "set-cookie": current.cookie ? "a=b" : undefined, etag: current.tag ? `"${number}"` : undefined }, body };
        };
        const fetches = rig.fetches;
        const headers = { x: one.x, ...(one.asked === "" ? {} : { "cache-control": one.asked }), ...(one.isAuthorized ? { authorization: "Basic x" } : {}) };
        const got = await rig.get(one.target, headers);
        const number = Number(await got.text());
        await Bun.sleep(0); // Refreshes in the background end.
        if (number >= 0 && number < before) {
          hits += 1;
          check(given[number] as Given, one, number, rig.fetches > fetches && !got.isHit);
        }
      }
      const stats = rig.cache.stats();
      expect(stats.bytes).toBeLessThanOrEqual(MEMORY * 4);
    }
    await rig.close();

    /** An answer that was not made for this request. */
    function check(answer: Given, one: { target: string; x: string; asked: string }, number: number, wasAsked: boolean): void {
      const { directives, maxAge, vary, cookie } = answer.mood;
      expect(answer.target).toBe(one.target);
      if (vary) expect(answer.x).toBe(one.x);
      expect(directives.filter((name) => name === "no-store" || name === "private")).toEqual([]);
      if (cookie) expect(directives).toContain("public");
      if (answer.isAuthorized) expect(directives.some((name) => name === "public" || name === "must-revalidate")).toBe(true);
      expect(number).toBeGreaterThanOrEqual(forgottenMs.get(one.target) ?? 0);
      const ageS = (rig.nowMs - answer.confirmedMs) / 1000;
      // Confirmed just now: by this very request.
      if (ageS === 0 && wasAsked) return;
      const mustBeFresh = directives.includes("must-revalidate");
      const grace = mustBeFresh ? 0 : Math.max(one.asked === "max-stale" ? Infinity : limitOf([one.asked], "max-stale"), wasAsked ? limitOf(directives, "stale-if-error") : limitOf(directives, "stale-while-revalidate"));
      expect(directives).not.toContain("no-cache");
      expect(ageS).toBeLessThanOrEqual(maxAge + grace);
      if (wasAsked) return;
      expect(one.asked).not.toBe("no-cache");
      if (one.asked === "max-age=3") expect(ageS).toBeLessThan(3);
      if (one.asked === "min-fresh=10") expect(maxAge - ageS).toBeGreaterThanOrEqual(10);
    }
  }), { numRuns: 600 });
  // Or the test would have looked at nothing.
  expect(hits).toBeGreaterThan(300);
}, 60_000);
