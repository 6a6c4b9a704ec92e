// The servers of one fixed service as they are now: their addresses, who takes the next request, who is left alone, how many
// requests are under way. Lives as long as its part of the configuration stays as it is, so that a reload of something else
// forgets nothing.

import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { AddressWatch } from "../balance/address-watch.ts";
import { Balancer, type Member } from "../balance/balancer.ts";
import { Gate } from "../balance/gate.ts";
import { hashKey } from "../balance/hash-key.ts";
import { HealthChecks } from "../balance/health-checks.ts";
import { RetryBudget } from "../balance/retry-budget.ts";
import { StickyCookie } from "../balance/sticky.ts";
import { hostForUrl } from "../lib/address.ts";
import { fileFault } from "../lib/file-fault.ts";
import type { Log } from "../lib/log.ts";
import type { Sweeper } from "../lib/deadlines.ts";
import { type FixedService, type HealthSettings, type ServerTrust, type ServiceServer, serverUrlOf } from "../service.ts";
import { plainTarget, type Target } from "../target.ts";
import type { NameResolver } from "../upstream/dns.ts";
import { type Attempts, isUnanswered, isUnsent, noServer, type Waiter } from "./attempts.ts";
import type { Client } from "./client.ts";
import { Place } from "./place.ts";
import type { ProbeServer } from "./probe.ts";
import type { ClientRequest } from "./request.ts";

/** What servers are made with. */
export type ServerParts = { readonly names: NameResolver; readonly probe: ProbeServer; readonly log: Log; readonly sweeper: Sweeper };

export type ServerTarget = Target & Member;

export class Servers {
  readonly balancer: Balancer<ServerTarget>;
  readonly gate: Gate | null;
  readonly budget: RetryBudget;
  readonly sticky: StickyCookie | null;
  #checks: HealthChecks<ServerTarget> | null = null;
  readonly #watches: AddressWatch[] = [];
  #isStarted = false;
  readonly #ca: string | null;
  /** What each server of the file is now: itself, or the addresses of its name. */
  readonly #members: ServerTarget[][];

  /** @throws Error when the CA file cannot be read */
  constructor(readonly service: FixedService, private readonly parts: ServerParts) {
    const { servers, trust, policy, ejection, limits } = service;
    const ca = this.#ca = readCa(service.name, trust, servers);
    // Until names are resolved, a name is one server, and the system's resolver finds it.
    this.#members = servers.map((server) => [serverTarget(service.name, server, trust, ca, null)]);
    const sticky = this.sticky = policy.kind === "sticky" ? new StickyCookie(service.name, policy.cookie, policy.secret) : null;
    this.balancer = new Balancer(this.#members.flat(), {
      policy, ejection, ...(sticky === null ? {} : { idOf: (key: string) => sticky.idOf(key) }),
      ejected: (server, forMs) => parts.log.warn("server is left alone after failures", { service: service.name, server, for_s: Math.round(forMs / 1000) }),
    });
    this.gate = limits.maxConnections === 0 ? null : new Gate(limits, parts.sweeper);
    this.budget = new RetryBudget(service.retryBudgetPercent);
  }

  /** Begins to ask: names, and servers how they are. Once: a service that stays goes on. */
  start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    const { health, resolveAll, servers } = this.service;
    if (health !== null) this.#checks = this.#check(health);
    if (resolveAll) for (const [index, server] of servers.entries()) this.#watch(index, server);
  }

  close(): void {
    this.#checks?.close();
    for (const watch of this.#watches) watch.close();
  }

  attempts(request: ClientRequest, client: Client): Attempts {
    return new BalancedAttempts(this, this.#keyOf(request, client));
  }

  #keyOf(request: ClientRequest, client: Client): string | null {
    const { policy } = this.service;
    if (policy.kind === "hash") return hashKey(policy.by, request.headers, client.address);
    return this.sticky?.read(request.headers["cookie"]) ?? null;
  }

  #check(settings: HealthSettings): HealthChecks<ServerTarget> {
    return new HealthChecks(this.balancer.members, {
      settings, balancer: this.balancer, sweeper: this.parts.sweeper,
      probe: (server, timeoutMs) => this.parts.probe(server, settings, timeoutMs),
      changed: (key, isHealthy, reason) => {
        const fields = { service: this.service.name, server: key, reason };
        if (isHealthy) this.parts.log.info("server is healthy again", fields);
        else this.parts.log.warn("server is unhealthy", fields);
      },
    });
  }

  #watch(index: number, server: ServiceServer): void {
    const { address } = server;
    if (address.kind !== "tcp" || isIP(address.host) !== 0) return;
    const fields = { service: this.service.name, name: address.host };
    this.#watches.push(new AddressWatch({
      name: address.host, sweeper: this.parts.sweeper,
      resolve: (name) => this.parts.names.askAnywhere(name),
      changed: (addresses) => {
        this.#members[index] = addresses.map((found) => serverTarget(this.service.name, server, this.service.trust, this.#ca, found));
        this.balancer.update(this.#members.flat());
        this.#checks?.update(this.balancer.members);
        this.parts.log.info("servers of a service changed", { ...fields, addresses: addresses.length });
      },
      // Once: it is asked again every second.
      failed: (error, inRow) => { if (inRow === 1) this.parts.log.warn("cannot resolve the name of a service's servers", { ...fields, reason: error.message }); },
    }));
  }
}

class BalancedAttempts implements Attempts {
  #server: ServerTarget | null = null;
  #tried: Set<ServerTarget> | null = null;
  #retriesLeft: number;
  readonly #place: Place | null;

  constructor(private readonly servers: Servers, private readonly key: string | null) {
    this.#place = servers.gate === null ? null : new Place(servers.gate);
    this.#retriesLeft = servers.service.retries;
  }

  enter(waiter: Waiter): null | Promise<void> {
    return this.#place === null ? null : this.#place.enter(waiter);
  }

  first(): Target {
    const { balancer, budget, service } = this.servers;
    const server = balancer.choose(this.key);
    if (server === null) throw noServer(service.name);
    budget.request();
    return this.#begin(server);
  }

  next(error: Error, isRepeatable: boolean): Target | null {
    const { balancer, budget } = this.servers;
    const failed = this.#server;
    if (failed === null) return null;
    if (isServersFault(error)) balancer.failed(failed);
    // A server that could not be connected to has had nothing of the request: that costs the service nothing.
    const mayGoOn = isUnsent(error) || (isRepeatable && isUnanswered(error) && budget.take());
    if (!mayGoOn || this.#retriesLeft === 0) return null;
    this.#retriesLeft -= 1;
    const tried = (this.#tried ??= new Set());
    tried.add(failed);
    const server = balancer.choose(this.key, tried);
    if (server === null) return null;
    this.#end();
    return this.#begin(server);
  }

  answered(status: number): void {
    const server = this.#server;
    if (server === null) return;
    const { balancer, service } = this.servers;
    if (service.ejection.statuses.includes(status)) balancer.failed(server);
    else balancer.succeeded(server);
  }

  cookie(isSecure: boolean): string | null {
    const { sticky } = this.servers;
    if (sticky === null || this.#server === null || sticky.idOf(this.#server.key) === this.key) return null;
    return sticky.header(this.#server.key, isSecure);
  }

  release(): void {
    this.#end();
    this.#place?.leave();
  }

  #begin(server: ServerTarget): Target {
    this.#server = server;
    this.servers.balancer.began(server);
    return server;
  }

  #end(): void {
    if (this.#server !== null) this.servers.balancer.ended(this.#server);
    this.#server = null;
  }
}

/** Not the client's: one that leaves, stalls or sends too much says nothing about a server. */
function isServersFault(error: Error): boolean {
  return isUnsent(error) || error.name === "UpstreamClosedError" || error.name === "UpstreamTimeoutError" || error.name === "ProtocolError";
}

/** @param found the address that the server's name resolved to; null: the system resolves it */
function serverTarget(service: string, { address, isSecure, weight }: ServiceServer, trust: ServerTrust, ca: string | null, found: string | null): ServerTarget {
  if (address.kind === "unix") {
    return { address: "", port: 0, authority: "localhost", key: serverUrlOf(address, false), tls: null, socketPath: address.path, weight };
  }
  const plain = plainTarget(found ?? address.host, address.port, address.host);
  if (!isSecure) return { ...plain, weight };
  const authority = address.port === 443 ? hostForUrl(address.host) : `${hostForUrl(address.host)}:${address.port}`;
  // The service's name: connections to one address that are checked by other rules are not to be shared.
  const key = `https://${plain.key} (${service})`;
  const tls = { ca, serverName: trust.serverName ?? address.host, skipsVerify: trust.skipsVerify };
  return { ...plain, authority, key, tls, trust: Bun.hash(JSON.stringify(tls)).toString(36), weight };
}

function readCa(service: string, { caFile }: ServerTrust, servers: readonly ServiceServer[]): string | null {
  if (caFile === null || !servers.some(({ isSecure }) => isSecure)) return null;
  try {
    return readFileSync(caFile, "utf8");
  } catch (cause) {
    throw new Error(`cannot read the CA of service "${service}", ${caFile}: ${fileFault(cause)}`, { cause });
  }
}
