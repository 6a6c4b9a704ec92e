// The parts that the file format is declared with (schema.ts). A shape is one source for two things: it reads a YAML
// value into a typed one, reporting what is wrong with its place, and it says itself as JSON Schema for editors.
// Reading goes on after a mistake, so that all of them are found at once: what is wrong is replaced by its default or
// left out.

import { excerpt } from "../lib/excerpt.ts";
import { suggestion } from "../lib/suggest.ts";
import { parseBooleanWord } from "./boolean-word.ts";
import type { ListValue, MapValue, Plain, ScalarValue, Source, Value } from "./source.ts";

export type JsonSchema = { readonly [key: string]: unknown };

export type Shape<T> = {
  /** For messages: `expected <this>`. */
  readonly expects: string;
  readonly schema: JsonSchema;
  /** undefined: unusable, and the mistake has been reported. */
  read(value: Value, pass: Pass): T | undefined;
};

export type Field<T> = {
  readonly shape: Shape<T>;
  readonly doc: string;
  readonly presence:
    | { readonly kind: "required" }
    | { readonly kind: "optional" }
    | { readonly kind: "default"; readonly plain: Plain };
};

/** What an object with these fields is read into. */
export type Fields = Readonly<Record<string, Field<unknown>>>;
export type Read<F extends Fields> = { readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };
export type ReadBy<S> = S extends Shape<infer T> ? T : never;

/** Thrown by the parse function of a {@link word}: the text is not one. The message is the mistake. */
export class Refusal extends Error {}

/** One reading: mistakes go to the source, places of what was read are kept for the checks that come after. */
export class Pass {
  readonly #places = new WeakMap<object, Map<string | number, number>>();

  constructor(readonly source: Source) {}

  mistake(offset: number | null, message: string): void {
    this.source.mistake(offset, message);
  }

  /** Remembers where `owner[key]` stands. */
  place(owner: object, key: string | number, offset: number): void {
    const places = this.#places.get(owner) ?? new Map<string | number, number>();
    this.#places.set(owner, places.set(key, offset));
  }

  /** Where the value `owner[key]` stands; null when the file does not have it. */
  placeOf(owner: object, key: string | number): number | null {
    return this.#places.get(owner)?.get(key) ?? null;
  }

  /** The keys (or indexes) that the file has below `owner`, unusable ones included. */
  keysOf(owner: object): Iterable<string | number> {
    return this.#places.get(owner)?.keys() ?? [];
  }
}

export function required<T>(shape: Shape<T>, doc: string): Field<T> {
  return { shape, doc, presence: { kind: "required" } };
}

export function optional<T>(shape: Shape<T>, doc: string): Field<T | undefined> {
  return { shape, doc, presence: { kind: "optional" } };
}

/** `plain` as it would be written in the file, variables included. */
export function withDefault<T>(shape: Shape<T>, plain: Plain, doc: string): Field<T> {
  return { shape, doc, presence: { kind: "default", plain } };
}

/** A string taken as it is. */
export function text(options: { readonly expects?: string; readonly minLength?: number } = {}): Shape<string> {
  const minLength = options.minLength ?? 0;
  const expects = options.expects ?? "a string";
  return {
    expects,
    schema: minLength > 0 ? { type: "string", minLength } : { type: "string" },
    read: (value, pass) => {
      if (value.kind !== "scalar" || typeof value.value !== "string") return unexpected(pass, value, expects);
      if (value.value.length < minLength) return unexpected(pass, value, expects);
      return value.value;
    },
  };
}

/** The name of a file or directory that is used later. Empty, where that is allowed: there is none. */
export function path(options: { readonly expects: string; readonly minLength?: number }): Shape<string> {
  const name = text(options);
  return {
    ...name,
    read: (value, pass) => {
      const path = name.read(value, pass);
      // With a variable in it that is not set, it names nothing yet.
      if (path !== undefined && path !== "" && (value.kind !== "scalar" || value.problem === undefined)) pass.source.named(value.offset, path);
      return path;
    },
  };
}

/**
 * A string with a meaning: `parse` makes the value of it, or throws a {@link Refusal}.
 * @param asWritten what stands for it where a file is only shown, and a variable in it is not set; without it that is a mistake
 */
export function word<T>(expects: string, schema: JsonSchema, parse: (text: string) => T, asWritten?: (text: string) => T): Shape<T> {
  return {
    expects,
    schema: orVariable(schema),
    read: (value, pass) => {
      if (value.kind !== "scalar" || typeof value.value === "boolean" || value.value === null) {
        return unexpected(pass, value, expects);
      }
      try {
        return parse(String(value.value));
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        if (asWritten !== undefined && value.problem !== undefined && pass.source.isOnlyShown) return asWritten(String(value.value));
        return refuse(pass, value, error.message);
      }
    },
  };
}

/** @param about for messages: what the words are about, where that is easily mistaken */
export function oneOf<const W extends string>(words: readonly W[], about?: string): Shape<W> {
  const expects = `${words.length === 1 ? `"${words[0]}"` : `one of ${words.join(", ")}`}${about === undefined ? "" : ` (${about})`}`;
  return word(expects, { enum: words }, (text) => {
    const found = words.find((candidate) => candidate === text);
    if (found === undefined) throw new Refusal(`expected ${expects}, found "${excerpt(text)}"${suggestion(text, words)}`);
    return found;
  });
}

/** In the file `true` or `false`; a variable may say it in other words. */
export function boolean(): Shape<boolean> {
  const expects = "true or false";
  return {
    expects,
    schema: orVariable({ type: "boolean" }),
    read: (value, pass) => {
      if (value.kind === "scalar" && typeof value.value === "boolean") return value.value;
      const read = isVariable(value) ? parseBooleanWord(String(value.value)) : undefined;
      return read ?? unexpected(pass, value, expects);
    },
  };
}

/** @param why there is such a maximum, where that is not plain */
export function integer(minimum: number, maximum: number, what = "a whole number", why = ""): Shape<number> {
  const expects = `${what} from ${minimum} to ${maximum}${why === "" ? "" : ` (${why})`}`;
  return {
    expects,
    schema: orVariable({ type: "integer", minimum, maximum }),
    read: (value, pass) => {
      const number = value.kind === "scalar" ? numberOf(value) : undefined;
      if (number === undefined || !Number.isInteger(number) || number < minimum || number > maximum) {
        return unexpected(pass, value, expects);
      }
      return number;
    },
  };
}

/** A list. A variable, as an entry or in the place of the list, may hold several entries with commas, or none. */
export function list<T>(item: Shape<T>, options: { readonly minItems?: number } = {}): Shape<readonly T[]> {
  const minItems = options.minItems ?? 0;
  const expects = `a list${minItems > 0 ? " that is not empty" : ""}, each entry ${item.expects}`;
  const schema = { type: "array", items: item.schema, ...(minItems > 0 ? { minItems } : {}) };
  return {
    expects,
    schema: orVariable(schema),
    read: (value, pass) => {
      const items = listItems(value);
      if (items === undefined || items.length < minItems) return unexpected(pass, value, expects);
      const read: T[] = [];
      for (const entry of items) {
        const one = item.read(entry, pass);
        if (one !== undefined) pass.place(read, read.push(one) - 1, entry.offset);
      }
      return read;
    },
  };
}

/** A single value in the place of a list of one. */
export function oneOrMore<T>(item: Shape<T>): Shape<readonly T[]> {
  const many = list(item, { minItems: 1 });
  return {
    expects: `${item.expects}, or a list of such`,
    schema: { anyOf: [item.schema, many.schema] },
    read: (value, pass) => {
      const values: Value = value.kind === "list" ? value : { kind: "list", offset: value.offset, items: [value] };
      return many.read(values, pass);
    },
  };
}

/** A word, or a list. */
export function wordOrList<W, T>(single: Shape<W>, many: Shape<T>): Shape<W | T> {
  return {
    expects: `${single.expects}, or ${many.expects}`,
    schema: { anyOf: [single.schema, many.schema] },
    read: (value, pass): W | T | undefined => {
      if (!isVariable(value)) return value.kind === "list" ? many.read(value, pass) : single.read(value, pass);
      // A variable holds either: the word, or the list with commas.
      return pass.source.quietly(() => single.read(value, pass)) ?? many.read(value, pass);
    },
  };
}

/** A word, or a map of keys: the map when it is one. */
export function wordOrObject<W, O>(single: Shape<W>, many: Shape<O>): Shape<W | O> {
  return {
    expects: `${single.expects}, or ${many.expects}`,
    schema: { anyOf: [single.schema, many.schema] },
    read: (value, pass): W | O | undefined => (value.kind === "map" ? many.read(value, pass) : single.read(value, pass)),
  };
}

/** Keys that the user chooses, each with a value of one shape. */
export function map<T>(
  key: { readonly pattern: RegExp; readonly expects: string },
  value: Shape<T>,
): Shape<Readonly<Record<string, T>>> {
  return {
    expects: `keys (${key.expects}), each with ${value.expects}`,
    schema: { type: "object", propertyNames: { pattern: key.pattern.source }, additionalProperties: value.schema },
    read: (from, pass) => {
      if (from.kind !== "map") return unexpected(pass, from, "a map of keys and values");
      // No prototype: a service called "constructor" is only there when the file has it.
      const read: Record<string, T> = Object.create(null) as Record<string, T>;
      for (const entry of from.entries) {
        if (!key.pattern.test(entry.key)) pass.mistake(entry.keyOffset, `not ${key.expects}: "${entry.key}"`);
        pass.place(read, entry.key, entry.keyOffset);
        const one = value.read(entry.value, pass);
        if (one !== undefined) read[entry.key] = one;
      }
      return read;
    },
  };
}

/**
 * Known keys, each with its own shape; every other key is a mistake.
 * @param absent what to say of keys that other programs have, and this one has something else for
 */
export function object<F extends Fields>(fields: F, absent: Readonly<Record<string, string>> = {}): Shape<Read<F>> {
  return {
    expects: "a map of keys and values",
    schema: objectSchema(fields),
    read: (value, pass) => {
      if (value.kind !== "map") return unexpected(pass, value, "a map of keys and values");
      refuseUnknownKeys(value, Object.keys(fields), pass, absent);
      return readFields(fields, value, pass);
    },
  };
}

/** One of several objects, told apart by a key that only it has: `{url: ...}` or `{directory: ...}`. */
export function variant<V extends Readonly<Record<string, Fields>>>(
  variants: V,
): Shape<{ [K in keyof V]: { readonly kind: K; readonly fields: Read<V[K]> } }[keyof V]> {
  type Result = { [K in keyof V]: { readonly kind: K; readonly fields: Read<V[K]> } }[keyof V];
  const kinds = Object.keys(variants);
  const expects = `a map with one of the keys ${kinds.join(", ")}`;
  return {
    expects,
    schema: { oneOf: kinds.map((kind) => objectSchema(variants[kind] ?? {})) },
    read: (value, pass) => {
      if (value.kind !== "map") return unexpected(pass, value, expects);
      const kind = value.entries.find((entry) => kinds.includes(entry.key))?.key;
      const fields = kind === undefined ? undefined : variants[kind];
      if (kind === undefined || fields === undefined) {
        refuseUnknownKeys(value, kinds, pass);
        if (value.entries.length === 0) pass.mistake(value.offset, `expected ${expects}`);
        return undefined;
      }
      refuseUnknownKeys(value, Object.keys(fields), pass);
      const read = readFields(fields, value, pass);
      return read === undefined ? undefined : ({ kind, fields: read } as Result);
    },
  };
}

/** What a `$ref` of the schema names: a value that a variable stands for. */
export const SCHEMA_DEFINITIONS: JsonSchema = {
  variable: {
    type: "string",
    pattern: "\\$\\{[A-Za-z_]",
    description: "a value from the environment: ${NAME} or ${NAME:-default}",
  },
};

function orVariable(schema: JsonSchema): JsonSchema {
  return { anyOf: [schema, { $ref: "#/$defs/variable" }] };
}

function objectSchema(fields: Fields): JsonSchema {
  const entries = Object.entries(fields);
  const properties = entries.map(([key, field]) => {
    const fallback = field.presence.kind === "default" ? { default: field.presence.plain } : {};
    return [key, { description: field.doc, ...field.shape.schema, ...fallback }];
  });
  const requiredKeys = entries.filter(([, field]) => field.presence.kind === "required").map(([key]) => key);
  return {
    type: "object",
    properties: Object.fromEntries(properties) as JsonSchema,
    ...(requiredKeys.length > 0 ? { required: requiredKeys } : {}),
    additionalProperties: false,
  };
}

function readFields<F extends Fields>(fields: F, value: MapValue, pass: Pass): Read<F> | undefined {
  const read: Record<string, unknown> = {};
  let complete = true;
  for (const [key, field] of Object.entries(fields)) {
    const entry = value.entries.find((candidate) => candidate.key === key);
    if (entry !== undefined) pass.place(read, key, entry.value.offset);
    read[key] = readField(field, key, entry?.value, value, pass);
    if (read[key] === undefined && field.presence.kind === "required") complete = false;
  }
  return complete ? (read as Read<F>) : undefined;
}

function readField(field: Field<unknown>, key: string, value: Value | undefined, owner: MapValue, pass: Pass): unknown {
  const read = value === undefined ? undefined : field.shape.read(value, pass);
  if (read !== undefined) return read;
  const { presence } = field;
  if (presence.kind === "default") {
    const fallback = (): unknown => pass.source.unnamed(() => field.shape.read(pass.source.fromPlain(presence.plain, owner.offset), pass));
    // A default may hold the same variable as the value that it stands in for: one mistake, not two.
    return value === undefined ? fallback() : pass.source.quietly(fallback);
  }
  if (presence.kind === "required" && value === undefined) {
    pass.mistake(owner.offset, `missing key "${key}": ${field.shape.expects}`);
  }
  return undefined;
}

function refuseUnknownKeys(value: MapValue, known: readonly string[], pass: Pass, absent: Readonly<Record<string, string>> = {}): void {
  for (const { key, keyOffset } of value.entries) {
    if (known.includes(key)) continue;
    const hint = Object.hasOwn(absent, key) ? ` (${absent[key]})` : suggestion(key, known) || ` (known are ${known.join(", ")})`;
    pass.mistake(keyOffset, `unknown key "${key}"${hint}`);
  }
}

function listItems(value: Value): readonly Value[] | undefined {
  if (value.kind === "list") return value.items.flatMap((item): readonly Value[] => (isVariable(item) ? commaItems(item) : [item]));
  return isVariable(value) ? commaItems(value) : undefined;
}

function isVariable(value: Value): value is ScalarValue {
  return value.kind === "scalar" && value.fromEnvironment;
}

function commaItems(value: ScalarValue): ScalarValue[] {
  const parts = String(value.value).split(",").map((part) => part.trim()).filter((part) => part !== "");
  return parts.map((part) => ({ ...value, value: part }));
}

function numberOf(value: ScalarValue): number | undefined {
  if (typeof value.value === "number") return value.value;
  if (value.fromEnvironment && typeof value.value === "string" && /^-?\d{1,16}$/.test(value.value)) {
    return Number(value.value);
  }
  return undefined;
}

function unexpected(pass: Pass, value: Value, expects: string): undefined {
  return refuse(pass, value, `expected ${expects}, found ${found(value)}`);
}

/** A value with a bad variable in it is not blamed for what it would be; one that a variable made names the variable. */
function refuse(pass: Pass, value: Value, message: string): undefined {
  const problem = value.kind === "scalar" ? value.problem : undefined;
  pass.mistake(problem?.offset ?? value.offset, problem?.message ?? blamed(value, message));
  return undefined;
}

function blamed(value: Value, message: string): string {
  const scalars = value.kind === "list" ? value.items.filter(isVariable) : isVariable(value) ? [value] : [];
  const names = [...new Set(scalars.flatMap((scalar) => scalar.variables ?? []))];
  if (names.length === 0) return message;
  const subject = `environment variable${names.length > 1 ? "s" : ""} ${names.join(", ")}`;
  if (scalars.some((scalar) => scalar.value !== "")) return `${subject}: ${message}`;
  return `${subject} ${names.length > 1 ? "are" : "is"} set but empty`;
}

function found(value: ScalarValue | ListValue | MapValue): string {
  if (value.kind === "list") return value.items.length === 0 ? "an empty list" : "a list";
  if (value.kind === "map") return "a map";
  if (value.value === null) return "nothing";
  if (typeof value.value === "string") return `"${excerpt(value.value)}"`;
  return `${typeof value.value === "number" ? "the number" : "the boolean"} ${value.value}`;
}
