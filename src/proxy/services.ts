// What every service has at run time, for one configuration: the servers of fixed ones, the places at desktops, and desktops
// that are waited for. A service that did not change goes on in the next configuration with all that it knows.

import { isDeepStrictEqual } from "node:util";
import { Gate } from "../balance/gate.ts";
import type { Sweeper } from "../lib/deadlines.ts";
import type { Log } from "../lib/log.ts";
import type { Route } from "../route.ts";
import type { FixedService, TargetService } from "../service.ts";
import type { Targets } from "../target.ts";
import type { NameResolver } from "../upstream/dns.ts";
import { type Attempts, OneTarget } from "./attempts.ts";
import { DesktopAttempts } from "./desktop-attempts.ts";
import type { Holding } from "./holding.ts";
import type { ProbeServer } from "./probe.ts";
import { Servers } from "./servers.ts";

/** What services are made with. */
export type ServiceParts = {
  readonly names: NameResolver;
  readonly holding: Holding;
  readonly probe: ProbeServer;
  readonly log: Log;
  readonly sweeper: Sweeper;
};

/** How a service is, for operators. */
export type ServiceState = {
  readonly name: string;
  readonly policy: string;
  /** Requests and sessions under way, and those that wait for a place. */
  readonly running: number;
  readonly waiting: number;
  readonly servers: ReadonlyArray<{
    readonly server: string;
    readonly weight: number;
    /** Both may be: unhealthy by its answers to health checks, ejected by its failures. */
    readonly state: "up" | "ejected" | "unhealthy";
    /** How much longer it is left alone; 0: it is not. */
    readonly ejectedForS: number;
    readonly running: number;
    /** Since it is known. */
    readonly requests: number;
    readonly failures: number;
  }>;
};

export class Services {
  readonly #servers = new Map<string, Servers>();
  /** Of desktops that have requests now, where their service bounds these. */
  readonly #gates: Map<string, Gate>;

  /** @throws Error when a CA file cannot be read; nothing is left open then */
  constructor(routes: readonly Route[], private readonly parts: ServiceParts, previous: Services | null) {
    // Sessions outlive configurations: their places at desktops do as well. Those whose bounds changed are new.
    this.#gates = previous === null ? new Map() : previous.#gates;
    for (const { service } of routes) {
      if (service.kind !== "fixed" || this.#servers.has(service.name)) continue;
      const known = previous?.parts.names === parts.names ? previous.#servers.get(service.name) : undefined;
      const isKnown = known !== undefined && isDeepStrictEqual(known.service, service);
      this.#servers.set(service.name, isKnown ? known : new Servers(service, parts));
    }
  }

  /** Begins to ask names and servers. */
  start(): void {
    for (const servers of this.#servers.values()) servers.start();
  }

  get states(): readonly ServiceState[] {
    return [...this.#servers.values()].map(({ service, gate, balancer }) => {
      const states = balancer.states();
      return {
        name: service.name, policy: service.policy.kind, running: states.reduce((sum, { inFlight }) => sum + inFlight, 0), waiting: gate?.waiting ?? 0,
        servers: states.map(({ key, weight, inFlight, isHealthy, ejectedForMs, requests, failures }) => ({
          server: key, weight, ejectedForS: Math.ceil(ejectedForMs / 1000), state: !isHealthy ? "unhealthy" : ejectedForMs > 0 ? "ejected" : "up", running: inFlight, requests, failures,
        })),
      };
    });
  }

  fixed(service: FixedService): Servers {
    return this.#servers.get(service.name) as Servers;
  }

  /** @param startedMs of the request, `performance.now()` */
  desktop(service: TargetService, targets: Targets, startedMs: number): Attempts {
    if (service.limits.maxConnections === 0) {
      return this.parts.holding.isOff && targets.length === 1 ? new OneTarget(targets[0]) : new DesktopAttempts(targets, this.parts.holding, startedMs, null, null);
    }
    const { maxConnections, queue, queueTimeoutMs } = service.limits;
    // By what the desktop is called: a name server gives the same addresses in any order.
    const key = `${service.name} ${targets[0].authority} ${maxConnections}/${queue}/${queueTimeoutMs}`;
    const gate = this.#gates.get(key) ?? new Gate(service.limits, this.parts.sweeper);
    this.#gates.set(key, gate);
    return new DesktopAttempts(targets, this.parts.holding, startedMs, gate, () => {
      if (gate.inside === 0 && gate.waiting === 0 && this.#gates.get(key) === gate) this.#gates.delete(key);
    });
  }

  /** Lets go of what the next configuration did not take over. */
  release(next: Services | null): void {
    for (const [name, servers] of this.#servers) if (next === null || next.#servers.get(name) !== servers) servers.close();
  }
}
