// When a certificate is renewed, and when a failed attempt is made again. Pure: time and randomness come in.

import type { Certificate } from "../certificate.ts";
import type { Failure } from "./failure.ts";

/** At least 0 and less than 1. */
export type RandomNumber = () => number;

type Lifetime = Pick<Certificate, "notBeforeMs" | "notAfterMs">;

/** Of the last third, so that many certificates of one day are not renewed in one minute. */
const JITTER = 0.1;

/** Clocks of a CA and ours may differ by as much. */
const SKEW_MS = 24 * 3_600_000;

/** Three failures within five minutes, five within the hour (Let's Encrypt allows as many), then slowly. */
const FIRST_PAUSE_MS = 60_000;
const PAUSE_GROWTH = 3;
const PAUSE_LIMIT_MS = 12 * 3_600_000;
const PAUSE_JITTER = 0.2;
/** A CA may ask for more than we would wait; not for any time. */
const RETRY_AFTER_LIMIT_MS = 7 * 24 * 3_600_000;
/**
 * From a failure to the first attempt after a restart at the most, unless the CA asked for more: somebody may have restarted us
 * because he mended something. Once an hour is far below what CAs allow, however often we are restarted.
 */
const RESTART_PAUSE_LIMIT_MS = 3_600_000;
/** A failure before a restart makes the pause after the next one longer: or else a program that is restarted every hour began anew each time. */
const REMEMBERED_MS = 24 * 3_600_000;

/** Whether more than a third of the lifetime is left; of one of the future, nothing is. */
export function isEarly(certificate: Lifetime, nowMs: number): boolean {
  const { notBeforeMs, notAfterMs } = certificate;
  return notAfterMs - nowMs > (notAfterMs - notBeforeMs) / 3 && !isOfFuture(certificate, nowMs);
}

/** Whether it was made by a clock that was far ahead, or ours is far behind. Clients take it as little as one that has ended. */
export function isOfFuture({ notBeforeMs }: Lifetime, nowMs: number): boolean {
  return notBeforeMs - nowMs > SKEW_MS;
}

/** Unix time in ms: when a third of the lifetime is left, or a little later. */
export function renewalTime({ notBeforeMs, notAfterMs }: Lifetime, random: RandomNumber): number {
  const third = (notAfterMs - notBeforeMs) / 3;
  return Math.ceil(notAfterMs - third * (1 - JITTER * random()));
}

/**
 * From a success to the next attempt, ms, where the clocks of the CA and ours differ by so much that what is new is due for renewal already:
 * it would be for ever.
 */
export function successPause({ notBeforeMs, notAfterMs }: Lifetime): number {
  return Math.min((notAfterMs - notBeforeMs) / 3, PAUSE_LIMIT_MS);
}

/**
 * From a failure to the next attempt, ms.
 * @param failures since the last success, at least 1
 * @param retryAfterMs what the CA asked for; null: nothing
 */
export function retryPause(failures: number, retryAfterMs: number | null, random: RandomNumber): number {
  const grown = Math.min(FIRST_PAUSE_MS * PAUSE_GROWTH ** (failures - 1), PAUSE_LIMIT_MS);
  const asked = Math.min(retryAfterMs ?? 0, RETRY_AFTER_LIMIT_MS);
  return Math.ceil(Math.max(grown, asked) * (1 + PAUSE_JITTER * random()));
}

/** Whether a failure that was kept still says something: it is not long ago, and not of a clock that was ahead. */
export function isRemembered(failure: Failure, nowMs: number): boolean {
  return failure.atMs <= nowMs && nowMs < Math.max(failure.atMs + REMEMBERED_MS, askedTime(failure));
}

/**
 * When the attempt after a failure is made that an earlier run of the program has kept, Unix time in ms; perhaps in the past.
 * @param isSameSetup nothing was changed that may have been wrong; otherwise only what the CA asked for counts
 */
export function resumeTime(failure: Failure, isSameSetup: boolean): number {
  const ownMs = isSameSetup ? Math.min(failure.nextMs, failure.atMs + RESTART_PAUSE_LIMIT_MS) : failure.atMs;
  return Math.max(ownMs, askedTime(failure));
}

function askedTime({ atMs, askedMs }: Failure): number {
  return askedMs === null ? atMs : Math.min(askedMs, atMs + RETRY_AFTER_LIMIT_MS);
}
