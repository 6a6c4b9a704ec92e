// One request and its answer, as the cache and whoever asks it see them. Nouns only: neither knows sockets, routes or
// tokens. Header names are in lower case everywhere.

export type HeaderPairs = ReadonlyArray<readonly [name: string, value: string]>;
export type Body = Uint8Array | ReadableStream<Uint8Array> | null;

export type CacheRequest = {
  /** GET and HEAD are what a cache can answer; others are passed on. */
  readonly method: string;
  readonly scheme: "http" | "https";
  /** As in the Host header, in lower case, port included where it stands there. */
  readonly host: string;
  /** Path and query, as they are forwarded. */
  readonly target: string;
  /** Name of the service: what one answers is nothing that another one said. Part of the key. */
  readonly scope: string;
  /** Several lines of one name are joined by `, `. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** Aborts when the client leaves; asked for only where the upstream is. Absent: it never does. */
  readonly left?: (() => AbortSignal) | undefined;
};

export type OriginResponse = {
  readonly status: number;
  /** In the order of arrival, several lines of one name kept apart; hop-by-hop and framing fields are gone, Date is there. */
  readonly headers: HeaderPairs;
  /** As announced, also where no body follows (HEAD, 304); null when nobody knows. */
  readonly contentLength: number | null;
  /** A stream that was cut must fail: one that ends is taken for complete, unless `contentLength` says otherwise. */
  readonly body: Body;
};

/**
 * Asks the upstream, which must answer or fail in bounded time, also when the client that asked first has left: others may wait.
 * @param conditions conditional and range fields to send in place of the client's own
 * @param isBackground the client has its answer already; nobody waits for this one
 * @param whenUnwanted is told what to do when the last client that waited for the head has left; what is asked may then fail
 * Rejects when the upstream cannot be reached, takes too long or cuts its answer.
 */
export type Origin = (conditions: Readonly<Record<string, string>>, isBackground: boolean, whenUnwanted: (abort: () => void) => void) => Promise<OriginResponse>;

/**
 * What was made of a stored body, such as its compressed form, kept with it and counted with it. It comes with answers to requests
 * that ask for the whole of it, without conditions, and with no other.
 */
export interface BodyForms {
  form(name: string): Uint8Array | undefined;
  /** Kept when there is room. */
  keepForm(name: string, bytes: Uint8Array): void;
  /** The body, or a form of it, as something that many answers share; null the first time, and when there is no room: then the bytes go out. */
  shared(bytes: Uint8Array): Blob | null;
}

export type CachedResponse = {
  readonly status: number;
  /** With Age, Date and the whole Cache-Status. The same array for all hits of one entry within one second. */
  readonly headers: HeaderPairs;
  readonly body: Body;
  readonly contentLength: number | null;
  /** Our own member of Cache-Status (RFC 9211), for the log; it stands in `headers` already. */
  readonly cacheStatus: string;
  /** Of a body that was in memory, whole; absent: it is no such. */
  readonly forms?: BodyForms;
};
