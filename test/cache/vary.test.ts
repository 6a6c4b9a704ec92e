import { describe, expect, test } from "bun:test";
import { variantOf, varyOf } from "../../src/cache/vary.ts";

describe("vary", () => {
  const FIELDS: ReadonlyArray<readonly [lines: string[], expected: string[] | null]> = [
    [[], []], [[""], []], [["Accept-Encoding"], ["accept-encoding"]], [["B, a", "A"], ["a", "b"]], [[" , a,,"], ["a"]],
    [["*"], null], [[", *"], null], [["", "*"], null], [["a, *"], null], [["*, a"], null], [[Array.from({ length: 17 }, (_, at) => `f${at}`).join()], null],
  ];
  for (const [lines, expected] of FIELDS) {
    test(`of ${JSON.stringify(lines).slice(0, 60)}`, () => {
      expect(varyOf(lines.map((line) => ["vary", line]))).toEqual(expected);
    });
  }

  const SAME: ReadonlyArray<readonly [name: string, a: string | undefined, b: string | undefined, same: boolean]> = [
    ["x", "1", "1", true], ["x", "1", "2", false], ["x", undefined, undefined, true], ["x", undefined, "", false], ["x", "a, b", "a,b", false], ["x", "A", "a", false],
    ["accept-encoding", "gzip, br", "br,  GZIP", true], ["accept-encoding", "gzip;q=0.5, br", "br, gzip; q=0.5", true], ["accept-encoding", "gzip, br", "gzip", false],
    ["accept-encoding", "gzip;q=0", "gzip", false], ["accept-encoding", undefined, "gzip", false],
    ["accept-language", "en, de", "EN ,De", true], ["accept-language", "en, de", "de, en", false],
    ["cookie", "a=1; b=2", "b=2; a=1", false],
  ];
  for (const [name, a, b, same] of SAME) {
    test(`takes ${name}: ${a} and ${b} for ${same ? "the same" : "different"}`, () => {
      expect(variantOf([name], { [name]: a }) === variantOf([name], { [name]: b })).toBe(same);
    });
  }

  test("values cannot be moved from one field to the next", () => {
    expect(variantOf(["a", "b"], { a: "1" })).not.toBe(variantOf(["a", "b"], { b: "1" }));
    expect(variantOf(["a", "b"], { a: "1=2" })).not.toBe(variantOf(["a", "b"], { a: "1", b: "2" }));
  });
});
