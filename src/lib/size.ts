// Byte sizes as people write them in settings: `512B`, `16KiB`, `8MiB`, `8GiB`. Binary units only: `8MB` is refused,
// for it means 8,000,000 to some and 8,388,608 to others. Only 0 needs no unit.

const UNITS: ReadonlyArray<readonly [unit: string, bytes: number]> = [
  ["TiB", 2 ** 40], ["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10], ["B", 1],
];

/** Bytes, or undefined for anything that is not a size below 2^53. */
export function parseSize(text: string): number | undefined {
  if (text === "0") return 0;
  const parts = /^(\d{1,16})(B|KiB|MiB|GiB|TiB)$/.exec(text);
  const factor = UNITS.find(([unit]) => unit === parts?.[2])?.[1];
  if (parts === null || factor === undefined) return undefined;
  const bytes = Number(parts[1]) * factor;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** The shortest exact spelling: 1048576 is `1MiB`, 1500 is `1500B`. */
export function formatSize(bytes: number): string {
  if (bytes === 0) return "0";
  const [unit, factor] = UNITS.find(([, size]) => bytes % size === 0) ?? ["B", 1];
  return `${bytes / factor}${unit}`;
}
