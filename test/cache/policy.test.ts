// What may be stored and for how long, one line a rule, with the section that it comes from.

import { describe, expect, test } from "bun:test";
import { judge, type Judgement } from "../../src/cache/policy.ts";

const NOW = Date.UTC(2026, 10, 21, 12, 0, 0);
const at = (seconds: number): string => new Date(NOW + seconds * 1000).toUTCString();

type Case = {
  readonly section: string;
  readonly what: string;
  readonly status?: number;
  readonly request?: Record<string, string>;
  readonly response: ReadonlyArray<readonly [string, string]>;
  /** Seconds that it is fresh for from now on; null: not stored; a reason: not stored because of it. */
  readonly fresh: number | string | null;
};

function judged({ status = 200, request = {}, response }: Pick<Case, "status" | "request" | "response">): Judgement {
  const dated: ReadonlyArray<readonly [string, string]> = response.some(([name]) => name === "date") ? response : [["date", at(0)], ...response];
  return judge(request, status, dated, { requestMs: NOW, responseMs: NOW });
}

const cc = (value: string): readonly [string, string] => ["cache-control", value];
const ETAG = ["etag", '"a"'] as const;

const CASES: readonly Case[] = [
  { section: "3", what: "nothing said, nothing to validate with", response: [], fresh: "no-freshness" },
  { section: "3", what: "a validator alone: stored to be validated", response: [ETAG], fresh: 0 },
  { section: "3", what: "a part", status: 206, response: [cc("max-age=60")], fresh: "status" },
  { section: "3", what: "a 304 that nobody asked for", status: 304, response: [cc("max-age=60")], fresh: "status" },
  { section: "3", what: "an error that says for how long", status: 503, response: [cc("max-age=60")], fresh: 60 },
  { section: "3", what: "a status that nobody knows, and it says for how long", status: 599, response: [cc("max-age=60")], fresh: 60 },
  { section: "3", what: "an error that says nothing", status: 500, response: [["last-modified", at(-1000)]], fresh: null },
  { section: "5.2.2.3", what: "must-understand with a status that nobody knows", status: 599, response: [cc("max-age=60, must-understand")], fresh: "must-understand" },
  { section: "5.2.2.3", what: "must-understand and no-store with one that is known", response: [cc("max-age=60, must-understand, no-store")], fresh: 60 },
  { section: "5.2.2.5", what: "no-store", response: [cc("no-store, max-age=60")], fresh: null },
  { section: "5.2.2.5", what: "no-store in capitals", response: [cc("No-Store")], fresh: null },
  { section: "5.2.2.5", what: "no-store on a second line", response: [cc("max-age=60"), cc("no-store")], fresh: null },
  { section: "5.2.2.7", what: "private", response: [cc("private, max-age=60")], fresh: null },
  { section: "5.2.2.7", what: "private with names of fields", response: [cc('private="x-user", max-age=60')], fresh: 60 },
  { section: "5.2.2.7", what: "private with what is no list of names", response: [cc('private="x user, max-age=60')], fresh: null },
  { section: "5.2.1.5", what: "a request with no-store", request: { "cache-control": "no-store" }, response: [cc("max-age=60")], fresh: null },
  { section: "3.5", what: "Authorization", request: { authorization: "Basic x" }, response: [cc("max-age=60")], fresh: null },
  { section: "3.5", what: "Authorization and public", request: { authorization: "Basic x" }, response: [cc("max-age=60, public")], fresh: 60 },
  { section: "3.5", what: "Authorization and s-maxage", request: { authorization: "Basic x" }, response: [cc("s-maxage=60")], fresh: 60 },
  { section: "3.5", what: "Authorization and must-revalidate", request: { authorization: "Basic x" }, response: [cc("max-age=60, must-revalidate")], fresh: 60 },
  { section: "3.5", what: "Authorization and a private one", request: { authorization: "Basic x" }, response: [cc("max-age=60, public, private")], fresh: null },
  { section: "7.3", what: "a cookie", response: [cc("max-age=60"), ["set-cookie", "a=b"]], fresh: "set-cookie" },
  { section: "7.3", what: "a cookie for all", response: [cc("max-age=60, public"), ["set-cookie", "a=b"]], fresh: 60 },
  { section: "7.3", what: "a cookie in what is for shared caches", response: [cc("s-maxage=60"), ["set-cookie", "a=b"]], fresh: 60 },
  { section: "4.2.1", what: "s-maxage over max-age", response: [cc("max-age=10, s-maxage=60")], fresh: 60 },
  { section: "4.2.1", what: "s-maxage over a longer max-age", response: [cc("s-maxage=1, max-age=60")], fresh: 1 },
  { section: "4.2.1", what: "max-age over Expires", response: [cc("max-age=60"), ["expires", at(-60)]], fresh: 60 },
  { section: "4.2.1", what: "Expires minus Date", response: [["date", at(0)], ["expires", at(60)]], fresh: 60 },
  { section: "4.2.1", what: "two max-ages: the first", response: [cc("max-age=60, max-age=10")], fresh: 60 },
  { section: "4.2.1", what: "two max-ages on two lines: the first", response: [cc("max-age=10"), cc("max-age=60")], fresh: 10 },
  { section: "4.2.1", what: "two Expires: the first", response: [["expires", at(60)], ["expires", at(10)]], fresh: 60 },
  { section: "4.2.1", what: "a max-age that is no number", response: [cc("max-age=a60"), ETAG], fresh: 0 },
  { section: "4.2.1", what: "a negative max-age", response: [cc("max-age=-60"), ETAG], fresh: 0 },
  { section: "4.2.1", what: "an invalid s-maxage beside a max-age", response: [cc("s-maxage=x, max-age=60"), ETAG], fresh: 0 },
  { section: "5.2.2.10", what: "a max-age in quotes", response: [cc('max-age="60"')], fresh: 60 },
  { section: "1.2.2", what: "a max-age beyond all numbers", response: [cc("max-age=99999999999999")], fresh: 2 ** 31 },
  { section: "5.2.3", what: "directives that nobody knows", response: [cc("foo, bar=\"no-store\", max-age=60")], fresh: 60 },
  { section: "5.3", what: "an Expires that is no date", response: [["expires", "0"], ETAG], fresh: 0 },
  { section: "5.3", what: "an Expires in the past", response: [["expires", at(-10)], ETAG], fresh: 0 },
  { section: "5.3", what: "an Expires before its Date", response: [["date", at(60)], ["expires", at(30)], ETAG], fresh: 0 },
  { section: "4.2.2", what: "a tenth of the time since the last change", response: [["last-modified", at(-1000)]], fresh: 100 },
  { section: "4.2.2", what: "a day at most", response: [["last-modified", at(-10 * 365 * 86400)]], fresh: 86400 },
  { section: "4.2.2", what: "no guess for what is not cacheable by itself", status: 403, response: [["last-modified", at(-1000)]], fresh: null },
  { section: "5.2.2.9", what: "public makes any status cacheable", status: 403, response: [cc("public"), ["last-modified", at(-1000)]], fresh: 100 },
  { section: "4.2.2", what: "no guess beside what was said", response: [cc("max-age=5"), ["last-modified", at(-1000)]], fresh: 5 },
  { section: "4.2.3", what: "an Age is part of the life", response: [cc("max-age=60"), ["age", "20"]], fresh: 40 },
  { section: "4.2.3", what: "an Age beyond the life", response: [cc("max-age=60"), ["age", "7200"]], fresh: 60 - 7200 },
  { section: "1.2.2", what: "an Age beyond all numbers", response: [cc("max-age=60"), ["age", "9".repeat(400)]], fresh: 60 - 2 ** 31 },
  { section: "4.2.3", what: "a Date in the past is an age", response: [cc("max-age=60"), ["date", at(-20)]], fresh: 40 },
  { section: "4.2.3", what: "the larger of Age and Date", response: [cc("max-age=60"), ["date", at(-20)], ["age", "30"]], fresh: 30 },
  { section: "4.2.3", what: "a Date in the future is none", response: [cc("max-age=60"), ["date", at(20)]], fresh: 60 },
  { section: "4.2.1", what: "an Age that is no number", response: [cc("max-age=60"), ["age", "abc"]], fresh: 0 },
  { section: "4.2.1", what: "two Ages", response: [cc("max-age=60"), ["age", "0"], ["age", "0"]], fresh: 0 },
  { section: "6.6.1 of RFC 9110", what: "a Date that is no date", response: [["date", "foo"], ["expires", at(60)]], fresh: 60 },
  { section: "5.4", what: "Pragma where there is no Cache-Control", response: [["pragma", "no-cache"], ["last-modified", at(-1000)]], fresh: 0 },
  { section: "5.4", what: "Pragma beside Cache-Control", response: [cc("max-age=60"), ["pragma", "no-cache"]], fresh: 60 },
  { section: "2.2 of RFC 9213", what: "CDN-Cache-Control over Cache-Control", response: [cc("no-store"), ["cdn-cache-control", "max-age=60"]], fresh: 60 },
  { section: "2.2 of RFC 9213", what: "CDN-Cache-Control over Expires", response: [["expires", at(60)], ["cdn-cache-control", "max-age=10"]], fresh: 10 },
  { section: "2.2 of RFC 9213", what: "CDN-Cache-Control that forbids", response: [cc("max-age=60"), ["cdn-cache-control", "no-store"]], fresh: null },
  { section: "2.2 of RFC 9213", what: "an empty CDN-Cache-Control", response: [cc("max-age=60"), ["cdn-cache-control", ""]], fresh: 60 },
];

describe("policy", () => {
  for (const given of CASES) {
    test(`RFC 9111 section ${given.section}: ${given.what}`, () => {
      const { policy, reason } = judged(given);
      if (typeof given.fresh === "number") expect(policy === null ? reason : (policy.bornMs + policy.lifetimeMs - NOW) / 1000).toBe(given.fresh);
      else expect(policy).toBeNull();
      if (typeof given.fresh === "string") expect(reason).toBe(given.fresh);
    });
  }

  test("RFC 9111 section 4.2.3: counts the time that the answer took", () => {
    const { policy } = judge({}, 200, [cc("max-age=60"), ["age", "10"], ["date", at(0)]], { requestMs: NOW - 4000, responseMs: NOW });
    expect(policy?.bornMs).toBe(NOW - 14_000);
  });

  test("within the second of its Date an answer is not old", () => {
    const { policy } = judge({}, 200, [cc("max-age=1"), ["date", at(0)]], { requestMs: NOW + 990, responseMs: NOW + 990 });
    expect(policy?.bornMs).toBe(NOW + 990);
  });

  const FLAGS: ReadonlyArray<readonly [directives: string, mustValidate: boolean, mustBeFresh: boolean]> = [
    ["max-age=60", false, false], ["max-age=60, must-revalidate", false, true], ["max-age=60, proxy-revalidate", false, true], ["s-maxage=60", false, true],
    ["max-age=60, no-cache", true, true], ['max-age=60, no-cache="set-cookie"', false, false], ["max-age=60, immutable", false, false],
  ];
  for (const [directives, mustValidate, mustBeFresh] of FLAGS) {
    test(`RFC 9111 section 5.2.2: ${directives}`, () => {
      expect(judged({ response: [cc(directives), ETAG] }).policy).toMatchObject({ mustValidate, mustBeFresh, lifetimeMs: directives.includes("no-cache") && mustValidate ? 0 : 60_000 });
    });
  }

  test("RFC 5861: reads what it may be used for when it is stale", () => {
    expect(judged({ response: [cc("max-age=60, stale-while-revalidate=5, stale-if-error=10")] }).policy).toMatchObject({ staleWhileRevalidateMs: 5000, staleIfErrorMs: 10_000 });
    expect(judged({ response: [cc("max-age=60, stale-while-revalidate=x, stale-if-error")] }).policy).toMatchObject({ staleWhileRevalidateMs: 0, staleIfErrorMs: 0 });
  });

  test("RFC 9111 sections 5.2.2.4 and 5.2.2.7: names what is not to be stored of it", () => {
    const { policy, ...rest } = judged({ response: [cc('max-age=60, no-cache="A", private="b, c"')] });
    expect(policy).not.toBeNull();
    expect("hidden" in rest && rest.hidden).toEqual(["a", "b", "c"]);
  });
});
