// YAML text → a tree of values that know where they stand. Syntax errors, duplicate keys and endless aliases are
// found here; what the values mean is the shapes' affair.

import { type Document, isAlias, isMap, isScalar, isSeq, type Node, type Pair, parseDocument } from "yaml";
import { yamlFault } from "../lib/excerpt.ts";
import type { MapEntry, ScalarValue, Source, Value } from "./source.ts";

/** Values in one file. A real one has some hundreds; nested aliases could make billions out of a few lines. */
const MOST_VALUES = 20_000;

/** The whole file; undefined when its syntax is broken (the source's mistakes say where). */
export function readYaml(source: Source): Value | undefined {
  // uniqueKeys is off because we report duplicates ourselves, with the key's name and the line of the first one.
  const document = parseDocument(source.text, { prettyErrors: false, uniqueKeys: false });
  for (const warning of document.warnings) source.mistake(warning.pos[0], yamlFault(warning.message));
  // What follows the first syntax error is mostly an echo of it.
  const [error] = document.errors;
  if (error !== undefined) {
    source.mistake(error.pos[0], `${yamlFault(error.message)}${quotesHint(source.text, error.pos[0])}`);
    return undefined;
  }
  if (document.contents === null) return { kind: "map", offset: 0, entries: [] };
  return new Reader(source, document).value(document.contents, []);
}

class Reader {
  #values = 0;

  constructor(private readonly source: Source, private readonly document: Document.Parsed) {}

  /** `path`: the nodes that this one stands in. */
  value(node: unknown, path: readonly unknown[]): Value {
    const offset = offsetOf(node) ?? 0;
    this.#values += 1;
    if (this.#values === MOST_VALUES) this.source.mistake(offset, `too many values (more than ${MOST_VALUES})`);
    if (this.#values >= MOST_VALUES) return nothing(offset);
    if (isAlias(node)) return this.#alias(node.resolve(this.document), offset, path, node.source);
    if (isScalar(node)) return this.source.scalar(node.value as ScalarValue["value"], offset);
    const inner = [...path, node];
    if (isSeq(node)) return { kind: "list", offset, items: node.items.map((item) => this.value(item, inner)) };
    if (isMap(node)) return { kind: "map", offset, entries: this.#entries(node.items, inner) };
    return nothing(offset);
  }

  #alias(to: unknown, offset: number, path: readonly unknown[], name: string): Value {
    if (!path.includes(to)) return this.value(to, path);
    this.source.mistake(offset, `alias "*${name}" refers to itself`);
    return nothing(offset);
  }

  #entries(pairs: readonly Pair[], path: readonly unknown[]): MapEntry[] {
    const first = new Map<string, number>();
    const entries: MapEntry[] = [];
    for (const { key: keyNode, value } of pairs) {
      const keyOffset = offsetOf(keyNode) ?? 0;
      const key = isScalar(keyNode) ? keyNode.value : undefined;
      if (typeof key !== "string") {
        this.source.mistake(keyOffset, "a key must be a string (put it in quotes)");
        continue;
      }
      const earlier = first.get(key);
      if (earlier !== undefined) {
        this.source.mistake(keyOffset, `duplicate key "${key}" (first on line ${this.source.position(earlier).line})`);
        continue;
      }
      first.set(key, keyOffset);
      entries.push({ key, keyOffset, value: value === null ? nothing(keyOffset) : this.value(value, path) });
    }
    return entries;
  }
}

function offsetOf(node: unknown): number | undefined {
  return (node as Node | null)?.range?.[0];
}

function nothing(offset: number): ScalarValue {
  return { kind: "scalar", offset, value: null, fromEnvironment: false };
}

/** A path with braces inside of `{...}` is what goes wrong most. */
function quotesHint(text: string, offset: number): string {
  const line = text.slice(text.lastIndexOf("\n", offset - 1) + 1).split("\n")[0] ?? "";
  return /[{}[\]]/.test(line) ? " (put text with braces or brackets in quotes)" : "";
}
