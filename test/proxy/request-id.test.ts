import { expect, test } from "bun:test";
import { RequestIds } from "../../src/proxy/request-id.ts";

test("request ids are unique, in order, of one length, and begin alike in one process", () => {
  const ids = new RequestIds();
  const made = Array.from({ length: 70_000 }, () => ids.next());
  expect(new Set(made).size).toBe(made.length);
  expect(made.toSorted()).toEqual(made);
  expect(new Set(made.map((id) => id.length))).toEqual(new Set([20]));
  expect(new Set(made.map((id) => id.slice(0, 12))).size).toBe(1);
  expect(new RequestIds().next().slice(0, 12)).not.toBe(made[0]!.slice(0, 12));
});

test("an id of a trusted proxy is kept when it can be written anywhere", () => {
  const ids = new RequestIds();
  expect(ids.keep("abc-1.2_3", "own")).toBe("abc-1.2_3");
  for (const given of [undefined, "", "a b", "a\nb", "x".repeat(65), "ü"]) expect(ids.keep(given, "own")).toBe("own");
});
