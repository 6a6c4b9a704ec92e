// What becomes of one answer by compression: its head, and which coding its body goes through, if any.

import { Compressors } from "../compression/compressors.ts";
import { isCompressible, isEventStream } from "../compression/eligible.ts";
import { DEFAULT_LEVELS, type Encoding } from "../compression/encoding.ts";
import { compressedHeaders, notModifiedHeaders, plainHeaders } from "../compression/headers.ts";
import { chooseEncoding } from "../lib/accept-encoding.ts";
import type { CompressionSettings } from "../settings.ts";
import type { HeaderPairs } from "./response-headers.ts";

/** So many bodies are compressed at a time; each may hold 1.6 MiB. More go out as they are. */
const COMPRESSORS = 256;

export type AnswerHead = { readonly status: number; readonly headers: HeaderPairs; readonly contentLength: number | null };

export type CompressionPlan = {
  readonly headers: HeaderPairs;
  /** null: the body goes out as it is. */
  readonly encoding: Encoding | null;
};

/** The heads that an answer may get, each made once. */
type Heads = { readonly plain: HeaderPairs; readonly encoded: Map<Encoding, HeaderPairs> };

export class Compressing {
  readonly #compressors = new Compressors(COMPRESSORS);
  readonly #heads = new WeakMap<HeaderPairs, Heads | null>();

  constructor(private readonly settings: CompressionSettings) {}

  /** null: nothing changes. @param asked headers of the request */
  plan(asked: Readonly<Record<string, string>>, head: AnswerHead): CompressionPlan | null {
    if (head.status === 304) return { headers: notModifiedHeaders(head.headers, asked["if-none-match"]), encoding: null };
    const heads = this.#headsOf(head, asked["cache-control"]);
    if (heads === null) return null;
    const encoding = chooseEncoding(asked["accept-encoding"], this.settings.encodings);
    if (encoding === null) return { headers: heads.plain, encoding };
    let headers = heads.encoded.get(encoding);
    if (headers === undefined) heads.encoded.set(encoding, headers = compressedHeaders(head.headers, encoding));
    return { headers, encoding };
  }

  /** null: there are too many already, and the body goes out as it is. */
  bytes(body: Uint8Array, encoding: Encoding): Promise<Uint8Array> | null {
    return this.#compressors.bytes(body, encoding, this.#level(encoding));
  }

  /** null: there are too many already, and the body goes out as it is. */
  stream(body: ReadableStream<Uint8Array>, encoding: Encoding, { headers, contentLength }: AnswerHead): ReadableStream<Uint8Array> | null {
    const isLongLived = isEventStream(headers.find(([name]) => name === "content-type")?.[1]);
    return this.#compressors.stream(body, encoding, this.#level(encoding), { flush: contentLength === null, isLongLived });
  }

  /** The head of a compressible answer that goes out as it is. */
  plain(head: AnswerHead): HeaderPairs {
    return this.#headsOf(head, undefined)?.plain ?? head.headers;
  }

  #headsOf(head: AnswerHead, requestCacheControl: string | undefined): Heads | null {
    const { minimumBytes } = this.settings;
    if (requestCacheControl !== undefined && !isCompressible(head, requestCacheControl, minimumBytes)) return null;
    let heads = this.#heads.get(head.headers);
    if (heads === undefined) {
      heads = isCompressible(head, undefined, minimumBytes) ? { plain: plainHeaders(head.headers), encoded: new Map() } : null;
      this.#heads.set(head.headers, heads);
    }
    return heads;
  }

  #level(encoding: Encoding): number {
    return encoding === "gzip" ? this.settings.level : DEFAULT_LEVELS[encoding];
  }
}
