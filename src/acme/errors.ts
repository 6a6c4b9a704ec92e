// How asking a certificate authority fails. The message is for the log, the API and the operator: it holds what the CA said,
// in one bounded line, and never a key.

import { oneLine } from "../lib/log.ts";

export type AcmeErrorCode =
  /** Too many of something; another attempt before `retryAfterMs` makes it worse. */
  | "rate_limited"
  /** The CA will not: see `problemType` and `identifier`. */
  | "refused"
  /** No answer, or one of a CA in trouble. */
  | "unreachable"
  /** An answer that RFC 8555 knows nothing of. */
  | "invalid_answer"
  /** The answer to the challenge could not be put where the CA looks for it. */
  | "challenge"
  /** The account could not be read or kept. */
  | "storage"
  /** We were told to stop. */
  | "stopped";

/** RFC 8555 section 6.7. */
export const PROBLEM = "urn:ietf:params:acme:error:";

const TEXT_LIMIT = 500;

export type AcmeErrorDetails = {
  readonly problemType?: string | null;
  readonly identifier?: string | null;
  readonly retryAfterMs?: number | null;
  readonly cause?: unknown;
};

export class AcmeError extends Error {
  override readonly name = "AcmeError";
  /** As the CA named it (`urn:ietf:params:acme:error:caa`). */
  readonly problemType: string | null;
  /** The name that it is about, when it is about one. */
  readonly identifier: string | null;
  /** What the CA asked us to wait, ms from now. */
  readonly retryAfterMs: number | null;

  constructor(readonly code: AcmeErrorCode, message: string, details: AcmeErrorDetails = {}) {
    super(bounded(message), { cause: details.cause });
    this.problemType = details.problemType ?? null;
    this.identifier = details.identifier ?? null;
    this.retryAfterMs = details.retryAfterMs ?? null;
  }

  /** Whether the CA may have counted it against us: an order was made, or it said itself how long to wait. */
  get isCounted(): boolean {
    return this.retryAfterMs !== null || !["unreachable", "storage", "stopped"].includes(this.code);
  }

  /** Whether other names will probably fare the same now. */
  get holdsOthers(): boolean {
    return this.code === "rate_limited" || this.code === "unreachable";
  }
}

/** Whatever was thrown on the way, as an AcmeError: what nobody expected is an answer that made no sense. */
export function asAcmeError(thrown: unknown): AcmeError {
  if (thrown instanceof AcmeError) return thrown;
  return new AcmeError("invalid_answer", `the CA's answer makes no sense: ${reasonOf(thrown)}`, { cause: thrown });
}

/** A problem document (RFC 7807) of the CA as an error. @param retryAfterMs of the answer it came in */
export function problemError(problem: unknown, status: number, retryAfterMs: number | null): AcmeError {
  const { type, detail, identifier } = readProblem(problem);
  const text = `${type ?? `status ${status}`}${detail === null ? "" : `: ${detail}`}`;
  const details = { problemType: type, identifier, retryAfterMs };
  if (status === 429 || type === `${PROBLEM}rateLimited`) return new AcmeError("rate_limited", `the CA limits us: ${text}`, details);
  if (status >= 500) return new AcmeError("unreachable", `the CA is in trouble: ${text}`, details);
  return new AcmeError("refused", `the CA refuses: ${text}`, details);
}

export type Problem = { readonly type: string | null; readonly detail: string | null; readonly identifier: string | null };

/** Reads what is there; a problem document is an extra, and may be anything. */
export function readProblem(value: unknown): Problem {
  const { type, detail, identifier, subproblems } = isObject(value) ? value : {};
  const first = Array.isArray(subproblems) && isObject(subproblems[0]) ? subproblems[0] : {};
  const about = isObject(identifier) ? identifier : isObject(first["identifier"]) ? first["identifier"] : {};
  return { type: textOrNull(type), detail: textOrNull(detail), identifier: textOrNull(about["value"]) };
}

export function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const { code } = thrown as NodeJS.ErrnoException;
  return typeof code === "string" && !thrown.message.includes(code) ? `${code}: ${thrown.message}` : thrown.message;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function textOrNull(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? bounded(value) : null;
}

function bounded(text: string): string {
  return oneLine(text.length > TEXT_LIMIT ? `${text.slice(0, TEXT_LIMIT)}…` : text);
}
