// The servers behind the TLS front: one Bun.serve on loopback for each certificate that is in use. Bun.serve has no callback
// for server names and cannot change its certificates, so a changed certificate is another server; the old one takes no new
// connections and lives until its last one has ended.

import type { Certificate } from "../certificate.ts";
import type { ClientLeg } from "../proxy/session.ts";
import type { GatewayServer, Proxy } from "../proxy/proxy.ts";
import type { Settings } from "../settings.ts";
import { AnnouncedClients, LOOPBACK, misdirected } from "./announced.ts";
import { serverOptions } from "./http.ts";

/** TLS 1.2 with forward secrecy and AEAD; 1.3 has nothing else (RFC 9325 section 4.2). */
export const CIPHERS = [
  "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");

/** What they speak, by ALPN (RFC 7301); clients that offer something else only mean another service (ALPACA, CVE-2021-3618). */
export const PROTOCOLS: ReadonlySet<string> = new Set(["h2", "http/1.1", "http/1.0"]);

/** Certificates that are served at a time; what was not asked for the longest is retired, and comes back when it is. */
const SERVERS = 1000;

export class HttpsServers {
  /** By fingerprint, least recently used first. */
  readonly #servers = new Map<string, CertificateServer>();
  /** Retired ones that still have connections are among these. */
  readonly #open = new Set<CertificateServer>();
  #isStopping = false;

  /** @param limit of certificates that are served at a time */
  constructor(private readonly settings: Settings, private readonly proxy: Proxy, private readonly limit: number = SERVERS) {}

  /** Servers that are open, the retired ones included. */
  get size(): number {
    return this.#open.size;
  }

  /** Requests whose answers are not wholly on their way to the front. */
  get pending(): number {
    return [...this.#open].reduce((sum, server) => sum + server.pending, 0);
  }

  /**
   * The server of this certificate, with a place taken for one connection: who takes it has to leave.
   * @throws Error when the key does not fit, and during a shutdown
   */
  enter(certificate: Certificate): CertificateServer {
    if (this.#isStopping) throw new Error("shutting down");
    const { fingerprint } = certificate;
    const server = this.#servers.get(fingerprint) ?? this.#serve(certificate);
    this.#servers.delete(fingerprint);
    this.#servers.set(fingerprint, server);
    server.enter();
    if (this.#servers.size > this.limit) this.#retire(this.#servers.keys().next().value as string);
    return server;
  }

  /** Certificates that are not among these take no new connections. */
  keep(certificates: Iterable<Certificate>): void {
    const kept = new Set([...certificates].map(({ fingerprint }) => fingerprint));
    for (const fingerprint of [...this.#servers.keys()]) if (!kept.has(fingerprint)) this.#retire(fingerprint);
  }

  /** No new connections; requests that run go on, idle connections are closed. */
  stopAccepting(): void {
    this.#isStopping = true;
    for (const server of this.#open) void server.stop(false);
  }

  /** Cuts what is left. */
  async stop(): Promise<void> {
    this.stopAccepting();
    await Promise.all([...this.#open].map((server) => server.stop(true)));
  }

  #serve(certificate: Certificate): CertificateServer {
    const server = new CertificateServer(this.settings, this.proxy, certificate, () => this.#open.delete(server));
    this.#open.add(server);
    return server;
  }

  #retire(fingerprint: string): void {
    this.#servers.get(fingerprint)?.retire();
    this.#servers.delete(fingerprint);
  }
}

/** The server of one certificate: knows whom each of its connections stands for, and once retired ends with the last of them. */
export class CertificateServer {
  readonly #server: GatewayServer;
  readonly #clients = new AnnouncedClients();
  #places = 0;
  #isRetired = false;

  constructor(settings: Settings, proxy: Proxy, certificate: Certificate, private readonly ended: () => void) {
    this.#server = Bun.serve<ClientLeg>({
      ...serverOptions(settings),
      hostname: LOOPBACK, port: 0, http2: true,
      tls: { cert: certificate.certPem, key: certificate.keyPem, ciphers: CIPHERS } as Bun.TLSOptions,
      fetch: (request, server) => {
        const client = this.#clients.of(server.requestIP(request));
        return client === undefined ? misdirected() : proxy.handle(request, server, client, certificate);
      },
    });
  }

  get address(): { readonly address: string; readonly port: number } {
    return { address: LOOPBACK, port: this.#server.port as number };
  }

  get pending(): number {
    return this.#server.pendingRequests;
  }

  enter(): void {
    this.#places += 1;
  }

  /** The connection that was entered for stands for this client. @param localPort that it comes from */
  announce(localPort: number, client: string): void {
    this.#clients.announce(localPort, client);
  }

  /** @param localPort null: it never came to a connection */
  leave(localPort: number | null): void {
    if (localPort !== null) this.#clients.forget(localPort);
    this.#places -= 1;
    this.#endIfEmpty();
  }

  retire(): void {
    this.#isRetired = true;
    this.#endIfEmpty();
  }

  async stop(cuts: boolean): Promise<void> {
    await this.#server.stop(cuts);
  }

  #endIfEmpty(): void {
    if (!this.#isRetired || this.#places > 0) return;
    this.ended();
    // Not earlier: it would close idle connections, on which a client may be about to ask.
    void this.#server.stop(false);
  }
}
