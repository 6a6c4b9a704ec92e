// An answer on its way to its client: compressed or not, whole or as a stream, counted, and logged at its end.

import type { BodyForms } from "../cache/exchange.ts";
import type { Encoding } from "../compression/encoding.ts";
import type { Sweeper } from "../lib/deadlines.ts";
import { type BodyEnd, ClientStalledError } from "../upstream/exchange.ts";
import type { AnswerHead } from "./compressing.ts";
import { countedBody, slicedBody } from "./counted-body.ts";
import type { Journey } from "./forwarding.ts";
import type { ClientHeaders, HeaderPairs } from "./response-headers.ts";
import type { Visit } from "./visit.ts";

/** An answer, wherever it comes from, before it is made fit for this client. */
export type Deliverable = AnswerHead & {
  readonly body: Uint8Array | ReadableStream<Uint8Array> | null;
  /** For a streamed body: resolves when it is over, whole or cut. */
  readonly ended: Promise<BodyEnd> | null;
  /** What was made of the body before; absent: it is not one that comes again. */
  readonly forms?: BodyForms | undefined;
};

export class Delivery {
  #streams = 0;

  constructor(private readonly sweeper: Sweeper) {}

  /** Bodies on their way. */
  get streams(): number {
    return this.#streams;
  }

  /** What does not come from an upstream of this request; its end is that of the request. */
  whole(journey: Journey, head: AnswerHead, body: Uint8Array | ReadableStream<Uint8Array> | null, forms?: BodyForms): Response | Promise<Response> {
    const { visit, snapshot: { pool, settings } } = journey;
    // From a client that does not read, a large body is to be kept away, whoever has it in memory.
    const isRoom = !(body instanceof Uint8Array) || (body.length <= settings.limits.responseBufferBytes && pool.budget.admit(body.length, visit));
    const watched = { receiver: visit, sweeper: this.sweeper };
    const counted = body instanceof ReadableStream ? countedBody(body, watched) : isRoom ? null : countedBody(slicedBody(body), watched);
    return this.answer(journey, { ...head, body: counted?.stream ?? body as Uint8Array | null, ended: counted?.ended ?? null, forms });
  }

  answer(journey: Journey, answer: Deliverable): Response | Promise<Response> {
    const { visit, request, match, snapshot: { compressing } } = journey;
    const plan = match.route.compress ? compressing.plan(request.headers, answer) : null;
    if (plan === null) return this.#give(visit, answer);
    const { headers, encoding } = plan;
    const { body } = answer;
    if (encoding === null) return this.#give(visit, { ...answer, headers });
    if (body === null) return this.#give(visit, { ...answer, headers, contentLength: null });
    if (body instanceof ReadableStream) {
      const compressed = compressing.stream(body, encoding, answer);
      if (compressed === null) return this.#give(visit, { ...answer, headers: compressing.plain(answer) });
      const { stream, ended } = countedBody(compressed);
      return this.#give(visit, { ...answer, headers, contentLength: null, body: stream, ended });
    }
    const { forms } = answer;
    const known = forms?.form(encoding);
    if (known !== undefined) return this.#give(visit, { ...answer, headers, contentLength: known.length, body: known });
    const compressed = compressing.bytes(body, encoding);
    if (compressed === null) return this.#give(visit, { ...answer, headers: compressing.plain(answer) });
    return this.#giveLater(visit, { ...answer, headers }, encoding, compressed);
  }

  async #giveLater(visit: Visit, answer: Deliverable, encoding: Encoding, compressed: Promise<Uint8Array>): Promise<Response> {
    const body = await compressed;
    answer.forms?.keepForm(encoding, body);
    return this.#give(visit, { ...answer, contentLength: body.length, body });
  }

  #give(visit: Visit, { status, headers: pairs, contentLength, body, ended, forms }: Deliverable): Response {
    const { headers, isTyped } = this.#headers(visit, pairs);
    if (body instanceof ReadableStream) {
      this.#streams += 1;
      visit.keepClient();
      void this.#awaitEnd(visit, status, ended);
      return new Response(body, { status, headers });
    }
    // The answer to HEAD and a 304 say how long the body would be (RFC 9110 section 8.6); to a HEAD whose length nobody
    // knows, Bun.serve would say 0 unless it is told otherwise.
    if (body === null && status !== 204) {
      const own = new Headers(headers);
      if (contentLength !== null) own.set("content-length", String(contentLength));
      else if (visit.raw.method === "HEAD") own.set("transfer-encoding", "chunked");
      visit.finish(status, 0);
      return new Response(null, { status, headers: own });
    }
    visit.finish(status, body?.length ?? 0);
    const bytes = body as Uint8Array<ArrayBuffer> | null;
    // Bun.serve answers ranges of a Blob by itself, which is why it is not for others.
    const shared = isTyped && bytes !== null ? forms?.shared(bytes) ?? null : null;
    if (shared !== null) return new Response(shared, { status, headers });
    return new Response(isTyped || bytes === null || bytes.length === 0 ? bytes : unlabelled(bytes), { status, headers });
  }

  #headers(visit: Visit, pairs: HeaderPairs): ClientHeaders {
    const made = visit.serviceHeaders.of(pairs, visit.requestId);
    const cookie = visit.attempts?.cookie(visit.isSecure) ?? null;
    if (cookie === null) return made;
    const headers = new Headers(made.headers);
    headers.append("set-cookie", cookie);
    return { headers, isTyped: made.isTyped };
  }

  /** A streamed body is part of the request until its last byte. */
  async #awaitEnd(visit: Visit, status: number, ended: Promise<BodyEnd> | null): Promise<void> {
    const end = await ended;
    visit.reason = end?.error?.message ?? null;
    visit.isStalled = end?.error instanceof ClientStalledError;
    visit.finish(status, end?.bytes ?? 0);
    this.#streams -= 1;
  }
}

/**
 * Bun.serve labels a typeless buffer as octet-stream, which no upstream said; a stream that is complete already is sent
 * with its length as well, and without a label.
 */
function unlabelled(body: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      controller.enqueue(body);
      controller.close();
    },
  });
}
