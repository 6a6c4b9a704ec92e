// zbus messages as bytes: one msgpack map for a request, one for its reply (seed 003's channel). Pure.
//
// A request that names a list to reply to gets a reply whatever else is wrong with it (FaultyRequest); one that does not can
// only be skipped (UnreadableRequest). Keys that we don't know are ignored. Bytes are looked over before they are decoded.

import { decode, encode } from "@msgpack/msgpack";
import { msgpackFault } from "./bounds.ts";

/** A request has a few hundred bytes; backends in the hundreds have a few thousand. */
export const MESSAGE_LIMIT_BYTES = 256 * 1024;
/** Of an id, a list's name, a method's name: in UTF-16 units. */
const NAME_LIMIT = 512;
/** Of an error's text in a reply, in UTF-16 units. */
const ERROR_LIMIT = 8192;

/** As it came, so that it goes back as it came. */
export type MessageId = string | number | bigint;

export type ObjectId = { readonly name: string; readonly version: string };

export type Request = {
  readonly id: MessageId;
  /** The list that waits for the reply; never empty. */
  readonly replyTo: string;
  readonly object: ObjectId;
  readonly method: string;
  /** The arguments, each one msgpack value (see {@link decodeValue}). */
  readonly inputs: readonly Uint8Array[];
};

export type Reply = {
  readonly id: MessageId;
  /** The encoded result; null for none. */
  readonly data: Uint8Array | null;
  /** The method ran and failed. */
  readonly failure: string | null;
  /** There was no method to run, or nothing to run it with. */
  readonly protocolError: string | null;
};

/** What is wrong with one msgpack value. */
export class MessageError extends Error {
  override readonly name: string = "MessageError";
}

/** Nobody can be told: no readable list to reply to. */
export class UnreadableRequest extends MessageError {
  override readonly name = "UnreadableRequest";
}

/** Wrong, and its sender can be told so. */
export class FaultyRequest extends MessageError {
  override readonly name = "FaultyRequest";

  constructor(message: string, readonly id: MessageId, readonly replyTo: string) {
    super(message);
  }
}

/** @throws UnreadableRequest, FaultyRequest */
export function decodeRequest(bytes: Uint8Array): Request {
  const fields = requestFields(bytes);
  const replyTo = fields.ReplyTo;
  if (!isName(replyTo)) throw new UnreadableRequest("no list to reply to (ReplyTo)");
  const id = isId(fields.ID) ? fields.ID : null;
  const fault = (what: string): FaultyRequest => new FaultyRequest(what, id ?? "", replyTo);
  if (id === null) throw fault("malformed request: ID must be a string or an integer");
  const { Object: object, Method: method, Inputs: inputs } = fields;
  if (!isMap(object) || !isName(object.Name) || !isName(object.Version)) throw fault("malformed request: Object must be {Name, Version}, two strings");
  if (!isName(method)) throw fault("malformed request: Method must be a string");
  // An empty list may come as nil.
  if (inputs !== null && !(Array.isArray(inputs) && inputs.every((input) => input instanceof Uint8Array))) {
    throw fault("malformed request: Inputs must be an array of binaries");
  }
  return { id, replyTo, object: { name: object.Name, version: object.Version }, method, inputs: (inputs ?? []) as readonly Uint8Array[] };
}

/** One msgpack value (a message, an argument) as plain data; 64-bit integers as bigint. @throws MessageError */
export function decodeValue(bytes: Uint8Array): unknown {
  const fault = msgpackFault(bytes);
  if (fault !== null) throw new MessageError(`not msgpack: ${fault}`);
  try {
    return decode(bytes, { useBigInt64: true });
  } catch (error) {
    // What is left: keys that an object cannot have, timestamps out of range.
    throw new MessageError(`not msgpack that we can read: ${(error as Error).message}`);
  }
}

export function encodeReply({ id, data, failure, protocolError }: Reply): Uint8Array {
  const error = failure === null ? null : { Message: failure.slice(0, ERROR_LIMIT) };
  // Ids alone are ever a bigint: counters stay integers (encodeOutput), which they would not be with this option.
  return encode({ ID: id, Output: { Data: data, Error: error }, Error: protocolError?.slice(0, ERROR_LIMIT) ?? null }, { useBigInt64: true });
}

/** What a method returns, as Output.Data: nothing is nil, one value is itself, several are an array. */
export function encodeOutput(values: readonly unknown[]): Uint8Array | null {
  if (values.length === 0) return null;
  return encode(values.length === 1 ? values[0] : values);
}

function requestFields(bytes: Uint8Array): Record<string, unknown> {
  if (bytes.length > MESSAGE_LIMIT_BYTES) throw new UnreadableRequest(`longer than ${MESSAGE_LIMIT_BYTES} bytes`);
  let value: unknown;
  try {
    value = decodeValue(bytes);
  } catch (error) {
    throw new UnreadableRequest((error as MessageError).message);
  }
  if (!isMap(value)) throw new UnreadableRequest("not a map");
  return value;
}

/** A map, in its decoded form; nothing of it is inherited. */
export function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && Object.getPrototypeOf(value) === Object.prototype;
}

function isName(value: unknown): value is string {
  return typeof value === "string" && value !== "" && value.length <= NAME_LIMIT;
}

function isId(value: unknown): value is MessageId {
  return typeof value === "bigint" || Number.isSafeInteger(value) || (typeof value === "string" && value.length <= NAME_LIMIT);
}
