// The arguments of one call, read by place and type. Whatever does not fit is a ProtocolError that names the place and the
// type that it has; values are not quoted.

import { decodeValue, isMap, type MessageError } from "./message.ts";

/** No such method or object, or arguments that it does not take: nothing was called. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}

export class Arguments {
  readonly count: number;

  constructor(private readonly method: string, private readonly inputs: readonly Uint8Array[]) {
    this.count = inputs.length;
  }

  expect(what: string, ...counts: readonly number[]): void {
    if (!counts.includes(this.count)) throw new ProtocolError(`${this.method} takes ${what}, not ${this.count}`);
  }

  text(index: number, name: string): string {
    return asText(this.#value(index, name), this.#place(index, name));
  }

  texts(index: number, name: string): readonly string[] {
    return asTexts(this.#value(index, name), this.#place(index, name));
  }

  flag(index: number, name: string): boolean {
    return asFlag(this.#value(index, name), this.#place(index, name));
  }

  map(index: number, name: string): Fields {
    const value = this.#value(index, name);
    if (!isMap(value)) throw wrongType(this.#place(index, name), "a map", value);
    return new Fields(`${this.method}: `, value);
  }

  #value(index: number, name: string): unknown {
    try {
      return decodeValue(this.inputs[index] as Uint8Array);
    } catch (error) {
      throw new ProtocolError(`${this.#place(index, name)} is ${(error as MessageError).message}`);
    }
  }

  #place(index: number, name: string): string {
    return `${this.method}: argument ${index + 1} (${name})`;
  }
}

/** The fields of one map argument. What a Go caller leaves out is the type's zero value. */
export class Fields {
  constructor(private readonly place: string, private readonly map: Record<string, unknown>) {}

  value(key: string): unknown {
    return this.map[key];
  }

  text(key: string): string {
    return asText(this.map[key], this.place + key);
  }

  texts(key: string): readonly string[] {
    return asTexts(this.map[key] ?? null, this.place + key);
  }

  flag(key: string): boolean {
    return asFlag(this.map[key] ?? false, this.place + key);
  }
}

function asText(value: unknown, place: string): string {
  if (typeof value !== "string") throw wrongType(place, "a string", value);
  return value;
}

/** nil is what Go makes of an empty list. */
function asTexts(value: unknown, place: string): readonly string[] {
  if (value === null) return [];
  if (!Array.isArray(value) || !value.every((item) => typeof item === "string")) throw wrongType(place, "an array of strings", value);
  return value;
}

function asFlag(value: unknown, place: string): boolean {
  if (typeof value !== "boolean") throw wrongType(place, "a boolean", value);
  return value;
}

function wrongType(place: string, wanted: string, value: unknown): ProtocolError {
  return new ProtocolError(`${place} must be ${wanted}, not ${kindOf(value)}`);
}

/** For messages. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return "nil";
  if (Array.isArray(value)) return "an array";
  if (value instanceof Uint8Array) return "a binary";
  if (typeof value === "bigint") return "a number";
  return typeof value === "object" ? "a map" : `a ${typeof value}`;
}
