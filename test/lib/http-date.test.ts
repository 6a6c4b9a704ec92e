import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { formatHttpDate, parseHttpDate } from "../../src/lib/http-date.ts";

const NOW = Date.UTC(2026, 10, 21);
const AT = Date.UTC(2050, 7, 18, 2, 1, 18);

const READ: ReadonlyArray<readonly [text: string, ms: number]> = [
  // RFC 9110 section 5.6.7.
  ["Sun, 06 Nov 1994 08:49:37 GMT", Date.UTC(1994, 10, 6, 8, 49, 37)],
  ["Sunday, 06-Nov-94 08:49:37 GMT", Date.UTC(1994, 10, 6, 8, 49, 37)],
  ["Sun Nov  6 08:49:37 1994", Date.UTC(1994, 10, 6, 8, 49, 37)],
  ["Thursday, 18-Aug-50 02:01:18 GMT", AT],
  ["Thu Aug 18 02:01:18 2050", AT],
  // Two digits more than 50 years ahead are of the last century.
  ["Thu, 18-Aug-76 02:01:18 GMT", Date.UTC(2076, 7, 18, 2, 1, 18)],
  ["Thu, 18-Aug-77 02:01:18 GMT", Date.UTC(1977, 7, 18, 2, 1, 18)],
  // Sloppy, and clear all the same.
  ["THU, 18 AUG 2050 02:01:18 gmt", AT],
  ["Thu 18 Aug 2050 02:01:18 GMT", AT],
  ["Thu, 18  Aug  2050 02:01:18 GMT", AT],
  ["Thu, 18-Aug-2050 02:01:18 GMT", AT],
  ["Thu, 18 Aug 2050 2:01:18 GMT", AT],
  ["Thu, 18 Aug 2050 02:01:18 UTC", AT],
];
const REFUSED = [
  "", "0", "-1", "never", "2050", "Thu, 18 Aug 2050", "Thu, 18 Aug 2050 02:01:18", "Thu, 18 Aug 2050 02:01:18 AEST", "Thu, 18 Aug 2050 02.01.18 GMT",
  "Thu, 32 Aug 2050 02:01:18 GMT", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT; length=5", "Thu, 18 Foo 2050 02:01:18 GMT", "Thu, 18 Aug 2050 24:01:18 GMT", "Thu, 18 Aug 2050 02:60:18 GMT",
  "2050-08-18T02:01:18Z", "Thu, 18 Aug 2050 02:01:18 +0000", "x Thu, 18 Aug 2050 02:01:18 GMT",
];

describe("dates", () => {
  for (const [text, ms] of READ) test(`reads "${text}"`, () => expect(parseHttpDate(text, NOW)).toBe(ms));
  for (const text of REFUSED) test(`refuses "${text}"`, () => expect(parseHttpDate(text, NOW)).toBeNull());

  test("reads back what it writes", () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 253402300799 }), (s) => {
      expect(parseHttpDate(formatHttpDate(s * 1000), NOW)).toBe(s * 1000);
    }));
  });
});
