// What the admin API answers: its JSON for gateways and certificates, and its errors, `{"error": "...", "faults": ["..."]}`.
// `error` says everything in one line; `faults`, where there are some, says it one by one.

import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { Gateway } from "../gateway.ts";
import { RegistryError, type RegistryErrorCode } from "../registry/errors.ts";
import { formatBackend } from "../registry/validate.ts";

/** One certificate that is served, or that is wanted and not there yet. */
export type CertificateState = {
  /** That it is read from; null: it is obtained. */
  readonly file: string | null;
  /** None: what the file holds could never be used. */
  readonly names: readonly string[];
  /** null: there is no certificate yet; then there is no expiry either. */
  readonly issuer: string | null;
  /** Unix time in ms, as the others. */
  readonly notAfterMs: number | null;
  /** null: it is not asked for (a file, or a name that no certificate can be had for). */
  readonly nextRenewalMs: number | null;
  /** Of the last attempt, why there is none now, or why clients refuse what there is; null when all is well. */
  readonly lastError: { readonly message: string; readonly atMs: number } | null;
  /** Attempts that failed, since the start. */
  readonly failures: number;
};

const STATUS: Record<RegistryErrorCode, ContentfulStatusCode> = { invalid: 400, conflict: 409, unresolved: 422, storage: 500 };

export function refuse(context: Context, status: ContentfulStatusCode, error: string, faults: readonly string[] = []): Response {
  return context.json(faults.length === 0 ? { error } : { error, faults }, status);
}

/** A list of faults is one sentence, too. */
export function refuseFaults(context: Context, faults: readonly string[]): Response {
  return refuse(context, 400, faults.join("; "), faults);
}

export function refuseRegistration(context: Context, error: RegistryError): Response {
  return refuse(context, STATUS[error.code], error.message, error.faults);
}

/** `backends` and `tlsPassthrough` as a PUT would have them. */
export function gatewayJson(gateway: Gateway) {
  const { id, service, fqdn, isPassthrough, backends, resolver, certificateNames } = gateway;
  return {
    id, fqdn, service, tlsPassthrough: isPassthrough,
    backends: backends.map((backend) => formatBackend(backend, isPassthrough)),
    certificateResolver: resolver, certificateNames,
  };
}

export function certificateJson({ file, names, issuer, notAfterMs, nextRenewalMs, lastError, failures }: CertificateState) {
  return {
    file, names, issuer, expiry: time(notAfterMs), nextRenewal: time(nextRenewalMs),
    lastError: lastError === null ? null : { message: lastError.message, time: time(lastError.atMs) },
    failures,
  };
}

/** ISO 8601, in UTC. */
function time(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}
