// What is said about a row of measurements: the median, because one disturbed round must not decide, and both ends, because
// they show how disturbed the machine was.

export type Summary = { readonly min: number; readonly median: number; readonly max: number };

/** @param values at least one */
export function summarize(values: readonly number[]): Summary {
  const sorted = values.toSorted((a, b) => a - b);
  return { min: sorted[0] ?? NaN, median: percentile(sorted, 50), max: sorted.at(-1) ?? NaN };
}

export function median(values: readonly number[]): number {
  return summarize(values).median;
}

/**
 * Ratios of what was measured side by side: the first of `ours` to the first of `theirs`, and so on. A machine that slows
 * down between two rounds changes both figures of a round, and not their ratio.
 */
export function ratios(ours: readonly number[], theirs: readonly number[]): number[] {
  return ours.map((value, round) => value / (theirs[round] ?? NaN));
}

/** @param sorted ascending  @param percent 0 to 100; between two values the nearer ranks are interpolated */
export function percentile(sorted: ArrayLike<number>, percent: number): number {
  const rank = (percent / 100) * (sorted.length - 1);
  const below = sorted[Math.floor(rank)] ?? NaN;
  const above = sorted[Math.ceil(rank)] ?? NaN;
  return below + (above - below) * (rank - Math.floor(rank));
}

export type Latency = { readonly p50Ms: number; readonly p99Ms: number; readonly maxMs: number };

/** @param valuesMs sorted in place */
export function latency(valuesMs: Float64Array): Latency {
  valuesMs.sort();
  return { p50Ms: percentile(valuesMs, 50), p99Ms: percentile(valuesMs, 99), maxMs: valuesMs.at(-1) ?? NaN };
}
