// Which answers are worth compressing: text in its many names, from 2048 bytes on, and nothing that a standard or its
// sender forbids to touch. It looks at the head alone; what the client accepts is asked afterwards (lib/accept-encoding.ts),
// because a compressible answer says so (Vary) also to a client that gets it plain.

export type AnswerHead = {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ReadonlyArray<readonly [string, string]>;
  /** null: not known. */
  readonly contentLength: number | null;
};

/** Shorter ones do not get shorter by enough to pay for it; the limit of the OpenResty configuration. */
export const MINIMUM_BYTES = 2048;

const TYPES = new Set([
  "application/json", "application/x-ndjson", "application/json-seq", "application/javascript", "application/x-javascript", "application/ecmascript",
  "application/xml", "application/wasm", "application/yaml", "application/toml", "application/graphql", "application/vnd.ms-fontobject", "application/x-font-ttf",
  "font/ttf", "font/otf", "font/collection", "image/bmp", "image/x-icon", "image/vnd.microsoft.icon",
]);
const FAMILY = /^(?:text\/.+|.+\/.+\+(?:json|xml))$/;

/**
 * Whether this answer may go out compressed. The same for HEAD as for GET: both heads say the same.
 * @param requestCacheControl Cache-Control of the request, where it has one
 * @param minimumBytes shorter answers stay as they are
 */
export function isCompressible({ status, headers, contentLength }: AnswerHead, requestCacheControl?: string, minimumBytes: number = MINIMUM_BYTES): boolean {
  // 206: a range is one of the bytes that the origin has, not of ours. 204, 205 and 304 have no body.
  if (status < 200 || status === 204 || status === 205 || status === 206 || status === 304) return false;
  if (contentLength !== null && contentLength < minimumBytes) return false;
  if (isUntouchable(requestCacheControl)) return false;
  let type: string | null = null;
  for (const [name, value] of headers) {
    if (name === "content-encoding" || name === "content-range") return false;
    if (name === "cache-control" && isUntouchable(value)) return false;
    if (name === "content-type") type = value;
  }
  return type !== null && isCompressibleType(type);
}

/** Whether the body is a stream of server-sent events, of which each line is awaited. */
export function isEventStream(contentType: string | undefined): boolean {
  return contentType !== undefined && mediaType(contentType) === "text/event-stream";
}

function isCompressibleType(contentType: string): boolean {
  const type = mediaType(contentType);
  return TYPES.has(type) || FAMILY.test(type);
}

function mediaType(contentType: string): string {
  const end = contentType.indexOf(";");
  return (end < 0 ? contentType : contentType.slice(0, end)).trim().toLowerCase();
}

// RFC 9111 sections 5.2.1.6 and 5.2.2.6: "an intermediary MUST NOT transform the content".
function isUntouchable(cacheControl: string | undefined): boolean {
  return cacheControl !== undefined && /(?:^|,)\s*no-transform\s*(?:,|$)/i.test(cacheControl);
}
