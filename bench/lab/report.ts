// What the reader sees: figures as min / median / max, and for each bound of the issue a line `ok`, `MISSED` or `skipped`.
// A bound is judged by its median only, and never at the size that merely shows that the harness works.

import { type Summary, summarize } from "./statistics.ts";

export type Limit =
  | { readonly atLeast: number }
  | { readonly atMost: number }
  | { readonly below: number };

export type Bound = {
  /** What must hold, in words. */
  readonly what: string;
  /** One a round. */
  readonly values: readonly number[];
  /** Behind the figure: " x", " MiB". */
  readonly unit: string;
  readonly limit: Limit;
};

const NAME_WIDTH = 34;

export class Report {
  held = 0;
  missed = 0;
  skipped = 0;
  failed = 0;

  constructor(private readonly isJudging: boolean, private readonly print: (line: string) => void) {}

  heading(text: string): void {
    this.print(`\n${text}`);
  }

  note(text: string): void {
    this.print(`  ${text}`);
  }

  /** @param beside what was measured in the same rounds, ready to be read */
  figure(name: string, values: readonly number[], unit: string, beside: readonly string[] = []): void {
    this.print(`  ${name.padEnd(NAME_WIDTH)} ${spread(summarize(values), unit)}${beside.map((text) => `   ${text}`).join("")}`);
  }

  bound({ what, values, unit, limit }: Bound): void {
    const found = `${spread(summarize(values), unit)}`;
    const wanted = `${words(limit)} ${text(Object.values(limit)[0] as number)}${unit}`;
    const verdict = this.isJudging ? this.#judge(holds(summarize(values).median, limit)) : "not judged";
    this.print(`  ${verdict.padEnd(10)} ${what}: ${wanted}; found ${found}`);
  }

  /** Something that could not be measured here. */
  skip(what: string, why: string): void {
    this.skipped += 1;
    this.print(`  skipped    ${what}: ${why}`);
  }

  /** Something that makes the figures worthless: wrong answers, missing log lines, a crash. */
  fail(what: string): void {
    this.failed += 1;
    this.print(`  FAILED     ${what}`);
  }

  get summary(): string {
    return `${this.held} held, ${this.missed} missed, ${this.failed} failed, ${this.skipped} skipped`;
  }

  #judge(isHeld: boolean): string {
    if (isHeld) this.held += 1;
    else this.missed += 1;
    return isHeld ? "ok" : "MISSED";
  }
}

function holds(value: number, limit: Limit): boolean {
  if ("atLeast" in limit) return value >= limit.atLeast;
  return "atMost" in limit ? value <= limit.atMost : value < limit.below;
}

function words(limit: Limit): string {
  if ("atLeast" in limit) return "at least";
  return "atMost" in limit ? "at most" : "below";
}

function spread({ min, median, max }: Summary, unit: string): string {
  return min === max ? `${text(median)}${unit}` : `${text(median)}${unit} (${text(min)} to ${text(max)})`;
}

/** Three or four digits that count, grouped in thousands. */
export function text(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString("en-US", { maximumFractionDigits: digits });
}
