// A gateway is a service that was registered at run time: one domain, and the backends behind it.

export type Backend = {
  /** IP literal, IPv6 without brackets. */
  readonly address: string;
  readonly port: number;
};

/** How a terminated gateway gets its certificate; the two names are those of the registry's files (seed 003). */
export type CertificateResolver =
  /** HTTP-01, one certificate for the domain. */
  | "resolver"
  /** DNS-01, one wildcard certificate for all names below the gateway's own domain. */
  | "dnsresolver";

export type Gateway = {
  /** Workload id: what registered it, and its file's name. */
  readonly id: string;
  /** What metrics call it; the workload id unless its file says otherwise. */
  readonly service: string;
  /** Lower case, without a trailing dot. */
  readonly fqdn: string;
  /** TLS goes to the backend untouched; otherwise it ends here and backends speak plain HTTP. */
  readonly isPassthrough: boolean;
  /** At least one. */
  readonly backends: readonly Backend[];
  /** null: a certificate from elsewhere (files, local authority), and always for passthrough. */
  readonly resolver: CertificateResolver | null;
  /** Names that the certificate is to have, where the file says so (`*.gent01.dev.grid.tf`); else empty: the fqdn. */
  readonly certificateNames: readonly string[];
};

/** Bytes by service, as the original's Metrics() names them. */
export type ServiceTotals = { readonly Request: Record<string, number>; readonly Response: Record<string, number> };

/** The four calls of the seed, done by whoever does them. What they throw is told to the caller word by word. */
export interface GatewayHandlers {
  /** @returns the domain that the name has now */
  setNamedProxy(wlID: string, prefix: string, backends: readonly string[], tlsPassthrough: boolean): Promise<string>;
  setFQDNProxy(wlID: string, fqdn: string, backends: readonly string[], tlsPassthrough: boolean): Promise<void>;
  /** @returns false when there was none, which is no error */
  deleteNamedProxy(wlID: string): Promise<boolean>;
  metrics(): ServiceTotals | Promise<ServiceTotals>;
}
