// What is wrong with a configuration: every mistake at once, each with its place, so that one run of `check` is enough.

import { oneLine } from "../lib/log.ts";

export type Mistake = {
  /** From 1; 0 when the mistake stands in a flag or the environment and not in the file. */
  readonly line: number;
  readonly column: number;
  /** Lower case, the value quoted, with a suggestion where one is near. */
  readonly message: string;
};

/** `routes.yaml:12:5: unknown key "servce" (did you mean "service"?)`: one line, whatever the file holds. */
export function formatMistake(source: string, mistake: Mistake): string {
  if (mistake.line === 0) return oneLine(mistake.message);
  return oneLine(`${source}:${mistake.line}:${mistake.column}: ${mistake.message}`);
}

/** A configuration that cannot be used. The message lists all mistakes, one a line. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";

  constructor(readonly source: string, readonly mistakes: readonly Mistake[], options?: { cause?: unknown }) {
    super(mistakes.map((mistake) => formatMistake(source, mistake)).join("\n"), options);
  }
}
