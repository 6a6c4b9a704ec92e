// HTTP/1.1 response heads, strictly (RFC 9112). A codec: bytes in, a value or a named error out; no sockets, no clock.
// An upstream that cannot say clearly where its answer ends could make us hand one user's bytes to the next one on the
// same connection, so every ambiguity is an error here and a 502 there, never a guess.

/** More than any honest server sends; nginx allows 4-8 KiB by default. */
export const HEAD_LIMIT_BYTES = 64 * 1024;
/** Ten thousand short lines fit into that, and what is made of them takes their square: a third of a second. */
const HEADER_LIMIT = 500;
/** Interim answers (1xx) before the final one; more is a storm. */
export const INTERIM_LIMIT = 8;

export type BodyFraming =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly bytes: number }
  | { readonly kind: "chunked" }
  /** The body ends when the upstream closes. */
  | { readonly kind: "close" };

export type ResponseHead = {
  readonly status: number;
  /** Names in lower case, in the order of arrival, duplicates kept; framing and hop-by-hop fields are not among them. */
  readonly headers: ReadonlyArray<[name: string, value: string]>;
  readonly framing: BodyFraming;
  /** The Content-Length as announced, also where no body follows (HEAD, 304); null when there was none. */
  readonly contentLength: number | null;
  /** The connection may carry another request afterwards. */
  readonly keepAlive: boolean;
  /** Where the body starts. */
  readonly end: number;
};

/** What is wrong with an upstream's bytes; the message goes to the log only. */
export class ProtocolError extends Error {
  override name = "ProtocolError";
}

/** Names that passed the grammar: real traffic has few, and looking one up is cheaper than matching it. */
const knownNames = new Set<string>();
const KNOWN_NAMES = 500;
const KNOWN_NAME_LENGTH = 64;
const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
// CTLs other than HTAB, and CR or LF outside a CRLF pair (RFC 9110 section 5.5, RFC 9112 section 2.2).
// Without look-around, which would keep the expression from being compiled.
// oxlint-disable-next-line no-control-regex
const FORBIDDEN = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?:[^\n]|$)|(?:^|[^\r])\n/;
// RFC 9110 section 15: 100 to 599. Bun.serve could not pass others on.
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: .*)?$/;

/**
 * The response head at the start of `bytes`, or null when it is not complete yet.
 * @param method of the request, because the answer to HEAD has no body
 * @throws ProtocolError on anything that is not one well-formed, unambiguously framed head of at most 64 KiB
 */
export function parseResponseHead(bytes: Buffer, method: string): ResponseHead | null {
  const end = headEnd(bytes);
  return end < 0 ? null : parseHeadText(bytes.toString("latin1", 0, end), method);
}

/** Where the blank line after the head begins, or -1 when it has not come yet. @throws ProtocolError over 64 KiB, or when no head can come of it */
function headEnd(bytes: Buffer): number {
  const end = bytes.indexOf("\r\n\r\n");
  // What speaks TLS or SSH need not be waited for.
  if (end < 0 && !"HTTP/1.".startsWith(bytes.toString("latin1", 0, 7))) throw new ProtocolError("malformed status line");
  if (end > HEAD_LIMIT_BYTES || (end < 0 && bytes.length > HEAD_LIMIT_BYTES)) throw new ProtocolError("response head over 64 KiB");
  return end;
}

/** A head that was seen lately need not be parsed again; what is longer is rare and not worth the memory. */
const MEMO_HEADS = 256;
const MEMO_BYTES = 2048;

/** A head with the bytes that it was parsed from, blank line included; null: they are not kept. */
export type SeenHead = { readonly head: ResponseHead; readonly raw: Buffer | null };

/**
 * Parses like {@link parseResponseHead} and remembers: services answer most requests with the same few heads, which differ
 * once a second (Date). The same value is handed out again, so what is derived from it can be kept with it.
 */
export class ResponseHeadMemo {
  readonly #heads = new Map<string, SeenHead>();

  /** @param last head on the same connection; null for none */
  parse(bytes: Buffer, method: string, last: SeenHead | null): SeenHead | null {
    const isPlain = method !== "HEAD";
    if (isPlain && last !== null && last.raw !== null && startsWith(bytes, last.raw)) return last;
    const end = headEnd(bytes);
    if (end < 0) return null;
    const text = bytes.toString("latin1", 0, end);
    if (!isPlain || end > MEMO_BYTES) return { head: parseHeadText(text, method), raw: null };
    const known = this.#heads.get(text);
    if (known !== undefined) return known;
    const seen = { head: parseHeadText(text, method), raw: Buffer.from(bytes.subarray(0, end + 4)) };
    if (this.#heads.size >= MEMO_HEADS) this.#heads.clear();
    this.#heads.set(text, seen);
    return seen;
  }
}

function startsWith(bytes: Buffer, start: Buffer): boolean {
  return bytes.length >= start.length && start.compare(bytes, 0, start.length) === 0;
}

function parseHeadText(text: string, method: string): ResponseHead {
  if (FORBIDDEN.test(text)) throw new ProtocolError("control character in response head");
  let lineEnd = text.indexOf("\r\n");
  const line = STATUS_LINE.exec(lineEnd < 0 ? text : text.slice(0, lineEnd));
  if (line === null) throw new ProtocolError("malformed status line");
  const status = Number(line[2]);
  let contentLength: number | null = null;
  let coding: string | null = null;
  let connection = "";
  const headers: [string, string][] = [];
  while (lineEnd >= 0) {
    const start = lineEnd + 2;
    lineEnd = text.indexOf("\r\n", start);
    const stop = lineEnd < 0 ? text.length : lineEnd;
    const colon = text.indexOf(":", start);
    if (colon < 0 || colon >= stop) throw new ProtocolError("header line without a colon");
    const name = text.slice(start, colon).toLowerCase();
    // Also refuses a space before the colon and obs-fold (RFC 9112 sections 5.1 and 5.2).
    if (!knownNames.has(name)) checkName(name);
    const value = trimmed(text, colon + 1, stop);
    switch (name) {
      case "content-length": contentLength = parseLength(value, contentLength); break;
      case "transfer-encoding": coding = coding === null ? value.toLowerCase() : `${coding},${value.toLowerCase()}`; break;
      case "connection": connection += `,${value.toLowerCase()}`; break;
      case "keep-alive": case "proxy-connection": case "te": case "trailer": case "upgrade": case "proxy-authenticate":
        break;
      default: headers.push([name, value]);
    }
    if (headers.length > HEADER_LIMIT) throw new ProtocolError("more than 500 header lines in response");
  }
  const options = connection === "" ? [] : connection.split(",").map((option) => option.trim()).filter((option) => option !== "");
  // RFC 9112 section 6.1: framing that is faulty, as HTTP/1.0 knows no chunks.
  if (coding !== null && line[1] === "0") throw new ProtocolError("Transfer-Encoding in an HTTP/1.0 response");
  const framing = frame(status, method, contentLength, coding);
  const persistent = line[1] === "1" ? !options.includes("close") : options.includes("keep-alive");
  return {
    status, framing, contentLength, end: text.length + 4,
    headers: options.length === 0 ? headers : headers.filter(([name]) => !options.includes(name)),
    keepAlive: persistent && framing.kind !== "close",
  };
}

/** Without optional whitespace (RFC 9110 section 5.6.3). Not `trim()`, which also takes A0, the end of a UTF-8 `à`. */
function trimmed(text: string, from: number, to: number): string {
  while (from < to && isBlank(text.charCodeAt(from))) from += 1;
  while (to > from && isBlank(text.charCodeAt(to - 1))) to -= 1;
  return text.slice(from, to);
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9;
}

function checkName(name: string): void {
  if (!NAME.test(name)) throw new ProtocolError("malformed header name");
  if (knownNames.size < KNOWN_NAMES && name.length <= KNOWN_NAME_LENGTH) knownNames.add(name);
}

function parseLength(value: string, earlier: number | null): number {
  if (!/^\d{1,15}$/.test(value)) throw new ProtocolError("malformed Content-Length in response");
  const length = Number(value);
  if (earlier !== null && earlier !== length) throw new ProtocolError("two different Content-Length in response");
  return length;
}

// RFC 9112 section 6.3, with its "ought to be handled as an error" cases as errors.
function frame(status: number, method: string, contentLength: number | null, coding: string | null): BodyFraming {
  if (coding !== null && contentLength !== null) throw new ProtocolError("Content-Length and Transfer-Encoding in one response");
  if (coding !== null && coding !== "chunked") throw new ProtocolError("unknown transfer coding in response");
  if (method === "HEAD" || status < 200 || status === 204 || status === 304) return { kind: "none" };
  if (coding !== null) return { kind: "chunked" };
  return contentLength === null ? { kind: "close" } : { kind: "length", bytes: contentLength };
}
