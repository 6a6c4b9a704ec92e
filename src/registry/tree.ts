// YAML text → a tree that knows where everything stands. Syntax errors, duplicate keys, aliases and tags are found here;
// what the values mean is reader.ts' affair.

import { isAlias, isMap, isScalar, isSeq, type Node, type Pair, parseDocument } from "yaml";
import { yamlFault } from "../lib/excerpt.ts";

export type Tree =
  /** `text`: as it is written for what is no string (`0x1F`), else the string. */
  | { readonly kind: "scalar"; readonly offset: number; readonly value: string | number | boolean | null; readonly text: string }
  | { readonly kind: "list"; readonly offset: number; readonly items: readonly Tree[] }
  | { readonly kind: "map"; readonly offset: number; readonly entries: readonly Entry[] };

export type Entry = { readonly key: string; readonly keyOffset: number; readonly value: Tree };

/** Reports a mistake at an index into the text. */
export type Fault = (offset: number, message: string) => void;

/** null when the text is not YAML; every mistake has been reported. */
export function parseTree(text: string, fault: Fault): Tree | null {
  // uniqueKeys is off because we report duplicates ourselves, with the key's name. YAML 1.2, as Traefik's parser nearly is.
  const document = parseDocument(text, { prettyErrors: false, uniqueKeys: false });
  for (const warning of document.warnings) fault(warning.pos[0], yamlFault(warning.message));
  // What follows the first syntax error is mostly an echo of it.
  const [error] = document.errors;
  if (error === undefined) return toTree(document.contents, 0, fault);
  fault(error.pos[0], yamlFault(error.message));
  return null;
}

/** What another parser made of a text, as a tree without places. */
export function treeOf(plain: unknown): Tree {
  if (Array.isArray(plain)) return { kind: "list", offset: 0, items: plain.map(treeOf) };
  if (plain !== null && typeof plain === "object") {
    return { kind: "map", offset: 0, entries: Object.entries(plain).map(([key, value]) => ({ key, keyOffset: 0, value: treeOf(value) })) };
  }
  return scalar(plain, 0, String(plain));
}

function toTree(node: unknown, parentOffset: number, fault: Fault): Tree {
  const offset = (node as Node | null)?.range?.[0] ?? parentOffset;
  if (isMap(node)) return { kind: "map", offset, entries: entriesOf(node.items, offset, fault) };
  if (isSeq(node)) return { kind: "list", offset, items: node.items.map((item) => toTree(item, offset, fault)) };
  // A few lines of nested ones stand for billions of values, and nobody needs them in so small a file.
  if (isAlias(node)) fault(offset, `aliases such as "*${node.source}" are not read`);
  return isScalar(node) ? scalar(node.value, offset, typeof node.value === "string" ? node.value : node.source ?? "") : scalar(null, offset, "");
}

function entriesOf(pairs: readonly Pair[], mapOffset: number, fault: Fault): Entry[] {
  const seen = new Set<string>();
  const entries: Entry[] = [];
  for (const { key: node, value } of pairs) {
    const key = toTree(node, mapOffset, fault);
    if (key.kind !== "scalar" || key.value === null) {
      fault(key.offset, "a key must be text");
      continue;
    }
    if (seen.has(key.text)) fault(key.offset, `duplicate key ${JSON.stringify(key.text)}`);
    seen.add(key.text);
    entries.push({ key: key.text, keyOffset: key.offset, value: toTree(value, key.offset, fault) });
  }
  return entries;
}

function scalar(value: unknown, offset: number, text: string): Tree {
  const isKnown = typeof value === "string" || typeof value === "number" || typeof value === "boolean";
  return { kind: "scalar", offset, value: isKnown ? value : null, text };
}
