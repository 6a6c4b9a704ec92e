// An identity is what a token proved, once. It is cached and shared by all requests that carry the same token.

export type DesktopIdentity = {
  readonly kind: "desktop";
  /** Host name (lower case) or IP literal (IPv6 without brackets) of the pod: the decrypted `hash`. */
  readonly host: string;
  /** First 8 hex digits of the token's SHA-256: the only trace of a token that may be written anywhere. */
  readonly tokenHash: string;
  /** Unix time in ms after which the token is worthless; Infinity for a token without `exp`. */
  readonly expiresAtMs: number;
};

export type Identity = DesktopIdentity;
