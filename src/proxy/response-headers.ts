// What a client's response carries: the upstream's end-to-end headers, ours on top. Bun.serve adds Date and the framing.

/** Set by Bun.serve itself, or nobody's business. */
const DROPPED = new Set(["date", "server", "x-powered-by", "x-request-id"]);

export type HeaderPairs = ReadonlyArray<readonly [string, string]>;

/** Headers of one response. */
export type ClientHeaders = {
  /** To be copied at once (as `new Response` does): the same object carries the next response's request id. */
  readonly headers: Headers;
  /** There is a Content-Type. */
  readonly isTyped: boolean;
};

/** Makes response headers for one configuration; what follows from a head alone is made once for it. */
export class ResponseHeaders {
  readonly #names: ReadonlySet<string>;
  readonly #made = new WeakMap<HeaderPairs, ClientHeaders>();

  /** @param own names in lower case; they replace the upstream's */
  constructor(readonly own: HeaderPairs) {
    this.#names = new Set(own.map(([name]) => name));
  }

  /** @param upstream as for `make`; for the same array, most of it is made once */
  of(upstream: HeaderPairs, requestId: string): ClientHeaders {
    let made = this.#made.get(upstream);
    if (made === undefined) {
      made = this.make(upstream, requestId);
      this.#made.set(upstream, made);
    }
    made.headers.set("x-request-id", requestId);
    return made;
  }

  /** @param upstream names in lower case, hop-by-hop fields already gone */
  make(upstream: HeaderPairs, requestId: string): ClientHeaders {
    const headers = new Headers();
    // RFC 9111 section 4: what comes from a cache, ours or another, keeps the Date that its Age and Expires are meant by.
    const isAged = upstream.some(([name]) => name === "age");
    const isDropped = (name: string): boolean => DROPPED.has(name) && !(isAged && name === "date");
    for (const [name, value] of upstream) if (!isDropped(name) && !this.#names.has(name)) headers.append(name, value);
    for (const [name, value] of this.own) headers.append(name, value);
    headers.set("x-request-id", requestId);
    return { headers, isTyped: headers.has("content-type") };
  }
}
