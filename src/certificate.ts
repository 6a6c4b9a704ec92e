// A certificate with its key, ready to be served; and what it can be for.

export type Certificate = {
  /** Subject alternative names in lower case; wildcards as `*.example.org`. */
  readonly names: readonly string[];
  /** The leaf first, then its chain. */
  readonly certPem: string;
  readonly keyPem: string;
  /** The issuer's name, for people. */
  readonly issuer: string;
  /** Unix time in ms. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** SHA-256 of the leaf, hex. */
  readonly fingerprint: string;
};

/** Why clients refuse the certificate now; null: it is in its time. */
export function dateFault({ notBeforeMs, notAfterMs }: Certificate, nowMs: number): string | null {
  if (nowMs > notAfterMs) return `ended on ${new Date(notAfterMs).toISOString()}`;
  return nowMs < notBeforeMs ? `begins on ${new Date(notBeforeMs).toISOString()}` : null;
}

/** Letters, digits and hyphens, perhaps one wildcard. RFC 5280 section 4.2.1.6: host names of RFC 1123, where DNS itself has more. */
const NAME = /^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const NAME_LIMIT = 253;

/** Why nobody signs a certificate for `name` (in lower case), today or later; null: it is a name that one can be had for. */
export function certificateNameFault(name: string): string | null {
  if (NAME.test(name) && name.length <= NAME_LIMIT) return null;
  const reason = name.includes("_") ? ": names in certificates have no underscore (RFC 5280 section 4.2.1.6)" : "";
  return `no certificate can ever be had for ${JSON.stringify(name)}${reason}`;
}
