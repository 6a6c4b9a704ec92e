// YAML text → a plain tree of values that know where they stand. Syntax errors, duplicate keys and bad variables are found
// here; what the values mean is the shapes' affair. Values that came out of `${...}` are marked: they have no type of
// their own, the shape that reads them decides ("true" for a boolean, "a,b" for a list).

import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Document, type Node, type Pair } from "yaml";
import { interpolate, type Environment } from "./interpolate.ts";
import type { Mistake } from "./mistake.ts";

export type ScalarValue = {
  readonly kind: "scalar";
  readonly offset: number;
  readonly value: string | number | boolean | null;
  readonly fromEnvironment: boolean;
};
export type ListValue = { readonly kind: "list"; readonly offset: number; readonly items: readonly Value[] };
export type MapValue = { readonly kind: "map"; readonly offset: number; readonly entries: readonly MapEntry[] };
export type MapEntry = { readonly key: string; readonly keyOffset: number; readonly value: Value };
export type Value = ScalarValue | ListValue | MapValue;

export type Plain = string | number | boolean | null | readonly Plain[] | { readonly [key: string]: Plain };

/** Values in one file. A real one has some hundreds; nested aliases could make billions out of a few lines. */
const MOST_VALUES = 20_000;

export type ReadOptions = {
  readonly env: Environment;
  /** A variable that is not set and has no default stays as it is written, instead of being a mistake. */
  readonly allowUnset?: boolean | undefined;
};

/** One reading of one file: its text, and the mistakes found so far by everyone who reads it. */
export class YamlSource {
  readonly #found: Array<{ readonly offset: number | null; readonly message: string }> = [];
  readonly #lines = new LineCounter();
  #values = 0;

  constructor(private readonly text: string, private readonly options: ReadOptions) {}

  /** Notes a mistake at an offset of the text; null: it stands outside the file. */
  mistake(offset: number | null, message: string): void {
    this.#found.push({ offset, message });
  }

  /** All mistakes so far in the order of the file, each place and message once. */
  get mistakes(): Mistake[] {
    const ordered = [...this.#found].sort((a, b) => (a.offset ?? -1) - (b.offset ?? -1));
    const mistakes = ordered.map(({ offset, message }) => ({ ...this.position(offset), message }));
    const seen = new Set<string>();
    return mistakes.filter(({ line, column, message }) => {
      const key = `${line}:${column}:${message}`;
      return !seen.has(key) && seen.add(key);
    });
  }

  position(offset: number | null): { line: number; column: number } {
    if (offset === null) return { line: 0, column: 0 };
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  }

  /** The whole file; undefined when its syntax is broken (the mistakes say where). */
  read(): Value | undefined {
    // uniqueKeys is off because we report duplicates ourselves, with the key's name and the line of the first one.
    const document = parseDocument(this.text, { lineCounter: this.#lines, prettyErrors: false, uniqueKeys: false });
    for (const { pos, message } of [...document.errors, ...document.warnings]) this.mistake(pos[0], yamlMessage(message));
    if (document.errors.length > 0) return undefined;
    if (document.contents === null) return { kind: "map", offset: 0, entries: [] };
    return this.#value(document, document.contents, []);
  }

  /** A default as if it stood in the file at `offset`. */
  fromPlain(plain: Plain, offset: number): Value {
    if (Array.isArray(plain)) return { kind: "list", offset, items: plain.map((item: Plain) => this.fromPlain(item, offset)) };
    if (plain !== null && typeof plain === "object") {
      const entries = Object.entries(plain).map(([key, value]) => ({ key, keyOffset: offset, value: this.fromPlain(value, offset) }));
      return { kind: "map", offset, entries };
    }
    return this.#scalar(plain as string | number | boolean | null, offset);
  }

  #value(document: Document.Parsed, node: unknown, path: readonly unknown[]): Value {
    const offset = (node as Node | null)?.range?.[0] ?? 0;
    this.#values += 1;
    if (this.#values === MOST_VALUES) this.mistake(offset, `too many values (more than ${MOST_VALUES})`);
    if (this.#values >= MOST_VALUES) return nothing(offset);
    if (isAlias(node)) return this.#alias(document, node.resolve(document), offset, path, node.source);
    if (isScalar(node)) return this.#scalar(node.value, offset);
    const inner = [...path, node];
    if (isSeq(node)) return { kind: "list", offset, items: node.items.map((item) => this.#value(document, item, inner)) };
    if (isMap(node)) return { kind: "map", offset, entries: this.#entries(document, node.items, inner) };
    return nothing(offset);
  }

  #alias(document: Document.Parsed, to: unknown, offset: number, path: readonly unknown[], name: string): Value {
    if (!path.includes(to)) return this.#value(document, to, path);
    this.mistake(offset, `alias "*${name}" refers to itself`);
    return nothing(offset);
  }

  #entries(document: Document.Parsed, pairs: readonly Pair[], path: readonly unknown[]): MapEntry[] {
    const first = new Map<string, number>();
    const entries: MapEntry[] = [];
    for (const { key: keyNode, value } of pairs) {
      const keyOffset = (keyNode as Node | null)?.range?.[0] ?? 0;
      const key = isScalar(keyNode) ? keyNode.value : undefined;
      if (typeof key !== "string") {
        this.mistake(keyOffset, "a key must be a string (put it in quotes)");
        continue;
      }
      const earlier = first.get(key);
      if (earlier !== undefined) {
        this.mistake(keyOffset, `duplicate key "${key}" (first on line ${this.position(earlier).line})`);
        continue;
      }
      first.set(key, keyOffset);
      entries.push({ key, keyOffset, value: value === null ? nothing(keyOffset) : this.#value(document, value, path) });
    }
    return entries;
  }

  #scalar(value: unknown, offset: number): ScalarValue {
    if (typeof value !== "string") {
      return { kind: "scalar", offset, value: value as number | boolean | null, fromEnvironment: false };
    }
    if (!value.includes("${")) return { kind: "scalar", offset, value, fromEnvironment: false };
    const { text, problems } = interpolate(value, this.options.env);
    for (const problem of problems) {
      if (problem.kind === "syntax") this.mistake(offset, problem.message);
      else if (!this.options.allowUnset) this.mistake(this.#variableAt(problem.name, offset), `environment variable ${problem.name} is not set`);
    }
    return { kind: "scalar", offset, value: text, fromEnvironment: true };
  }

  /** Where `${NAME` stands in the value that starts at `offset`. */
  #variableAt(name: string, offset: number): number {
    const found = this.text.indexOf(`\${${name}`, offset);
    return found < 0 ? offset : found;
  }
}

function nothing(offset: number): ScalarValue {
  return { kind: "scalar", offset, value: null, fromEnvironment: false };
}

/** The library's sentences in our style: lower case, no period. */
function yamlMessage(message: string): string {
  return `not valid YAML: ${message.charAt(0).toLowerCase()}${message.slice(1).replace(/\.$/, "")}`;
}
