// HTTP towards the CA, in place of acme-client's own: that one is axios with one set of defaults for the whole process, has no
// deadline, sleeps for as long as Retry-After says, and forgets the type of a problem. Here every call has a deadline and can
// be stopped, the trusted root is the client's own, and a refusal is a typed error.
//
// The environment's proxy (HTTPS_PROXY, NO_PROXY) is honoured, as with other ACME clients.

import { VERSION } from "../lib/build-info.ts";
import { AcmeError, PROBLEM, problemError, readProblem, reasonOf } from "./errors.ts";
import { readRetryAfter } from "./retry-after.ts";

/** Chains are a few KiB; nothing of ACME is larger. */
const ANSWER_LIMIT_BYTES = 1024 * 1024;

export type TransportOptions = {
  /** Trusted in place of the public roots; null: those. */
  readonly caPem: string | null;
  /** For one call, from the connection to the last byte. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
};

/** As acme-client reads it. */
export type TransportAnswer = { readonly status: number; readonly headers: Record<string, string>; readonly data: unknown };

export class Transport {
  /** What the newest answer asked us to wait; null when it asked nothing. */
  retryAfterMs: number | null = null;

  constructor(private readonly options: TransportOptions) {}

  /**
   * One request; `badNonce` is returned, because acme-client knows what to do with it.
   * @throws AcmeError
   */
  async request(url: string, method: string, { data }: { data?: unknown } = {}): Promise<TransportAnswer> {
    const { response, body } = await this.#exchange(httpsUrl(url), method.toUpperCase(), data);
    const answer = { status: response.status, headers: Object.fromEntries(response.headers), data: readBody(response, body) };
    this.retryAfterMs = readRetryAfter(response.headers.get("retry-after"), Date.now());
    if (answer.status < 300 || readProblem(answer.data).type === `${PROBLEM}badNonce`) return answer;
    if (answer.status < 400) throw new AcmeError("invalid_answer", `the CA answers ${method.toUpperCase()} ${url} with a redirect`);
    throw problemError(answer.data, answer.status, this.retryAfterMs);
  }

  async #exchange(url: URL, method: string, data: unknown): Promise<{ response: Response; body: string }> {
    const { caPem, timeoutMs, signal } = this.options;
    const deadline = AbortSignal.timeout(timeoutMs);
    try {
      const response = await fetch(url, {
        method, redirect: "manual", keepalive: false, signal: AbortSignal.any([signal, deadline]),
        // RFC 8555 section 6.1: a User-Agent that names the client; section 6.2: this media type and no other.
        headers: { "User-Agent": `route-gateway/${VERSION}`, "Content-Type": "application/jose+json" },
        ...(data === undefined ? {} : { body: JSON.stringify(data) }),
        ...(caPem === null ? {} : { tls: { ca: caPem } }),
      });
      return { response, body: await readBounded(response) };
    } catch (error) {
      if (error instanceof AcmeError) throw error;
      if (signal.aborted) throw stopError(signal, error);
      const reason = deadline.aborted ? `no answer within ${timeoutMs} ms` : reasonOf(error);
      throw new AcmeError("unreachable", `cannot reach the CA at ${url.host}: ${reason}`, { cause: error });
    }
  }
}

/** Why `signal` ended us: an AcmeError that it was given says so itself. */
export function stopError(signal: AbortSignal, cause?: unknown): AcmeError {
  return signal.reason instanceof AcmeError ? signal.reason : new AcmeError("stopped", "asking the CA was stopped", { cause });
}

/** RFC 8555 section 6.1: all of ACME is over HTTPS. What a CA's directory points to is no exception. */
function httpsUrl(text: string): URL {
  const url = URL.parse(text);
  if (url === null || url.protocol !== "https:") throw new AcmeError("invalid_answer", `not an https address: ${JSON.stringify(text)}`);
  return url;
}

async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > ANSWER_LIMIT_BYTES) throw new AcmeError("invalid_answer", `the CA's answer is larger than ${ANSWER_LIMIT_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** JSON where the media type says so, text otherwise (a chain, or some machine's error page). */
function readBody(response: Response, body: string): unknown {
  if (!/^application\/([a-z.-]+\+)?json\b/i.test(response.headers.get("content-type") ?? "")) return body;
  try {
    return JSON.parse(body);
  } catch {
    return body; // Nobody finds in it what he looks for, and says so.
  }
}
