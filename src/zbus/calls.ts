// What can be called over zbus: method names and decoded arguments, made into one of the gateway's four calls or the status
// call. Knows nothing of Redis. A ProtocolError says that nothing was called; what a call itself throws is its own failure.

import type { GatewayHandlers } from "../gateway.ts";
import { Arguments, kindOf, ProtocolError } from "./arguments.ts";
import { encodeOutput, type ObjectId, type Request } from "./message.ts";

export type WorkerStatus = {
  readonly State: "free" | "busy";
  /** Since when it is free or busy. */
  readonly StartTime: Date;
  /** What it does; "" for nothing. */
  readonly Action: string;
};

/** One gateway under two names: the first is the seed's, newer callers use the second. */
const GATEWAY_OBJECTS: readonly ObjectId[] = [{ name: "gateway", version: "0.0.1" }, { name: "manager", version: "0.0.1" }];
const STATUS_OBJECT: ObjectId = { name: "zbus", version: "1.0" };

/** The lists that requests come in on. */
export const CALL_LISTS: readonly string[] = GATEWAY_OBJECTS.map(listOf);
export const STATUS_LISTS: readonly string[] = [listOf(STATUS_OBJECT)];

export type Call = {
  /** @returns Output.Data @throws the method's own failure */
  run(): Promise<Uint8Array | null>;
  /**
   * Output.Data of a call that failed: the zero value of its result. Generated Go callers decode Data before they look at
   * the error, and panic when there is nothing to decode.
   */
  readonly failed: Uint8Array | null;
};

/** @throws ProtocolError */
export function findCall(request: Request, handlers: GatewayHandlers, workers: () => readonly WorkerStatus[]): Call {
  const { object, method } = request;
  if (isSame(object, STATUS_OBJECT)) {
    if (method !== "Status") throw new ProtocolError(`unknown method ${quoted(method)} of zbus@1.0 (there is Status)`);
    return makeStatus(new Arguments(method, request.inputs), workers);
  }
  if (!GATEWAY_OBJECTS.some((known) => isSame(object, known))) throw new ProtocolError(`unknown object ${quoted(textOf(object))} (there are gateway@0.0.1, manager@0.0.1)`);
  const make = METHODS.get(method);
  if (make === undefined) throw new ProtocolError(`unknown method ${quoted(method)} (there are ${[...METHODS.keys()].join(", ")})`);
  return make(new Arguments(method, request.inputs), handlers);
}

/** What a request wants, for the log and the status: bounded, and without its arguments. */
export function actionOf({ object, method }: Request): string {
  return `${textOf(object)}.${method}`.slice(0, 200);
}

const METHODS: ReadonlyMap<string, (given: Arguments, handlers: GatewayHandlers) => Call> = new Map([
  ["SetNamedProxy", (given, handlers) => {
    const { id, name, backends, tlsPassthrough, network } = readProxy(given, "prefix", "Name");
    return makeCall(async () => {
      refuseNetwork(network);
      return [await handlers.setNamedProxy(id, name, backends, tlsPassthrough)];
    }, [""]);
  }],
  ["SetFQDNProxy", (given, handlers) => {
    const { id, name, backends, tlsPassthrough, network } = readProxy(given, "fqdn", "FQDN");
    return makeCall(async () => {
      refuseNetwork(network);
      await handlers.setFQDNProxy(id, name, backends, tlsPassthrough);
      return [];
    }, []);
  }],
  ["DeleteNamedProxy", (given, handlers) => {
    given.expect("1 argument (wlID)", 1);
    const id = given.text(0, "wlID");
    return makeCall(async () => {
      await handlers.deleteNamedProxy(id);
      return [];
    }, []);
  }],
  ["Metrics", (given, handlers) => {
    given.expect("no arguments", 0);
    return makeCall(async () => {
      const { Request, Response } = await handlers.metrics();
      return [{ Request, Response }];
    }, [{ Request: {}, Response: {} }]);
  }],
] satisfies ReadonlyArray<[string, (given: Arguments, handlers: GatewayHandlers) => Call]>);

function makeStatus(given: Arguments, workers: () => readonly WorkerStatus[]): Call {
  given.expect("no arguments", 0);
  const Objects = GATEWAY_OBJECTS.map(({ name, version }) => ({ Name: name, Version: version }));
  return makeCall(async () => [{ Objects, Workers: workers() }], []);
}

function makeCall(values: () => Promise<readonly unknown[]>, zero: readonly unknown[]): Call {
  return { run: async () => encodeOutput(await values()), failed: encodeOutput(zero) };
}

type Proxy = { readonly id: string; readonly name: string; readonly backends: readonly string[]; readonly tlsPassthrough: boolean; readonly network: unknown };

/** Both shapes: (wlID, name, backends, tlsPassthrough), and the newer (wlID, {Name, Backends, TLSPassthrough, Network}). */
function readProxy(given: Arguments, name: string, key: "Name" | "FQDN"): Proxy {
  given.expect(`4 arguments (wlID, ${name}, backends, tlsPassthrough) or 2 (wlID, {${key}, Backends, TLSPassthrough})`, 4, 2);
  const id = given.text(0, "wlID");
  if (given.count === 4) {
    return { id, name: given.text(1, name), backends: given.texts(2, "backends"), tlsPassthrough: given.flag(3, "tlsPassthrough"), network: null };
  }
  const map = given.map(1, "configuration");
  return {
    id, name: map.text(key), backends: map.texts("Backends"), tlsPassthrough: map.flag("TLSPassthrough"), network: map.value("Network"),
  };
}

/** Backends in a private network are reached from within it only, and this gateway is in none. */
function refuseNetwork(network: unknown): void {
  if (network === null || network === undefined) return;
  throw new Error(`backends in a private network are not supported: Network must be nil, not ${shown(network)}`);
}

function shown(value: unknown): string {
  return typeof value === "string" ? quoted(value) : kindOf(value);
}

/** Quoted, its control characters escaped, its length bounded. */
function quoted(value: string): string {
  return JSON.stringify(value.length > 100 ? `${value.slice(0, 100)}…` : value);
}

function listOf(object: ObjectId): string {
  return `gateway.${textOf(object)}`;
}

function textOf({ name, version }: ObjectId): string {
  return `${name}@${version}`;
}

function isSame(a: ObjectId, b: ObjectId): boolean {
  return a.name === b.name && a.version === b.version;
}
