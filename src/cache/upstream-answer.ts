// What to make of an upstream's answer: an entry, a renewed entry, or neither. Pure but for the entry that it builds.

import { updated } from "./conditions.ts";
import { Entry, type StoredHead, storedHeaders } from "./entry.ts";
import type { CacheRequest, HeaderPairs, OriginResponse } from "./exchange.ts";
import { first } from "./fields.ts";
import { judge, type Times } from "./policy.ts";
import { resourceOf } from "./resource.ts";
import { variantOf, varyOf } from "./vary.ts";

/** The head to store; or why there is none (a token for Cache-Status). */
export type Kept = { readonly head: StoredHead; readonly reason: null } | { readonly head: null; readonly reason: string };

export function headToStore(request: CacheRequest, { status, headers, contentLength, body }: OriginResponse, times: Times): Kept {
  const { policy, ...rest } = judge(request.headers, status, headers, times);
  if (policy === null) return { head: null, reason: rest.reason ?? "" };
  const fields = varyOf(headers);
  if (fields === null) return { head: null, reason: "vary" };
  const hidden = "hidden" in rest ? rest.hidden : [];
  return {
    head: {
      resource: resourceOf(request), fields, variant: variantOf(fields, request.headers), status, policy,
      headers: storedHeaders(headers, hidden, times.responseMs), contentLength: body instanceof ReadableStream ? contentLength : body?.byteLength ?? null,
    },
    reason: null,
  };
}

/**
 * RFC 9111 section 4.3.4: the entry with the fields of a 304, or of an answer to HEAD that fits.
 * @returns null when those say that it must not be stored for everybody
 */
export function renewed(entry: Entry, request: CacheRequest, answer: HeaderPairs, times: Times, name: string): Entry | null {
  // RFC 9110 section 6.6.1: without a Date it is when the answer came.
  const dated: HeaderPairs = first(answer, "date") === undefined ? [...answer, ["date", new Date(times.responseMs).toUTCString()]] : answer;
  const headers = updated(entry.head.headers, dated);
  const judgement = judge(request.headers, entry.head.status, headers, times);
  if (judgement.policy === null) return null;
  return new Entry({ ...entry.head, policy: judgement.policy, headers: storedHeaders(headers, judgement.hidden, times.responseMs) }, entry.body, name);
}

/** Whether it is only for this client that an answer is not to be stored. */
export function isPersonal(request: CacheRequest, answer: HeaderPairs): boolean {
  return request.headers["authorization"] !== undefined || first(answer, "set-cookie") !== undefined;
}

/** RFC 5861 section 4: what a stored answer may stand in for. */
export function isFailure(status: number): boolean {
  return status === 500 || status === 502 || status === 503 || status === 504;
}
