// How long a DNS record takes to be seen, as an external program prints it: `{"timeout": seconds, "interval": seconds}`.

export type RecordTimes = { readonly timeoutMs: number; readonly intervalMs: number };

/** What lego takes for a program that says nothing. */
const DEFAULT: RecordTimes = { timeoutMs: 60_000, intervalMs: 2000 };
const TIMEOUT_LIMIT_S = 3600;

/** Anything but two positive numbers is as good as nothing. */
export function readRecordTimes(output: string): RecordTimes {
  try {
    const { timeout, interval } = JSON.parse(output) as { timeout?: unknown; interval?: unknown };
    return { timeoutMs: seconds(timeout) ?? DEFAULT.timeoutMs, intervalMs: seconds(interval) ?? DEFAULT.intervalMs };
  } catch {
    return DEFAULT; // No JSON, or none of an object.
  }
}

function seconds(value: unknown): number | null {
  return typeof value === "number" && value > 0 ? Math.min(value, TIMEOUT_LIMIT_S) * 1000 : null;
}
