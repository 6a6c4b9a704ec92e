import { describe, expect, test } from "bun:test";
import { readRetryAfter } from "../../src/acme/retry-after.ts";

const NOW = Date.parse("2030-01-01T00:00:00Z");

describe("readRetryAfter", () => {
  const VALUES: ReadonlyArray<readonly [value: string | null, ms: number | null]> = [
    ["0", 0], ["120", 120_000], [" 7 ", 7000],
    ["Tue, 01 Jan 2030 00:10:00 GMT", 600_000], ["Mon, 31 Dec 2029 23:00:00 GMT", 0],
    [null, null], ["", null], ["-1", null], ["1.5", null], ["1e9", null], ["soon", null], ["99999999999", null], ["0x10", null],
  ];
  for (const [value, ms] of VALUES) {
    test(`reads ${JSON.stringify(value)} as ${ms}`, () => {
      expect(readRetryAfter(value, NOW)).toBe(ms);
    });
  }
});
