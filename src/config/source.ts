// One configuration file while it is being read: its values with their places, its variables, and the mistakes found
// so far. Values that came out of `${...}` are marked: they have no type of their own, the shape that reads them
// decides ("true" for a boolean, "a,b" for a list).

import { type Environment, interpolate, type Problem } from "./interpolate.ts";
import type { Mistake } from "./mistake.ts";

export type ScalarValue = {
  readonly kind: "scalar";
  /** Index into the file's text. */
  readonly offset: number;
  readonly value: string | number | boolean | null;
  readonly fromEnvironment: boolean;
  /** A variable in it that is not set or not well written: what is to be said if the value turns out to be unusable. */
  readonly problem?: Finding;
  /** The variables whose values stand in it: who is to be named if the value turns out to be unusable. */
  readonly variables?: readonly string[];
};
export type ListValue = { readonly kind: "list"; readonly offset: number; readonly items: readonly Value[] };
export type MapValue = { readonly kind: "map"; readonly offset: number; readonly entries: readonly MapEntry[] };
export type MapEntry = { readonly key: string; readonly keyOffset: number; readonly value: Value };
export type Value = ScalarValue | ListValue | MapValue;

export type Plain = string | number | boolean | null | readonly Plain[] | { readonly [key: string]: Plain };

export type ReadOptions = {
  readonly env: Environment;
  /** A variable that is not set and has no default stays as it is written, instead of being a mistake. */
  readonly allowUnset?: boolean | undefined;
};

/** A file or directory that the configuration names: where, and how. */
export type NamedPath = { readonly line: number; readonly column: number; readonly path: string };

export type Finding = { readonly offset: number | null; readonly message: string };

export class Source {
  readonly #mistakes: Finding[] = [];
  readonly #notes: Finding[] = [];
  readonly #paths: Array<{ readonly path: string; readonly offset: number }> = [];

  constructor(readonly text: string, private readonly options: ReadOptions) {}

  /** Variables that are not set stay as they are written. */
  get isOnlyShown(): boolean {
    return this.options.allowUnset === true;
  }

  /** Notes a mistake at an offset of the text; null: it stands outside the file. */
  mistake(offset: number | null, message: string): void {
    this.#mistakes.push({ offset, message });
  }

  /** What `read` finds wrong is not reported: something else has been already, in its place. */
  quietly<T>(read: () => T): T {
    const before = this.#mistakes.length;
    const result = read();
    this.#mistakes.length = before;
    return result;
  }

  /** Notes what is no mistake but has no effect. */
  note(offset: number | null, message: string): void {
    this.#notes.push({ offset, message });
  }

  /** Notes a file or directory that is used later: nothing here looks at the disk. */
  named(offset: number, path: string): void {
    this.#paths.push({ offset, path });
  }

  /** What `read` makes of a default is not named by the file. */
  unnamed<T>(read: () => T): T {
    const before = this.#paths.length;
    const result = read();
    this.#paths.length = before;
    return result;
  }

  get paths(): NamedPath[] {
    return this.#paths.map(({ offset, path }) => ({ ...this.position(offset), path }));
  }

  /** All mistakes so far in the order of the file, each place and message once. */
  get mistakes(): Mistake[] {
    return this.#inOrder(this.#mistakes);
  }

  get notes(): Mistake[] {
    return this.#inOrder(this.#notes);
  }

  /** Both from 1; 0 for what stands outside the file. */
  position(offset: number | null): { line: number; column: number } {
    if (offset === null) return { line: 0, column: 0 };
    const before = this.text.slice(0, offset);
    return { line: before.split("\n").length, column: offset - before.lastIndexOf("\n") };
  }

  scalar(value: string | number | boolean | null, offset: number): ScalarValue {
    if (typeof value !== "string" || !value.includes("${")) {
      return { kind: "scalar", offset, value, fromEnvironment: false };
    }
    const { text, problems, used } = interpolate(value, this.options.env);
    const findings = problems.map((problem) => this.#finding(problem, offset));
    for (const [index, finding] of findings.entries()) {
      if (problems[index]?.kind === "syntax" || !this.options.allowUnset) this.mistake(finding.offset, finding.message);
    }
    const [problem] = findings;
    const rest = problem === undefined ? {} : { problem };
    return { kind: "scalar", offset, value: text, fromEnvironment: true, variables: used, ...rest };
  }

  /** A plain value as if it stood in the file at `offset`. */
  fromPlain(plain: Plain, offset: number): Value {
    if (isPlainList(plain)) return { kind: "list", offset, items: plain.map((item) => this.fromPlain(item, offset)) };
    if (plain === null || typeof plain !== "object") return this.scalar(plain, offset);
    const entries = Object.entries(plain).map(([key, value]) => {
      return { key, keyOffset: offset, value: this.fromPlain(value, offset) };
    });
    return { kind: "map", offset, entries };
  }

  #finding(problem: Problem, offset: number): Finding {
    if (problem.kind === "syntax") return { offset, message: problem.message };
    const found = this.text.indexOf(`\${${problem.name}`, offset);
    return { offset: found < 0 ? offset : found, message: `environment variable ${problem.name} is not set` };
  }

  #inOrder(findings: readonly Finding[]): Mistake[] {
    const ordered = [...findings].sort((a, b) => (a.offset ?? -1) - (b.offset ?? -1));
    const seen = new Set<string>();
    return ordered.flatMap(({ offset, message }) => {
      const key = `${offset} ${message}`;
      if (seen.has(key)) return [];
      seen.add(key);
      return [{ ...this.position(offset), message }];
    });
  }
}

function isPlainList(plain: Plain): plain is readonly Plain[] {
  return Array.isArray(plain);
}
