import { describe, expect, test } from "bun:test";
import { isEarly, isRemembered, renewalTime, resumeTime, retryPause } from "../../src/certificate/schedule.ts";
import { DAY_MS } from "./fixtures.ts";

const NINETY_DAYS = { notBeforeMs: 0, notAfterMs: 90 * DAY_MS };
const MINUTE_MS = 60_000;
const low = (): number => 0;
const high = (): number => 0.999999;

describe("the schedule of renewals", () => {
  test("renews with a third of the lifetime left, and at most a tenth of that third later", () => {
    expect(renewalTime(NINETY_DAYS, low)).toBe(60 * DAY_MS);
    expect(renewalTime(NINETY_DAYS, high)).toBeGreaterThan(62.9 * DAY_MS);
    expect(renewalTime(NINETY_DAYS, high)).toBeLessThanOrEqual(63 * DAY_MS);
  });

  test("goes by the lifetime, not by days", () => {
    expect(renewalTime({ notBeforeMs: 0, notAfterMs: 6 * DAY_MS }, low)).toBe(4 * DAY_MS);
  });

  test("is early until then, to the millisecond", () => {
    expect(isEarly(NINETY_DAYS, 60 * DAY_MS - 1)).toBe(true);
    expect(isEarly(NINETY_DAYS, 60 * DAY_MS)).toBe(false);
  });

  test("tries again later and later, up to half a day", () => {
    expect([1, 2, 3, 4, 5, 6, 7, 100, 5000].map((failures) => retryPause(failures, null, low) / MINUTE_MS)).toEqual([1, 3, 9, 27, 81, 243, 720, 720, 720]);
  });

  test("fails at most five times in the first hour", () => {
    const times = [0];
    while (times.length < 6) times.push((times.at(-1) as number) + retryPause(times.length, null, low));
    expect((times[5] as number) / MINUTE_MS).toBeGreaterThan(60);
  });

  test("waits for at least as long as the CA asks, within a week", () => {
    expect(retryPause(1, 30 * MINUTE_MS, low)).toBe(30 * MINUTE_MS);
    expect(retryPause(7, 30 * MINUTE_MS, low)).toBe(720 * MINUTE_MS);
    expect(retryPause(1, 365 * DAY_MS, low)).toBe(7 * DAY_MS);
  });

  test("goes on after a restart with the pause of before, for an hour at the most, or longer where the CA asked for it, within a week", () => {
    const failure = { count: 1, atMs: 0, nextMs: 9 * MINUTE_MS, askedMs: null, holdsOthers: false, setup: "", reason: "" };
    expect(resumeTime(failure, true)).toBe(9 * MINUTE_MS);
    expect(resumeTime({ ...failure, nextMs: 12 * 60 * MINUTE_MS }, true)).toBe(60 * MINUTE_MS);
    expect(resumeTime({ ...failure, nextMs: 12 * 60 * MINUTE_MS, askedMs: MINUTE_MS }, true)).toBe(60 * MINUTE_MS);
    expect(resumeTime({ ...failure, nextMs: 12 * 60 * MINUTE_MS, askedMs: 120 * MINUTE_MS }, true)).toBe(120 * MINUTE_MS);
    expect(resumeTime({ ...failure, nextMs: 8e15, askedMs: 8e15 }, true)).toBe(7 * DAY_MS);
    expect(resumeTime(failure, false)).toBe(0);
    expect(resumeTime({ ...failure, askedMs: MINUTE_MS }, false)).toBe(MINUTE_MS);
  });

  test("remembers for a day that it has failed, or for as long as the CA asked, and nothing of a clock that was ahead", () => {
    const failure = { count: 1, atMs: 0, nextMs: MINUTE_MS, askedMs: null, holdsOthers: false, setup: "", reason: "" };
    const asked = { ...failure, askedMs: 2 * DAY_MS };
    expect([-1, 0, DAY_MS - 1, DAY_MS].map((nowMs) => isRemembered(failure, nowMs))).toEqual([false, true, true, false]);
    expect([-1, 0, 2 * DAY_MS - 1, 2 * DAY_MS].map((nowMs) => isRemembered(asked, nowMs))).toEqual([false, true, true, false]);
  });

  test("spreads attempts, never towards an earlier time", () => {
    expect(retryPause(1, null, high)).toBeGreaterThan(71_000);
    expect(retryPause(1, null, high)).toBeLessThanOrEqual(72_000);
  });
});
