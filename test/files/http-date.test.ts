import { describe, expect, test } from "bun:test";
import { formatHttpDate, parseHttpDate } from "../../src/files/http-date.ts";

const NOW_MS = Date.UTC(2026, 10, 21);
const EXAMPLE_MS = Date.UTC(1994, 10, 6, 8, 49, 37);

describe("an HTTP date", () => {
  // RFC 9110 section 5.6.7: all three are to be understood.
  test.each(["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])("%s", (text) => {
    expect(parseHttpDate(text, NOW_MS)).toBe(EXAMPLE_MS);
  });

  test.each([["70", 2070], ["77", 1977], ["76", 2076], ["26", 2026], ["00", 2000]] as const)("a year %s is %d", (year, full) => {
    expect(parseHttpDate(`Sunday, 06-Nov-${year} 08:49:37 GMT`, NOW_MS)).toBe(Date.UTC(full, 10, 6, 8, 49, 37));
  });

  test.each(["", "1", "0", "now", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 06 Nov 1994 08:49:37 +0100", "sun, 06 nov 1994 08:49:37 gmt",
    "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:00 GMT", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06 Foo 1994 08:49:37 GMT",
    " Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT; length=5", "Sun, 06 Nov 94 08:49:37 GMT"])("%p is none", (text) => {
    expect(parseHttpDate(text, NOW_MS)).toBeNull();
  });

  test("written and read again is the same second", () => {
    for (const ms of [0, EXAMPLE_MS, NOW_MS, Date.UTC(2099, 11, 31, 23, 59, 59)]) expect(parseHttpDate(formatHttpDate(ms), NOW_MS)).toBe(ms);
  });
});
