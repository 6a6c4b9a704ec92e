// One request and its answer, as the upstream connection and its caller see them. Nouns only.

import type { ResponseHead } from "./response-head.ts";

export type UpstreamRequest = {
  readonly method: string;
  /** The whole request head, blank line included; only code points up to U+00FF. */
  readonly head: string;
  /** A body in hand, or one that is still arriving; null for none. */
  readonly body: Uint8Array | ReadableStream<Uint8Array> | null;
  /** How a streamed body is framed; its Content-Length stands in `head` otherwise. */
  readonly chunked: boolean;
  /** A streamed body is cut here: the exchange fails with {@link BodyTooLargeError}. Bytes. */
  readonly bodyLimitBytes: number;
  /** Until the response head, and between two reads of its body, ms. */
  readonly readTimeoutMs: number;
  /** A short answer of known length may be collected, to be sent whole. */
  readonly mayCollect: boolean;
  readonly watcher: ExchangeWatcher;
};

export type BodyEnd = {
  /** What was received, bytes. */
  readonly bytes: number;
  /** Why it was cut; null when it came whole. */
  readonly error: Error | null;
};

export interface ExchangeWatcher {
  /** Called when a connection is dialled, after about 100 ms of waiting, and every 30 s from then on: quick requests pay nothing. */
  slow(exchange: { abort(): void }): void;
  /**
   * A streamed request body has brought so many bytes so far.
   * @param waitedMs for the last of them
   * @throws ClientStalledError when the client is too slow
   */
  bodyBytes(bytes: number, waitedMs: number): void;
  /**
   * The client has taken what a streamed answer had for it, after it had to be waited for.
   * @param bytes since it was waited for the last time
   * @returns false when it is too slow
   */
  taken?(bytes: number, waitedMs: number): boolean;
  /** How long a client may take nothing of a streamed answer, ms; five minutes unless told. */
  readonly stallMs?: number;
  /** What says whether an answer that was sent whole has left for its client, or its client has. */
  delivery?(): () => boolean;
}

export type UpstreamResponse = {
  readonly head: ResponseHead;
  /** A complete body, a stream, or null where there can be none. */
  readonly body: Buffer | ReadableStream<Uint8Array> | null;
  /** For a streamed body: resolves when it is over, whole or cut. */
  readonly ended: Promise<BodyEnd> | null;
};

/** Whose exchange it is: one of the two is called, once. Methods rather than a promise or closures: this is the way of every request. */
export interface ExchangeReceiver {
  answered(response: UpstreamResponse): void;
  /** With ConnectError, TooManyFilesError, UpstreamClosedError, UpstreamTimeoutError, ProtocolError, BodyTooLargeError or ClientGoneError. */
  failed(error: Error): void;
}

export class ConnectError extends Error { override name = "ConnectError"; }
export class UpstreamClosedError extends Error {
  override name = "UpstreamClosedError";
  /** Not a byte of an answer had come. */
  isUnanswered = false;
}
export class UpstreamTimeoutError extends Error { override name = "UpstreamTimeoutError"; }
/** Nothing was sent: another server may have the request. */
export class ConnectTimeoutError extends UpstreamTimeoutError { override name = "ConnectTimeoutError"; }
export class BodyTooLargeError extends Error { override name = "BodyTooLargeError"; }
/** The client is there but sends nothing of the body that it announced. */
export class ClientStalledError extends Error { override name = "ClientStalledError"; }
export class ClientGoneError extends Error { override name = "ClientGoneError"; }

/** RFC 9110 section 9.2.2: safe to send again when nobody can know whether the first one was acted upon. */
export function isIdempotent(method: string): boolean {
  return method === "GET" || method === "HEAD" || method === "OPTIONS" || method === "PUT" || method === "DELETE";
}

/** That, and it is in hand as a whole: a stream may have been read already. */
export function isRepeatable({ method, body }: UpstreamRequest): boolean {
  return isIdempotent(method) && !(body instanceof ReadableStream);
}
