// Durations as people write them in settings and flags: `500ms`, `30s`, `10m`, `2h`. One number and one unit, nothing
// else, so that `30` can never be mistaken for milliseconds. Only 0 needs no unit.

const UNITS: ReadonlyArray<readonly [unit: string, ms: number]> = [
  ["d", 86_400_000], ["h", 3_600_000], ["m", 60_000], ["s", 1000], ["ms", 1],
];

/** 24 days: the longest wait that a timer of the runtime can hold (2^31 - 1 ms). */
export const LONGEST_DURATION_MS = 2_147_483_647;

/**
 * Milliseconds, or undefined for anything that is not a duration of at most `longestMs`.
 * @param longestMs more than the default is for what no timer waits for
 */
export function parseDuration(text: string, longestMs = LONGEST_DURATION_MS): number | undefined {
  if (text === "0") return 0;
  const parts = /^(\d{1,10})(ms|s|m|h|d)$/.exec(text);
  const factor = UNITS.find(([unit]) => unit === parts?.[2])?.[1];
  if (parts === null || factor === undefined) return undefined;
  const ms = Number(parts[1]) * factor;
  return ms <= longestMs ? ms : undefined;
}

/** The shortest exact spelling: 600000 is `10m`, 90000 is `90s`. */
export function formatDuration(ms: number): string {
  if (ms === 0) return "0";
  const [unit, factor] = UNITS.find(([, size]) => ms % size === 0) ?? ["ms", 1];
  return `${ms / factor}${unit}`;
}
