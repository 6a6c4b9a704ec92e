// Route + identity → target. The only place where a pod becomes an address.

import { isIP } from "node:net";
import { RouteError } from "../errors.ts";
import type { DesktopIdentity } from "../identity.ts";
import type { Match } from "../router/router.ts";
import type { TargetService } from "../service.ts";
import { plainTarget, type Target } from "../target.ts";
import { NameError, type NameResolver } from "../upstream/dns.ts";
import type { Waiter } from "./attempts.ts";
import type { TargetGuard } from "./guard.ts";
import type { Holding } from "./holding.ts";

/** A request that may have to wait; from when on is counted, `performance.now()`. */
type RequestWaiter = Waiter & { readonly startedMs: number };

export class TargetResolver {
  /** Targets of addresses that were checked: made once, shared by all requests. */
  readonly #checked = new WeakMap<DesktopIdentity, Map<number, Target>>();

  constructor(private readonly guard: TargetGuard, private readonly names: NameResolver, private readonly holding: Holding) {}

  /**
   * The pod's service port as an address that passed the guard; synchronous unless a name has to be looked up.
   * @throws RouteError forbidden (guard), bad_gateway (no such name, also after waiting for it), gateway_timeout (name server silent)
   */
  target(service: TargetService, match: Match, identity: DesktopIdentity, waiter: RequestWaiter): Target | Promise<Target> {
    const port = service.port === "path" ? this.guard.checkPort(match.pathPort ?? "") : service.port;
    const known = this.#checked.get(identity)?.get(port);
    if (known !== undefined) return known;
    if (isIP(identity.host) === 0) return this.#byName(identity.host, port, waiter);
    this.guard.checkAddress(identity.host, null);
    const target = plainTarget(identity.host, port, identity.host);
    const ports = this.#checked.get(identity) ?? new Map<number, Target>();
    this.#checked.set(identity, ports.set(port, target));
    return target;
  }

  #byName(name: string, port: number, waiter: RequestWaiter): Target | Promise<Target> {
    this.guard.checkName(name);
    let addresses;
    try {
      addresses = this.names.resolve(name);
    } catch (error) {
      addresses = Promise.reject(error as Error);
    }
    if (!(addresses instanceof Promise)) return this.#choose(addresses, name, port);
    return addresses.catch((error: Error) => {
      if (!this.holding.isWorthWaiting(error)) throw error;
      return this.holding.untilNamed(name, error, async () => this.names.resolve(name), waiter.startedMs, waiter);
    }).then((found) => this.#choose(found, name, port), rethrow);
  }

  #choose(addresses: readonly string[], name: string, port: number): Target {
    // One denied address among good ones is how rebinding looks: all must pass.
    for (const address of addresses) this.guard.checkAddress(address, name);
    return plainTarget(addresses[0] as string, port, name);
  }
}

function rethrow(error: unknown): never {
  if (!(error instanceof NameError)) throw error;
  throw new RouteError(error.reason === "timeout" ? "gateway_timeout" : "bad_gateway", error.message, { cause: error });
}
