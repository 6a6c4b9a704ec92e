import { describe, expect, test } from "bun:test";
import { formatDuration, parseDuration } from "../../src/lib/duration.ts";

describe("duration", () => {
  test.each([
    ["0", 0], ["500ms", 500], ["30s", 30_000], ["10m", 600_000], ["2h", 7_200_000], ["24d", 2_073_600_000],
  ])("reads %s as %d ms", (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  test.each(["", "30", "s", "-1s", "1.5s", "30 s", "30S", "30sec", "1h30m", " 30s", "30s\n", "25d", "99999999999s"])(
    "refuses %j", (text) => {
      expect(parseDuration(text)).toBeUndefined();
    });

  test("goes beyond what a timer holds where it is told to", () => {
    expect(parseDuration("365d", 365 * 86_400_000)).toBe(365 * 86_400_000);
    expect(parseDuration("366d", 365 * 86_400_000)).toBeUndefined();
  });

  test.each([[0, "0"], [600_000, "10m"], [90_000, "90s"], [1500, "1500ms"], [86_400_000, "1d"]])(
    "writes %d ms as %s", (ms, text) => {
      expect(formatDuration(ms)).toBe(text);
    });
});
