// The body of a PUT: which name or domain, and the backends behind it. Everything that is wrong with its shape is found at
// once, and then also what can be said about the values without asking anybody; the rest is the registry's.

import { suggestion } from "../lib/suggest.ts";
import { quoted } from "../registry/errors.ts";
import { domainFault, nameFault, parseBackend, workloadIdFault } from "../registry/validate.ts";

export type Registration = {
  /** A label below the gateway's own domain, or a whole domain. */
  readonly kind: "name" | "fqdn";
  readonly value: string;
  readonly backends: readonly string[];
  readonly tlsPassthrough: boolean;
};

const KEYS = ["name", "fqdn", "backends", "tlsPassthrough"];

/** @param id the workload's, from the path: it may be wrong as well */
export function readRegistration(id: string, text: string): Registration | { readonly faults: readonly string[] } {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (error) {
    return { faults: [`the body is not JSON: ${(error as Error).message}`] };
  }
  if (kindOf(body) !== "an object") return { faults: [`the body must be a JSON object, and it is ${kindOf(body)}`] };
  const fields = new Map(Object.entries(body as object) as Array<[string, unknown]>);
  const shape = [...unknownKeys(fields), ...nameFaults(fields), ...backendFaults(fields), ...passthroughFaults(fields)];
  if (shape.length > 0) return { faults: [...shape, ...valueFaults(id, fields)] };
  const kind = fields.has("name") ? "name" : "fqdn";
  return { kind, value: fields.get(kind) as string, backends: fields.get("backends") as string[], tlsPassthrough: fields.get("tlsPassthrough") === true };
}

type Fields = ReadonlyMap<string, unknown>;

function unknownKeys(fields: Fields): string[] {
  return [...fields.keys()].filter((key) => !KEYS.includes(key))
    .map((key) => `unknown key ${quoted(key)}${suggestion(key, KEYS) || ` (known are ${KEYS.join(", ")})`}`);
}

function nameFaults(fields: Fields): string[] {
  const given = ["name", "fqdn"].filter((key) => fields.has(key));
  if (given.length === 0) return ['either "name" (below the gateway\'s own domain) or "fqdn" (a whole domain) is needed'];
  const wrong = given.flatMap((key) => kindFault(`"${key}"`, fields.get(key), "a string"));
  return given.length === 1 ? wrong : ['only one of "name" and "fqdn" can be given', ...wrong];
}

function backendFaults(fields: Fields): string[] {
  const backends = fields.get("backends");
  if (!fields.has("backends")) return ['"backends" is missing: a list with at least one'];
  if (!Array.isArray(backends)) return kindFault('"backends"', backends, "a list");
  return backends.flatMap((backend, index) => kindFault(`"backends[${index}]"`, backend, "a string"));
}

function passthroughFaults(fields: Fields): string[] {
  return fields.has("tlsPassthrough") ? kindFault('"tlsPassthrough"', fields.get("tlsPassthrough"), "a boolean") : [];
}

function valueFaults(id: string, fields: Fields): string[] {
  const strings = (value: unknown): string[] => [value].flat().filter((entry) => typeof entry === "string");
  return [
    workloadIdFault(id), ...strings(fields.get("name")).map(nameFault), ...strings(fields.get("fqdn")).map(domainFault),
    ...strings(fields.get("backends")).flatMap((backend) => parseBackend(backend, fields.get("tlsPassthrough") === true).faults),
  ].filter((fault) => fault !== null);
}

function kindFault(what: string, value: unknown, expected: string): string[] {
  return kindOf(value) === expected ? [] : [`${what} must be ${expected}, and it is ${kindOf(value)}`];
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}
