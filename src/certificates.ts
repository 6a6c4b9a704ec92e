// Where certificates come from, joined: files, an authority of our own, and a CA asked by ACME, all into one set. Which names are
// wanted follows from the configuration and from what is registered; nothing else is ever asked for.

import { createHash } from "node:crypto";
import { join } from "node:path";
import { fileNameOf } from "./acme/account.ts";
import { AcmeClient } from "./acme/client.ts";
import { DnsSolver, type DnsZone } from "./acme/dns-solver.ts";
import { ExecSolver } from "./acme/exec-solver.ts";
import { HttpSolver } from "./acme/http-solver.ts";
import { assertProgram } from "./acme/program.ts";
import { readRoot } from "./acme/root.ts";
import type { ChallengeSolver } from "./acme/solver.ts";
import type { CertificateState as ShownState } from "./admin/answers.ts";
import { type Certificate, dateFault } from "./certificate.ts";
import { LocalAuthority } from "./certificate/authority.ts";
import { CertificateSet } from "./certificate/certificate-set.ts";
import { type Clock, systemClock } from "./certificate/clock.ts";
import { CertificateFiles } from "./certificate/files.ts";
import { type CertificateIssuer, Renewal } from "./certificate/renewal.ts";
import { CertificateStore } from "./certificate/store.ts";
import type { CertificateResolver, Gateway } from "./gateway.ts";
import type { Log } from "./lib/log.ts";
import { storageFault } from "./lib/private-directory.ts";
import { within } from "./lib/within.ts";
import type { AcmeSettings, Settings, TlsSettings } from "./settings.ts";

/** The seed's two resolvers: each has its own account and its own store. */
const RESOLVERS = ["resolver", "dnsresolver"] as const;

export type CertificatesOptions = {
  readonly tls: TlsSettings;
  readonly gateway: Settings["gateway"];
  /** Where HTTP-01 challenges are answered. */
  readonly http: Settings["http"];
  /** Where DNS-01 challenges are answered by ourselves; null: nowhere. */
  readonly zone: DnsZone | null;
  /** What the CA is called in CAA records, as soon as it has said so itself. */
  caaIdentities?(names: readonly string[]): void;
  readonly log: Log;
  /** By which certificates are renewed. */
  readonly clock?: Clock | undefined;
};

/** Of more names than this, those that are not registered any more lose their count; until then they may come back: counters don't fall. */
const COUNTED_LIMIT = 10_000;

/** What one resolver keeps, and how many attempts of it failed: by name, since the start. */
type Resolver = { readonly renewal: Renewal; readonly failures: Map<string, number> };

export class Certificates {
  readonly set: CertificateSet;
  readonly #files: CertificateFiles;
  readonly #http = new HttpSolver();
  readonly #resolvers = new Map<CertificateResolver, Resolver>();

  private constructor(private readonly options: CertificatesOptions) {
    const { log, clock = systemClock } = options;
    this.set = new CertificateSet(() => clock.now());
    this.#files = new CertificateFiles(options.tls.files, this.set, {
      loaded: ({ certFile }, certificate) => {
        const fault = dateFault(certificate, this.#now());
        const fields = { file: certFile, names: certificate.names.join(" "), expires: new Date(certificate.notAfterMs).toISOString() };
        if (fault === null) log.info("certificate loaded", fields);
        else log.warn("certificate loaded that clients refuse", { ...fields, reason: `it ${fault}` });
      },
      broken: ({ certFile }, reason) => log.error("certificate cannot be used", { file: certFile, reason }),
    });
  }

  /** Resolves when what is in the stores is served. @throws Error when the local authority cannot be used */
  static async open(options: CertificatesOptions): Promise<Certificates> {
    const certificates = new Certificates(options);
    const { tls, log } = options;
    try {
      const authority = tls.localAuthority === null ? null : await openAuthority(tls.localAuthority);
      if (authority === null && tls.acme !== null) sayWhereNothingIsKept(tls.acme.storage, log);
      if (authority !== null) log.info("local certificate authority", { ca: authority.caFile });
      for (const resolver of RESOLVERS) {
        const issuer = authority === null ? certificates.#acme(resolver) : { issue: (names: readonly string[]) => authority.issue(names) };
        if (issuer !== null) await certificates.#renew(resolver, issuer, authority?.id ?? fileNameOf(tls.acme?.directoryUrl ?? ""));
      }
      return certificates;
    } catch (error) {
      await certificates.close();
      throw error;
    }
  }

  /** What is registered now. */
  want(gateways: Iterable<Gateway>): void {
    const wanted: Record<CertificateResolver, Set<string>> = { resolver: new Set(this.options.tls.names), dnsresolver: new Set() };
    for (const { isPassthrough, resolver, certificateNames, fqdn } of gateways) {
      if (!isPassthrough && resolver !== null) for (const name of certificateNames.length > 0 ? certificateNames : [fqdn]) wanted[resolver].add(name);
    }
    for (const [resolver, { renewal, failures }] of this.#resolvers) {
      for (const name of failures.keys()) if (failures.size > COUNTED_LIMIT && !wanted[resolver].has(name)) failures.delete(name);
      renewal.want(wanted[resolver]);
    }
  }

  /** The answer to a running HTTP-01 challenge. */
  challenge(token: string): string | null {
    return this.#http.challenge(token);
  }

  /** Of the certificates from files, as they are now. */
  get fileNames(): ReadonlySet<string> {
    return this.#files.names;
  }

  find(serverName: string): Certificate | null {
    return this.set.find(serverName);
  }

  /** Resolves when there is a certificate for this name, or after `limitMs`. */
  async found(serverName: string, limitMs: number): Promise<void> {
    if (this.find(serverName) !== null) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const forget = this.set.onChange(() => { if (this.find(serverName) !== null) resolve(); });
    await within(promise, limitMs);
    forget();
  }

  /** For the API and metrics: everything that is served or wanted, and every pair of files, whether it can be served or not. */
  states(): ShownState[] {
    const renewed = [...this.#resolvers.values()].flatMap(({ renewal, failures }) => renewal.states().map((state) => ({ state, failures: failures.get(state.name) })));
    return [
      ...this.#files.states(this.#now()).map(({ certFile, certificate, problem }) => ({
        file: certFile, names: certificate?.names ?? [], issuer: certificate?.issuer ?? null, notAfterMs: certificate?.notAfterMs ?? null, nextRenewalMs: null, lastError: problem, failures: 0,
      })),
      ...renewed.map(({ state: { names, issuer, notAfterMs, nextMs, error, errorMs }, failures = 0 }) => ({
        file: null, names, issuer, notAfterMs, nextRenewalMs: Number.isFinite(nextMs) ? nextMs : null, failures,
        lastError: error === null || errorMs === null ? null : { message: error, atMs: errorMs },
      })),
    ];
  }

  async close(): Promise<void> {
    this.#files.close();
    await Promise.all([...this.#resolvers.values()].map(({ renewal }) => renewal.stop()));
  }

  #now(): number {
    return (this.options.clock ?? systemClock).now();
  }

  /** @param authority after a change of it (from a staging one, say) the other's certificates are not served on */
  async #renew(resolver: CertificateResolver, issuer: CertificateIssuer, authority: string): Promise<void> {
    const { log, tls, clock = systemClock } = this.options;
    const failures: Resolver["failures"] = new Map();
    const renewal = new Renewal({
      store: new CertificateStore(join(this.#directory(tls), resolver, "certificates", authority)),
      certificates: this.set, issuer, clock, setup: setupOf(this.options),
      isCovered: (name, untilMs) => !tls.names.includes(name) && this.#files.cover(name, untilMs),
      events: {
        issued: (name, { notAfterMs }) => log.info("certificate issued", { name, expires: new Date(notAfterMs).toISOString() }),
        failed: (name, error, retryMs) => {
          failures.set(name, (failures.get(name) ?? 0) + 1);
          log.error("certificate not obtained", { name, reason: error.message, ...(retryMs === null ? {} : { retry_s: Math.round(retryMs / 1000) }) });
        },
        resumed: (name, { reason }, waitMs, path) => log.warn("certificate waits for its next attempt", { name, reason, retry_s: Math.round(waitMs / 1000), file: path }),
        problem: ({ path, reason }) => log.error("certificate store", { path, reason }),
      },
    });
    this.#resolvers.set(resolver, { renewal, failures });
    await renewal.start();
  }

  #directory({ acme, localAuthority }: TlsSettings): string {
    return localAuthority ?? acme?.storage ?? "";
  }

  /** null: nothing is asked of a CA. @throws Error for a file that is not there: better at the start than at the first order */
  #acme(resolver: CertificateResolver): CertificateIssuer | null {
    const { acme } = this.options.tls;
    if (acme === null) return null;
    const caPem = acme.caFile === null ? null : readRoot(acme.caFile);
    const challenge = resolver === "resolver" ? "http-01" : "dns-01";
    const solver = resolver === "resolver" ? this.#http : this.#dnsSolver();
    if (solver === null) return { issue: () => Promise.reject(new Error("no way to answer DNS-01 challenges is configured (gateway.dns, or gateway.challengeProgram)")) };
    let client: AcmeClient | null = null;
    return {
      issue: (names, signal) => {
        const foreign = solver instanceof DnsSolver ? names.find((name) => !this.#isInZone(name)) : undefined;
        if (foreign !== undefined) return Promise.reject(new Error(`our DNS server answers challenges of ${this.options.gateway?.domain} only (for ${foreign}: gateway.challengeProgram)`));
        client ??= this.#client(acme, resolver, caPem);
        return client.order(names, challenge, solver, signal);
      },
    };
  }

  /** For other domains the CA would look elsewhere, and count an order that cannot succeed. */
  #isInZone(name: string): boolean {
    return name.replace("*.", "") === this.options.gateway?.domain;
  }

  #dnsSolver(): ChallengeSolver | null {
    const program = this.options.gateway?.challengeProgram ?? null;
    if (program !== null) {
      assertProgram(program);
      return new ExecSolver({ program });
    }
    return this.options.zone === null ? null : new DnsSolver(this.options.zone);
  }

  #client(acme: AcmeSettings, resolver: CertificateResolver, caPem: string | null): AcmeClient {
    const { log, caaIdentities } = this.options;
    return new AcmeClient({
      directoryUrl: acme.directoryUrl, directory: join(acme.storage, resolver), email: acme.email,
      caPem,
      keyType: acme.keyType === "rsa-2048" ? "rsa" : "ecdsa",
      caaIdentities: (names) => { if (names.length > 0) caaIdentities?.(names); },
      cleanupFailed: (identifier, error) => log.warn("a challenge could not be taken away", { identifier, reason: error.message }),
    });
  }
}

/** At the start, rather than at the first order, which may be months away. */
function sayWhereNothingIsKept(storage: string, log: Log): void {
  const reason = storageFault(storage);
  if (reason !== null) log.error("certificates cannot be kept", { setting: "tls.acme.storage", directory: storage, reason });
}

async function openAuthority(directory: string): Promise<LocalAuthority> {
  try {
    return await LocalAuthority.open({ directory });
  } catch (cause) {
    throw new Error(`cannot open the local authority: ${(cause as Error).message}`, { cause });
  }
}

/** What is changed by whoever mends a challenge. */
function setupOf({ tls: { acme }, gateway, http }: CertificatesOptions): string {
  const answering = { acme, http, domain: gateway?.domain, dns: gateway?.dns, publicAddresses: gateway?.publicAddresses, challengeProgram: gateway?.challengeProgram };
  return createHash("sha256").update(JSON.stringify(answering)).digest("hex").slice(0, 16);
}
