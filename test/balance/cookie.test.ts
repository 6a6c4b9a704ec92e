import { describe, expect, test } from "bun:test";
import { cookieValue } from "../../src/balance/cookie.ts";

describe("cookie", () => {
  test.each([
    ["id=1", "1"], ["a=2; id=1", "1"], ["id=1; a=2", "1"], ["a=2;id=1", "1"], ["  id = 1  ; a=2", "1"], ["\tid=1", "1"],
    ["id=1; id=2", "1"], ["id=a=b==", "a=b=="], ['id="1"', '"1"'], ["id=1;", "1"], [";;; id=1", "1"],
    ["", null], ["id", null], ["idx", null], ["x; idx", null], ["id=", null], ["id= ", null], ["ID=1", null], ["xid=1", null], ["id2=1", null], ["=id", null], ["=1; id", null],
    ["a=id=1", null], ["a=1, id=1", null], ['a="; id=1', "1"], ["a; id=1", "1"],
  ])("%j → %j", (header, value) => {
    expect(cookieValue(header, "id")).toBe(value);
  });

  test("no header has no cookie", () => {
    expect([cookieValue(null, "id"), cookieValue(undefined, "id")]).toEqual([null, null]);
  });

  test.each([";", "=", "a", "; ", "id ", "a=;"])("a long header of %j takes no longer than its length", (piece) => {
    const header = piece.repeat(1_000_000 / piece.length);
    const startedMs = performance.now();
    expect(cookieValue(header, "id")).toBeNull();
    // Time that grows with the square would be minutes.
    expect(performance.now() - startedMs).toBeLessThan(2000);
  });
});
