// An identity is what a token proved, once. It says where its bearer may go: to one desktop, or to some virtual machines.

type Proven = {
  /** First 8 hex digits of the token's SHA-256: the only trace of a token that may be written anywhere. */
  readonly tokenHash: string;
  /** Unix time in ms after which the token is worthless; Infinity for a token without `exp`. */
  readonly expiresAtMs: number;
};

/** Cached and shared by all requests that carry the same token. */
export type DesktopIdentity = Proven & {
  readonly kind: "desktop";
  /** Host name (lower case) or IP literal (IPv6 without brackets) of the pod: the decrypted `hash`. */
  readonly host: string;
};

export type VmIdentity = Proven & {
  readonly kind: "vm";
  /** A Kubernetes name (RFC 1123 label): fit to stand in a URL. */
  readonly namespace: string;
  /** The virtual machines that its bearer may see, as the token lists them: whatever strings the issuer wrote. */
  readonly vms: readonly string[];
};

export type Identity = DesktopIdentity | VmIdentity;

/** Which kind of token a route asks for. */
export type IdentityKind = Identity["kind"];
