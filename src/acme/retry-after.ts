// Retry-After (RFC 9110 section 10.2.3): seconds, or a date.

const SECONDS = /^\d{1,9}$/;

/** @returns ms from `nowMs`, never negative; null when the header is absent or is neither. */
export function readRetryAfter(value: string | null | undefined, nowMs: number): number | null {
  const text = value?.trim() ?? "";
  if (SECONDS.test(text)) return Number(text) * 1000;
  // Date.parse takes "2" and "-1" for years; a date of HTTP has a letter in it.
  const dateMs = /[a-z]/i.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(dateMs) ? null : Math.max(0, dateMs - nowMs);
}
