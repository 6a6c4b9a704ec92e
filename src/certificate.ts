// A certificate with its key, ready to be served.

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
