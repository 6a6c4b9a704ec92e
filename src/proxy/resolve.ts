// Route + identity → targets. The only place where a pod becomes addresses.

import { isIP } from "node:net";
import { RouteError } from "../errors.ts";
import type { DesktopIdentity } from "../identity.ts";
import type { Match } from "../router/router.ts";
import type { TargetService } from "../service.ts";
import { plainTarget, type Target, type Targets } from "../target.ts";
import { NameError, type NameResolver } from "../upstream/dns.ts";
import type { Waiter } from "./attempts.ts";
import type { TargetGuard } from "./guard.ts";
import type { Holding } from "./holding.ts";

/** A request that may have to wait; from when on is counted, `performance.now()`. */
type RequestWaiter = Waiter & { readonly startedMs: number };

/** More than a desktop has; each may take the whole connect timeout. */
const ADDRESSES = 4;

export class TargetResolver {
  /** Targets of addresses that were checked, by whom or what these belong to: made once, shared by all requests. */
  readonly #checked = new WeakMap<DesktopIdentity | readonly string[], Map<number, Targets>>();

  constructor(private readonly guard: TargetGuard, private readonly names: NameResolver, private readonly holding: Holding) {}

  /**
   * The pod's service port at each address of the pod, of those that the guard lets pass; synchronous unless a name has to be looked up.
   * @throws RouteError forbidden (guard), bad_gateway (no such name, also after waiting for it), gateway_timeout (name server silent)
   */
  desktop(service: TargetService, match: Match, identity: DesktopIdentity, waiter: RequestWaiter): Targets | Promise<Targets> {
    const port = service.port === "path" ? this.guard.checkPort(match.pathPort ?? "") : service.port;
    const known = this.#checked.get(identity)?.get(port);
    if (known !== undefined) return known;
    if (isIP(identity.host) === 0) return this.#byName(identity.host, port, waiter);
    this.guard.checkAddress(identity.host, null);
    return this.#remember(identity, port, [plainTarget(identity.host, port, identity.host)]);
  }

  #byName(name: string, port: number, waiter: RequestWaiter): Targets | Promise<Targets> {
    this.guard.checkName(name);
    let addresses;
    try {
      addresses = this.names.resolve(name);
    } catch (error) {
      addresses = Promise.reject(error as Error);
    }
    if (!(addresses instanceof Promise)) return this.#check(addresses, name, port);
    return addresses.catch((error: Error) => {
      if (!this.holding.isWorthWaiting(error)) throw error;
      return this.holding.untilNamed(name, error, async () => this.names.resolve(name), waiter.startedMs, waiter);
    }).then((found) => this.#check(found, name, port), rethrow);
  }

  /** @param addresses the name resolver's own list, which it hands out again for as long as it is good */
  #check(addresses: readonly string[], name: string, port: number): Targets {
    const known = this.#checked.get(addresses)?.get(port);
    if (known !== undefined) return known;
    const [first, ...others] = this.guard.listedAddresses(addresses, name).slice(0, ADDRESSES).map((address) => plainTarget(address, port, name));
    return this.#remember(addresses, port, [first as Target, ...others]);
  }

  #remember(owner: DesktopIdentity | readonly string[], port: number, targets: Targets): Targets {
    const ports = this.#checked.get(owner) ?? new Map<number, Targets>();
    this.#checked.set(owner, ports.set(port, targets));
    return targets;
  }
}

function rethrow(error: unknown): never {
  if (!(error instanceof NameError)) throw error;
  throw new RouteError(error.reason === "timeout" ? "gateway_timeout" : "bad_gateway", error.message, { cause: error });
}
