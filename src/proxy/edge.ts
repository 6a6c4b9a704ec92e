// What stands before the table: services that are found by host, answers to ACME challenges, and which requests belong to TLS.
// With no certificates and no gateways there is none of it.

import type { Certificate } from "../certificate.ts";
import { isFor } from "../certificate/read.ts";
import { RouteError } from "../errors.ts";
import type { Match } from "../router/router.ts";
import { type GatewayRoutes, hostName } from "./gateways.ts";
import type { ClientRequest } from "./request.ts";

const CHALLENGES = "/.well-known/acme-challenge/";

export type EdgeOptions = {
  readonly gateways: GatewayRoutes | null;
  /** The key authorization of a running HTTP-01 challenge (RFC 8555 section 8.3); null: there is none. */
  challenge(token: string): string | null;
  /** What a host is served with; null: no certificate has it. */
  certificateFor(host: string): Certificate | null;
  /** Whose certificate clients get that ask for a host without one; null: none. */
  readonly defaultName: string | null;
  /** Plain requests for hosts that have a certificate go to https, at this port; null: they are served as they are. */
  readonly redirectPort: number | null;
};

export class Edge {
  constructor(private readonly options: EdgeOptions) {}

  /** The answer to a challenge, for plain requests; null when it is none of ours. */
  challenge(request: ClientRequest): string | null {
    return request.path.startsWith(CHALLENGES) ? this.options.challenge(request.path.slice(CHALLENGES.length)) : null;
  }

  /**
   * The gateway of the request's host, or null: the table decides.
   * @param certificate that the connection was opened with; null for plain HTTP
   * @throws RouteError moved to https; misdirected: the host is not served on this connection; not_found: nor without TLS
   */
  match(request: ClientRequest, certificate: Certificate | null): Match | null {
    const match = this.options.gateways?.match(request.host) ?? null;
    const service = match?.route.service;
    // Its backends speak TLS themselves and get whole connections, by server name; a request that came otherwise is not theirs.
    const isPassthrough = service?.kind === "gateway" && service.gateway.isPassthrough;
    if (certificate === null) this.#redirect(request, match);
    else this.#checkHost(hostName(request.host), certificate, match, isPassthrough);
    if (isPassthrough) throw new RouteError("not_found", "the service is served through TLS only");
    return match;
  }

  /** Only to hosts that are ours: a Host of somebody's own making would make us point anywhere. */
  #redirect(request: ClientRequest, match: Match | null): void {
    const { redirectPort } = this.options;
    const host = hostName(request.host);
    if (redirectPort === null || (match === null && this.options.certificateFor(host) === null)) return;
    const port = redirectPort === 443 ? "" : `:${redirectPort}`;
    const location = `https://${host}${port}${request.path}${request.query === "" ? "" : `?${request.query}`}`;
    throw new RouteError("moved", "https is served at another address", { location });
  }

  /**
   * RFC 9110 section 7.4: a client may reuse a connection for names of one certificate only. By name rather than by fingerprint,
   * because a connection outlives the renewal of its certificate. A workload that has none, yet or ever, is not reached by others' either,
   * but for the default one, which its own clients get.
   */
  #checkHost(host: string, certificate: Certificate, match: Match | null, isPassthrough: boolean): void {
    const own = this.options.certificateFor(host);
    const isElsewhere = own === null ? match !== null && !this.#standsFor(certificate, host) : !certificate.names.includes(nameFor(host, own));
    if (isPassthrough || isElsewhere) {
      throw new RouteError("misdirected", "the host belongs to another certificate");
    }
  }

  #standsFor(certificate: Certificate, host: string): boolean {
    const { defaultName } = this.options;
    return isFor(certificate, host) || (defaultName !== null && isFor(certificate, defaultName));
  }
}

/** The name by which a certificate has this host: itself, or the wildcard above it. */
function nameFor(host: string, { names }: Certificate): string {
  return names.includes(host) ? host : `*${host.slice(host.indexOf("."))}`;
}
