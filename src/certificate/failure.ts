// What is kept of an attempt that failed, so that a restart does not make the next one at once: CAs count what fails. It is a hint
// and no more: without it the next attempt is only made earlier.

import { CertificateError } from "./read.ts";

export type Failure = {
  /** Since the last success, at least 1. */
  readonly count: number;
  /** Unix time in ms, as the other. */
  readonly atMs: number;
  /** When the next attempt was to be made. */
  readonly nextMs: number;
  /** Until when the CA wants to be left alone; null: it said nothing. */
  readonly askedMs: number | null;
  /** Other names would fare the same. */
  readonly holdsOthers: boolean;
  /** How challenges were answered (renewal.ts). */
  readonly setup: string;
  readonly reason: string;
};

/** For people, too: who has mended what it tells of removes it. */
export function writeFailure({ count, atMs, nextMs, askedMs, holdsOthers, setup, reason }: Failure): string {
  return `${JSON.stringify({ reason, failures: count, failed: time(atMs), next: time(nextMs), asked: askedMs === null ? null : time(askedMs), holdsOthers, setup }, null, 2)}\n`;
}

/** @throws CertificateError */
export function readFailure(text: string): Failure {
  try {
    const { reason, failures: count, failed, next, asked, holdsOthers, setup } = JSON.parse(text) as Readonly<Record<string, unknown>>;
    const [atMs, nextMs, askedMs] = [Date.parse(String(failed)), Date.parse(String(next)), asked === null ? null : Date.parse(String(asked))];
    const isGood = Number.isSafeInteger(count) && (count as number) >= 1 && ![atMs, nextMs, askedMs].some(Number.isNaN)
      && typeof holdsOthers === "boolean" && typeof setup === "string" && typeof reason === "string";
    if (isGood) return { count: count as number, atMs, nextMs, askedMs, holdsOthers, setup, reason };
  } catch {
    // No JSON, or none of an object: said below.
  }
  throw new CertificateError("it tells of no failed attempt");
}

function time(ms: number): string {
  return new Date(ms).toISOString();
}
