// Route + identity → target. The only place where a pod becomes an address.

import { isIP } from "node:net";
import { RouteError } from "../errors.ts";
import type { DesktopIdentity } from "../identity.ts";
import { hostForUrl } from "../lib/address.ts";
import type { Match } from "../router/router.ts";
import type { FixedService, TargetService } from "../service.ts";
import type { Target } from "../target.ts";
import { NameError, type NameResolver } from "../upstream/dns.ts";
import type { TargetGuard } from "./guard.ts";

export class TargetResolver {
  /** Targets of fixed services, and of addresses that were checked: made once, shared by all requests. */
  readonly #fixed = new Map<FixedService, Target>();
  readonly #checked = new WeakMap<DesktopIdentity, Map<number, Target>>();

  constructor(private readonly guard: TargetGuard, private readonly names: NameResolver) {}

  fixed(service: FixedService): Target {
    let target = this.#fixed.get(service);
    if (target === undefined) {
      target = makeTarget(service.host, service.port, service.host);
      this.#fixed.set(service, target);
    }
    return target;
  }

  /**
   * The pod's service port as an address that passed the guard; synchronous unless a name has to be looked up.
   * @throws RouteError forbidden (guard), bad_gateway (no such name), gateway_timeout (name server silent)
   */
  target(service: TargetService, match: Match, identity: DesktopIdentity): Target | Promise<Target> {
    const port = service.port === "path" ? this.guard.checkPort(match.pathPort ?? "") : service.port;
    const known = this.#checked.get(identity)?.get(port);
    if (known !== undefined) return known;
    if (isIP(identity.host) === 0) return this.#byName(identity.host, port);
    this.guard.checkAddress(identity.host, null);
    const target = makeTarget(identity.host, port, identity.host);
    const ports = this.#checked.get(identity) ?? new Map<number, Target>();
    this.#checked.set(identity, ports.set(port, target));
    return target;
  }

  #byName(name: string, port: number): Target | Promise<Target> {
    this.guard.checkName(name);
    try {
      const addresses = this.names.resolve(name);
      if (!(addresses instanceof Promise)) return this.#choose(addresses, name, port);
      return addresses.then((found) => this.#choose(found, name, port), rethrow);
    } catch (error) {
      return rethrow(error);
    }
  }

  #choose(addresses: readonly string[], name: string, port: number): Target {
    // One denied address among good ones is how rebinding looks: all must pass.
    for (const address of addresses) this.guard.checkAddress(address, name);
    return makeTarget(addresses[0] as string, port, name);
  }
}

function makeTarget(address: string, port: number, host: string): Target {
  const authority = port === 80 ? hostForUrl(host) : `${hostForUrl(host)}:${port}`;
  return { address, port, authority, key: `${hostForUrl(address)}:${port}` };
}

function rethrow(error: unknown): never {
  if (!(error instanceof NameError)) throw error;
  throw new RouteError(error.reason === "timeout" ? "gateway_timeout" : "bad_gateway", error.message, { cause: error });
}
