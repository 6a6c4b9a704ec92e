// What a client's response carries: the upstream's end-to-end headers, ours on top; a registered workload's as it said them.
// Bun.serve adds Date and the framing.

/** Set by Bun.serve itself, or by us. */
const REPLACED: ReadonlySet<string> = new Set(["date", "x-request-id"]);
/** Which programs stand behind us is nobody's business. */
const DROPPED: ReadonlySet<string> = new Set([...REPLACED, "server", "x-powered-by"]);

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
  readonly #dropped: ReadonlySet<string>;
  readonly #made = new WeakMap<HeaderPairs, ClientHeaders>();

  /**
   * @param own names in lower case; they replace the upstream's
   * @param offered names in lower case; each is there where the upstream does not say it itself
   */
  constructor(readonly own: HeaderPairs, private readonly offered: HeaderPairs = [], dropped: ReadonlySet<string> = DROPPED) {
    this.#dropped = new Set([...dropped, ...own.map(([name]) => name)]);
  }

  /** Of a registered workload: what it is called and who may frame it is its own to say. */
  static asSaid(offered: HeaderPairs): ResponseHeaders {
    return new ResponseHeaders([], offered, REPLACED);
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
    const isDropped = (name: string): boolean => this.#dropped.has(name) && !(isAged && name === "date");
    for (const [name, value] of upstream) if (!isDropped(name)) headers.append(name, value);
    for (const [name, value] of this.own) headers.append(name, value);
    for (const [name, value] of this.offered) if (!headers.has(name)) headers.append(name, value);
    headers.set("x-request-id", requestId);
    return { headers, isTyped: headers.has("content-type") };
  }
}
