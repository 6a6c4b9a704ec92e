import { describe, expect, test } from "bun:test";
import type { Policy } from "../../src/cache/policy.ts";
import { demands, mayReplaceError, reuse, type Reuse } from "../../src/cache/reuse.ts";

const FRESH_S = 100;
const policy = (rest: Partial<Policy> = {}): Policy => ({ bornMs: 0, lifetimeMs: FRESH_S * 1000, mustValidate: false, mustBeFresh: false, staleWhileRevalidateMs: 0, staleIfErrorMs: 0, ...rest });
const SWR = { staleWhileRevalidateMs: 10_000 };
const STRICT = { mustBeFresh: true };

// RFC 9111 sections 4.2.4 and 5.2.1, RFC 5861 section 3.
const TABLE: ReadonlyArray<readonly [ageS: number, request: Record<string, string>, policy: Partial<Policy>, expected: Reuse]> = [
  [0, {}, {}, "fresh"], [99.999, {}, {}, "fresh"], [100, {}, {}, "expired"], [1e9, {}, {}, "expired"],
  [10, { "cache-control": "no-cache" }, {}, "refused"], [10, { pragma: "no-cache" }, {}, "refused"], [10, { pragma: "No-Cache" }, {}, "refused"],
  [10, { pragma: "no-cache", "cache-control": "foo" }, {}, "fresh"], [10, { pragma: "foo" }, {}, "fresh"],
  [10, { "cache-control": "max-age=0" }, {}, "refused"], [0, { "cache-control": "max-age=0" }, {}, "refused"],
  [10, { "cache-control": "max-age=11" }, {}, "fresh"], [10, { "cache-control": "max-age=9" }, {}, "refused"], [10, { "cache-control": "max-age=x" }, {}, "fresh"],
  [10, { "cache-control": "min-fresh=90" }, {}, "fresh"], [10, { "cache-control": "min-fresh=91" }, {}, "refused"],
  [105, { "cache-control": "max-stale=5" }, {}, "stale"], [105.1, { "cache-control": "max-stale=5" }, {}, "expired"], [1e9, { "cache-control": "max-stale" }, {}, "stale"],
  [105, { "cache-control": "max-stale=x" }, {}, "expired"],
  [105, { "cache-control": "max-stale" }, STRICT, "expired"], [105, { "cache-control": "max-stale, no-cache" }, {}, "expired"],
  [99, {}, STRICT, "fresh"],
  [105, {}, SWR, "while-revalidate"], [110, {}, SWR, "expired"], [105, {}, { ...SWR, ...STRICT }, "expired"],
  [105, { "cache-control": "no-cache" }, SWR, "expired"], [105, { "cache-control": "max-age=0" }, SWR, "expired"],
  [0, {}, { mustValidate: true, mustBeFresh: true }, "expired"], [0, { "cache-control": "max-stale" }, { mustValidate: true, mustBeFresh: true }, "expired"],
];

describe("reuse", () => {
  for (const [ageS, request, rest, expected] of TABLE) {
    test(`of an answer ${ageS} s old for ${JSON.stringify(request)}${Object.keys(rest).length === 0 ? "" : ` with ${JSON.stringify(rest)}`}: ${expected}`, () => {
      expect(reuse(policy(rest), demands(request), ageS * 1000)).toBe(expected);
    });
  }

  for (const [ageS, rest, expected] of [[105, {}, false], [105, { staleIfErrorMs: 10_000 }, true], [110, { staleIfErrorMs: 10_000 }, false], [105, { staleIfErrorMs: 10_000, ...STRICT }, false]] as const) {
    test(`in place of an error, ${ageS} s old with ${JSON.stringify(rest)}: ${expected}`, () => {
      expect(mayReplaceError(policy(rest), ageS * 1000)).toBe(expected);
    });
  }
});
