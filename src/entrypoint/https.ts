// The servers behind the TLS front: one Bun.serve on loopback for each certificate that is in use. Bun.serve has no callback
// for server names and cannot change its certificates, so a changed certificate is another server; the old one takes no new
// connections and lives until its last one has ended.
//
// The client's address is lost on the way through loopback; the front tells us by the port that its connection comes from.

import type { Certificate } from "../certificate.ts";
import type { ClientLeg } from "../proxy/session.ts";
import type { GatewayServer, Proxy } from "../proxy/proxy.ts";
import type { Settings } from "../settings.ts";
import { serverOptions } from "./http.ts";

/** TLS 1.2 with forward secrecy and AEAD; 1.3 has nothing else (RFC 9325 section 4.2). */
export const CIPHERS = [
  "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");

/** Certificates that are served at a time; what was not asked for the longest is closed, and comes back when it is. */
const SERVERS = 1000;

type Inner = { readonly server: GatewayServer; readonly certificate: Certificate };

export class HttpsServers {
  /** By fingerprint, least recently used first. */
  readonly #servers = new Map<string, Inner>();
  /** Our side's port of each connection through the front → the client's address. */
  readonly #peers = new Map<number, string>();
  readonly #old = new Set<GatewayServer>();

  constructor(private readonly settings: Settings, private readonly proxy: Proxy) {}

  /** The loopback port where this certificate is served. */
  portFor(certificate: Certificate): number {
    const known = this.#servers.get(certificate.fingerprint);
    const inner = known ?? { certificate, server: this.#serve(certificate) };
    this.#servers.delete(certificate.fingerprint);
    this.#servers.set(certificate.fingerprint, inner);
    if (known === undefined && this.#servers.size > SERVERS) this.#retire(this.#servers.keys().next().value as string);
    return inner.server.port as number;
  }

  /** A connection to one of our ports stands for a client. @param localPort that it comes from */
  announce(localPort: number, client: string): void {
    this.#peers.set(localPort, client);
  }

  forget(localPort: number): void {
    this.#peers.delete(localPort);
  }

  /** Certificates that are not among these take no new connections. */
  keep(certificates: Iterable<Certificate>): void {
    const kept = new Set([...certificates].map(({ fingerprint }) => fingerprint));
    for (const fingerprint of [...this.#servers.keys()]) if (!kept.has(fingerprint)) this.#retire(fingerprint);
  }

  stopAccepting(): void {
    for (const fingerprint of [...this.#servers.keys()]) this.#retire(fingerprint);
  }

  /** Cuts what is left. */
  async stop(): Promise<void> {
    this.stopAccepting();
    await Promise.all([...this.#old].map((server) => server.stop(true)));
    this.#peers.clear();
  }

  #serve(certificate: Certificate): GatewayServer {
    return Bun.serve<ClientLeg>({
      ...serverOptions(this.settings),
      hostname: "127.0.0.1", port: 0, http2: true,
      tls: { cert: certificate.certPem, key: certificate.keyPem, ciphers: CIPHERS } as Bun.TLSOptions,
      fetch: (request, server) => {
        const client = this.#peers.get(server.requestIP(request)?.port ?? 0);
        // Somebody on this machine who did not come through the front: nobody's request.
        if (client === undefined) return new Response("misdirected request\n", { status: 421 });
        return this.proxy.handle(request, server, client, certificate);
      },
    });
  }

  #retire(fingerprint: string): void {
    const inner = this.#servers.get(fingerprint);
    if (inner === undefined) return;
    this.#servers.delete(fingerprint);
    this.#old.add(inner.server);
    void inner.server.stop(false).then(() => this.#old.delete(inner.server));
  }
}
