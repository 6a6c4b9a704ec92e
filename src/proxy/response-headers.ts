// What a client's response carries: the upstream's end-to-end headers, ours on top. Bun.serve adds Date and the framing.

import type { ResponseHead } from "../upstream/response-head.ts";

/** Set by Bun.serve itself, or nobody's business. */
const DROPPED = new Set(["date", "server", "x-powered-by", "x-request-id"]);

export type HeaderPairs = ReadonlyArray<readonly [string, string]>;

/** Headers of one response, names in lower case. */
export type ClientHeaders = {
  /** Read it before the next response is made: the request id in it changes. */
  readonly pairs: [string, string][];
  /** There is a Content-Type. */
  readonly isTyped: boolean;
};

/** Makes response headers for one configuration; what follows from a head alone is made once for it. */
export class ResponseHeaders {
  readonly #names: ReadonlySet<string>;
  readonly #made = new WeakMap<ResponseHead, ClientHeaders>();

  /** @param own names in lower case; they replace the upstream's */
  constructor(private readonly own: HeaderPairs) {
    this.#names = new Set(own.map(([name]) => name));
  }

  of(head: ResponseHead, requestId: string): ClientHeaders {
    let made = this.#made.get(head);
    if (made === undefined) {
      made = this.make(head.headers, requestId);
      this.#made.set(head, made);
    }
    const last = made.pairs[made.pairs.length - 1] as [string, string];
    last[1] = requestId;
    return made;
  }

  /** @param upstream names in lower case, hop-by-hop fields already gone */
  make(upstream: HeaderPairs, requestId: string): ClientHeaders {
    const kept = upstream.filter(([name]) => !DROPPED.has(name) && !this.#names.has(name));
    const pairs = [...kept, ...this.own, ["x-request-id", requestId]].map(([name, value]): [string, string] => [name as string, value as string]);
    return { pairs, isTyped: pairs.some(([name]) => name === "content-type") };
  }
}
