import { describe, expect, test } from "bun:test";
import { Retries } from "../../src/viewer/retries.js";

describe("the tries to connect again", () => {
  test("come after 1, 2, 4, 8 and then 15 seconds, and end", () => {
    const retries = new Retries();
    const delays = Array.from({ length: 21 }, () => retries.next(0));
    expect(delays.slice(0, 6)).toEqual([1000, 2000, 4000, 8000, 15_000, 15_000]);
    expect(delays.slice(19)).toEqual([15_000, null]);
  });

  test("start over after a connection that lived ten seconds, and not after a shorter one", () => {
    const retries = new Retries();
    retries.next(0);
    expect(retries.next(9999)).toBe(2000);
    expect(retries.next(10_000)).toBe(1000);
  });
});
