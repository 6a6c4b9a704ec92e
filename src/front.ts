// Everything that the program opens beyond plain HTTP: TLS with its certificates, the registry of gateways with the ways that
// lead to it (zbus, the admin API, files), and the DNS server for challenges. App starts it when its settings ask for any of
// this, and not otherwise: a plain router loads none of it.

import { join } from "node:path";
import { knownCaaIdentities } from "./acme/caa.ts";
import { AdminServer } from "./admin/server.ts";
import { readTokenFile } from "./admin/token-file.ts";
import { type Certificate, certificateNameFault } from "./certificate.ts";
import type { Clock } from "./certificate/clock.ts";
import { type CertificatePair, readCertificatePair } from "./certificate/files.ts";
import { isByWildcardOf } from "./certificate/read.ts";
import { Certificates } from "./certificates.ts";
import { DnsServer } from "./dns/server.ts";
import type { Admission } from "./entrypoint/admission.ts";
import { HttpsServers } from "./entrypoint/https.ts";
import { TlsFront, type TlsRoute } from "./entrypoint/tls.ts";
import type { Gateway, GatewayHandlers } from "./gateway.ts";
import type { Sweeper } from "./lib/deadlines.ts";
import { makeFault } from "./lib/file-fault.ts";
import type { Log } from "./lib/log.ts";
import { stallAt } from "./limits/minimum-rate.ts";
import { createExposition } from "./metrics/exposition.ts";
import { Meter } from "./metrics/meter.ts";
import type { HttpCache } from "./cache/http-cache.ts";
import { Edge } from "./proxy/edge.ts";
import { GatewayRoutes } from "./proxy/gateways.ts";
import type { Proxy } from "./proxy/proxy.ts";
import type { ServiceState } from "./proxy/services.ts";
import { GatewayCalls } from "./registry/calls.ts";
import { createDomainCheck } from "./registry/domain-check.ts";
import { isOwnListener } from "./registry/own-listener.ts";
import { Registry } from "./registry/registry.ts";
import { leadSomewhere, type Rules, rulesOf } from "./registry/rules.ts";
import type { GatewaySettings, ListenAddress, Settings } from "./settings.ts";
import type { TunnelAddress } from "./upstream/tunnel.ts";
import { ZbusServer } from "./zbus/server.ts";

/** A tunnel without a byte for this long is given up; probes find peers that vanished long before. */
const TUNNEL_IDLE_MS = 3_600_000;
/** Between the response head and the reads of a backend's body; workloads may think for a while. */
const BACKEND_READ_MS = 300_000;

/** A call is answered when its name can be served: the local authority takes milliseconds, and many names at once a little longer. */
const CERTIFICATE_WAIT_MS = 5000;

/** What the rest of the program knows, for metrics. */
export type ProgramCounts = {
  readonly requests: () => number;
  readonly sessions: () => number;
  readonly upstreamConnections: () => { readonly open: number; readonly idle: number };
  readonly services: () => readonly ServiceState[];
  readonly cache: () => HttpCache | null;
  readonly keyProblems: () => number;
  readonly isConfigRefused: () => boolean;
};

export class Front {
  readonly meter = new Meter();
  readonly gateways: GatewayRoutes | null;
  readonly edge: Edge;
  #servers: HttpsServers | null = null;
  #tls: TlsFront | null = null;
  #zbus: ZbusServer | null = null;
  #admin: AdminServer | null = null;

  private constructor(private readonly settings: Settings, private readonly log: Log, private readonly registry: Registry | null,
    private readonly certificates: Certificates | null, private readonly dns: DnsServer | null) {
    this.gateways = registry === null ? null : new GatewayRoutes(registry, BACKEND_READ_MS);
    const redirectPort = (): number | null => this.#redirectPort;
    this.edge = new Edge({
      gateways: this.gateways,
      challenge: (token) => certificates?.challenge(token) ?? null,
      certificateFor: (host) => this.#certificateFor(host),
      defaultName: settings.tls?.defaultName ?? null,
      // Known when it is bound.
      get redirectPort(): number | null { return redirectPort(); },
    });
  }

  /** Opens what has to be there before the first request. @throws Error; nothing is left open then */
  static async open(settings: Settings, log: Log, clock?: Clock): Promise<Front> {
    const { tls, gateway } = settings;
    let certificates: Certificates | null = null;
    let front: Front | null = null;
    const registry = gateway === null ? null : await openRegistry(gateway, rulesOf(gateway, {
      isReserved: reservation(settings, () => certificates),
      isOwnListener: (backend) => isOwnListener(backend, front === null ? listenersOf(settings) : front.#listeners),
    }), log);
    let dns: DnsServer | null = null;
    try {
      dns = gateway === null ? null : await openDns(gateway, settings, log);
      certificates = tls === null ? null : await Certificates.open({ tls, gateway, http: settings.http, zone: dns, caaIdentities: (names) => dns?.nameIssuers(names), log, clock });
      front = new Front(settings, log, registry, certificates, dns);
      front.#follow();
      return front;
    } catch (error) {
      registry?.close();
      await Promise.all([certificates?.close(), dns?.stop()]);
      throw error;
    }
  }

  /** Binds the addresses. @throws Error with the address in its message */
  listen(proxy: Proxy, sweeper: Sweeper, admission: Admission | null, counts: ProgramCounts): void {
    const { tls, gateway, admin } = this.settings;
    if (tls !== null) this.#listenTls(tls.https, proxy, sweeper, admission);
    const calls = this.registry === null || gateway === null ? null : this.#calls(this.registry, gateway);
    if (admin !== null) this.#listenAdmin(admin, calls, counts);
    if (calls !== null && gateway !== null && gateway.broker !== null) {
      this.#zbus = new ZbusServer({ broker: gateway.broker, handlers: calls, log: this.log });
      this.#zbus.start();
    }
    this.log.info("listening", { ...this.addresses, gateways: this.registry?.gateways.size ?? 0 });
  }

  /** Where it can be reached. */
  get addresses(): { readonly https?: string; readonly admin?: string } {
    return { ...(this.#tls === null ? {} : { https: `https://localhost:${this.#tls.port}` }), ...(this.#admin === null ? {} : { admin: this.#admin.url }) };
  }

  /** What a drain waits for: answers, and passed-through bytes, that are still on their way. */
  get pending(): number {
    return Math.max(this.#servers?.pending ?? 0, this.#tls?.busy ?? 0);
  }

  /** New certificates, new calls and new connections end; what runs goes on. Resolves when the calls that run are answered. */
  async stopAccepting(): Promise<void> {
    this.#tls?.stopAccepting();
    this.#servers?.stopAccepting();
    await Promise.all([this.#zbus?.stop(), this.#admin?.stop()]);
  }

  /** Cuts what is left. */
  async stop(): Promise<void> {
    this.#tls?.stop();
    await Promise.all([this.#zbus?.stop(), this.#admin?.stop(), this.#servers?.stop(), this.certificates?.close(), this.dns?.stop()]);
    this.registry?.close();
  }

  get #redirectPort(): number | null {
    return this.settings.tls?.redirect === true ? this.#tls?.port ?? null : null;
  }

  /** As they are bound: the kernel may have chosen the ports. */
  get #listeners(): readonly ListenAddress[] {
    return listenersOf(this.settings, this.#tls?.port, this.#admin?.port);
  }

  #listenTls(listen: { readonly host: string; readonly port: number }, proxy: Proxy, sweeper: Sweeper, admission: Admission | null): void {
    const servers = new HttpsServers(this.settings, proxy);
    this.#servers = servers;
    this.#tls = new TlsFront({
      listen, admission, servers, stall: stallAt(this.settings.limits.minimumRate), connectTimeoutMs: this.settings.upstream.connectTimeoutMs, tunnelIdleTimeoutMs: TUNNEL_IDLE_MS,
      route: (serverName) => this.#route(serverName),
      failed: (backend) => this.gateways?.failed(backend),
      moved: (service, bytesIn, bytesOut) => this.meter.moved(service, { code: "0", method: "", protocol: "tcp" }, bytesIn, bytesOut),
      log: {
        tunnelled: ({ client, serverName, service, target, bytesIn, bytesOut, durationMs, reason }) => this.log.record("tunnel", {
          client, server_name: serverName, service, target, bytes_in: bytesIn, bytes_out: bytesOut, duration_ms: Math.round(durationMs), ...(reason === null ? {} : { reason }),
        }),
        refused: (client, serverName, reason) => this.log.record("tls refused", { client, ...(serverName === null ? {} : { server_name: serverName }), reason }),
      },
    }, sweeper);
    this.certificates?.set.onChange(() => servers.keep(this.certificates?.set.all() ?? []));
  }

  #listenAdmin(admin: NonNullable<Settings["admin"]>, calls: GatewayHandlers | null, counts: ProgramCounts): void {
    const { registry } = this;
    this.#admin = new AdminServer(admin.listen, {
      token: admin.tokenFile === null ? null : readTokenFile(admin.tokenFile), hostNames: [],
      gateways: registry === null || calls === null ? null : { calls, registry },
      certificates: () => this.certificates?.states() ?? [],
      services: counts.services,
      cache: { stats: () => counts.cache()?.stats() ?? null, purge: (selector) => counts.cache()?.purge("all" in selector ? {} : selector) ?? 0 },
      metrics: createExposition({
        ...counts, cache: () => counts.cache()?.stats() ?? null, meter: this.meter, gateways: () => registry?.list() ?? [], registryProblems: () => registry?.problems.size ?? 0,
        certificates: () => this.certificates?.states() ?? [],
      }),
      health: () => ({ status: "ok", gateways: registry?.gateways.size ?? 0, ...(this.#zbus === null ? {} : { zbus: this.#zbus.isConnected }) }),
      log: this.log,
    });
  }

  #calls(registry: Registry, { domain, publicAddresses, checkDomains }: GatewaySettings): GatewayHandlers {
    const isChecked = checkDomains && publicAddresses.length > 0;
    if (checkDomains && !isChecked) this.log.warn("domains are registered wherever they point: no public address is configured to compare with (gateway.publicAddresses, or --public-address)");
    const checkDomain = isChecked ? createDomainCheck({ publicAddresses, servers: this.settings.dns.nameservers }) : null;
    const calls = new GatewayCalls({ registry, domain, rules: registry.rules, checkDomain, meter: this.meter });
    return {
      setNamedProxy: async (...given) => {
        const fqdn = await calls.setNamedProxy(...given);
        await this.#certified(fqdn);
        return fqdn;
      },
      setFQDNProxy: async (...given) => {
        await calls.setFQDNProxy(...given);
        await this.#certified(given[1].toLowerCase());
      },
      deleteNamedProxy: (wlID) => calls.deleteNamedProxy(wlID),
      metrics: () => calls.metrics(),
    };
  }

  /** Whoever called goes on to open the name. From a CA its certificate takes longer than a caller waits. */
  async #certified(fqdn: string): Promise<void> {
    const gateway = this.registry?.gateways.get(fqdn);
    if (this.settings.tls?.localAuthority == null || gateway?.isPassthrough !== false) return;
    const { certificateNames: [name = fqdn] } = gateway;
    // Nobody signs it, today or later: an underscore, say.
    if (certificateNameFault(name) !== null) return;
    await this.certificates?.found(fqdn, CERTIFICATE_WAIT_MS);
  }

  /** What the registry says decides about certificates and about whose series are kept. */
  #follow(): void {
    const { registry } = this;
    const follow = (gateways: ReadonlyMap<string, Gateway>): void => {
      this.certificates?.want(gateways.values());
      this.meter.follow([...gateways.values()].map(({ service }) => service));
    };
    follow(registry?.gateways ?? new Map());
    registry?.onChange(follow);
  }

  #route(serverName: string | null): TlsRoute | null {
    const gateway = serverName === null ? undefined : this.registry?.gateways.get(serverName);
    if (gateway?.isPassthrough === true) return { kind: "passthrough", service: gateway.service, backends: this.#inTurn(gateway) };
    const certificate = (serverName === null ? null : this.#certificateFor(serverName)) ?? this.#defaultCertificate();
    if (certificate !== null) return { kind: "terminate", certificate };
    return gateway === undefined ? null : { kind: "uncertified" };
  }

  #inTurn(gateway: Gateway): readonly TunnelAddress[] {
    return this.gateways?.targets({ kind: "gateway", name: gateway.service, gateway }) ?? gateway.backends;
  }

  /** The wildcard of the gateway's own domain is for the names that are registered below it, not for whatever else it covers. */
  #certificateFor(name: string): Certificate | null {
    const gateway = this.registry?.gateways.get(name);
    if (gateway?.isPassthrough === true) return null;
    const found = this.certificates?.find(name) ?? null;
    if (found === null || gateway !== undefined) return found;
    return isByWildcardOf(found, name, this.settings.gateway?.domain ?? null) ? null : found;
  }

  #defaultCertificate(): Certificate | null {
    const name = this.settings.tls?.defaultName ?? null;
    return name === null ? null : this.certificates?.find(name) ?? null;
  }
}

function listenersOf({ http, tls, admin }: Settings, httpsPort = tls?.https.port, adminPort = admin?.listen.port): readonly ListenAddress[] {
  return [http, ...(tls === null ? [] : [{ ...tls.https, port: httpsPort ?? 0 }]), ...(admin === null ? [] : [{ ...admin.listen, port: adminPort ?? 0 }])];
}

/**
 * The hosts of our own routes are those that the operator has certificates for, by name: a wildcard may be for workloads. Certificate files
 * change while we run, and what is registered then stays. Without routes that lead somewhere the certificates are for whatever is registered.
 */
function reservation({ routes, tls }: Settings, certificates: () => Certificates | null): (fqdn: string) => boolean {
  if (tls === null || !leadSomewhere(routes)) return () => false;
  const names = new Set([...tls.names, tls.defaultName]);
  // The registry is read before the certificates are opened.
  const atStart = new Set(tls.files.flatMap(namesIn));
  return (fqdn) => names.has(fqdn) || (certificates()?.fileNames ?? atStart).has(fqdn);
}

function namesIn(pair: CertificatePair): readonly string[] {
  try {
    return readCertificatePair(pair).names;
  } catch {
    return []; // Told when it is opened to be served.
  }
}

async function openRegistry({ root, domain }: GatewaySettings, rules: Rules, log: Log): Promise<Registry> {
  const directory = join(root, "proxy");
  try {
    return await Registry.open({
      directory, domain, rules,
      log: {
        problem: (file, message) => log.error("registry file cannot be used", { file, reason: message }),
        solved: (file) => log.info("registry file can be used again", { file }),
        removed: (file) => log.info("registry file that could not be used is gone", { file }),
      },
    });
  } catch (cause) {
    throw new Error(`cannot use the registry ${directory}: ${makeFault(cause)}`, { cause });
  }
}

async function openDns({ dns, domain, publicAddresses }: GatewaySettings, settings: Settings, log: Log): Promise<DnsServer | null> {
  if (dns === null || domain === null) return null;
  const server = new DnsServer({
    ...dns, zone: `_acme-challenge.${domain}`, nameserver: domain, addresses: publicAddresses,
    caaIssuers: knownCaaIdentities(settings.tls?.acme?.directoryUrl ?? ""),
  });
  const { port } = await server.start();
  log.info("answering DNS-01 challenges", { zone: `_acme-challenge.${domain}`, port });
  return server;
}
