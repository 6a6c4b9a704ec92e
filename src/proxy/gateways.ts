// Gateways, the services that were registered at run time, as routes: found by the request's host, whatever its path. The
// registry changes often and nobody waits for it, so what is found is looked up in its newest snapshot for each request;
// nothing is rebuilt when one of ten thousand changes.

import type { Backend, Gateway } from "../gateway.ts";
import { hostForUrl } from "../lib/address.ts";
import type { Route } from "../route.ts";
import type { Match } from "../router/router.ts";
import type { GatewayService } from "../service.ts";
import { plainTarget, type Target } from "../target.ts";
import { type Attempts, isUnsent } from "./attempts.ts";

/** What the proxy asks of the registry. */
export interface GatewaySource {
  /** By domain, in lower case. */
  readonly gateways: ReadonlyMap<string, Gateway>;
}

/** Workloads are applications of any kind: what passes is theirs to judge. */
const BODY_LIMIT_BYTES = 8 * 1024 ** 3;

/** A backend that could not be connected to is left alone for this long, while there are others. */
const EJECTED_MS = 10_000;

/** What is worked out once for a gateway, and whose turn it is. */
type Served = { readonly match: Match; readonly targets: readonly Target[]; turn: number };

export class GatewayRoutes {
  readonly #served = new WeakMap<Gateway, Served>();
  readonly #ejectedUntilMs = new Map<string, number>();

  constructor(private readonly source: GatewaySource, private readonly readTimeoutMs: number,
    /** Monotonic, ms. */
    private readonly now: () => number = () => performance.now()) {}

  /** @param host of the request, port included */
  match(host: string): Match | null {
    const gateway = this.source.gateways.get(hostName(host));
    if (gateway === undefined) return null;
    return this.#serve(gateway).match;
  }

  /** All backends in the order in which to try them: they take turns, and those that failed lately come last. */
  targets({ gateway }: GatewayService): readonly Target[] {
    const served = this.#serve(gateway);
    const { targets } = served;
    if (targets.length === 1) return targets;
    const first = served.turn % targets.length;
    served.turn += 1;
    const all = first === 0 ? targets : [...targets.slice(first), ...targets.slice(0, first)];
    if (this.#ejectedUntilMs.size === 0) return all;
    const isOut = ({ key }: Target): boolean => (this.#ejectedUntilMs.get(key) ?? 0) > this.now();
    return [...all.filter((target) => !isOut(target)), ...all.filter(isOut)];
  }

  attempts(service: GatewayService): Attempts {
    return new BackendAttempts(this, this.targets(service));
  }

  #serve(gateway: Gateway): Served {
    let served = this.#served.get(gateway);
    if (served === undefined) {
      const match = { route: routeOf(gateway, this.readTimeoutMs), pathToken: null, pathPort: null, pathVm: null, rest: null };
      served = { match, targets: gateway.backends.map(({ address, port }) => plainTarget(address, port)), turn: 0 };
      this.#served.set(gateway, served);
    }
    return served;
  }

  /** It could not be connected to; also a passthrough backend, which is no request's target. */
  failed({ address, port }: Backend): void {
    const nowMs = this.now();
    const key = keyOf(address, port);
    // Last, so that the order is that of the ends.
    this.#ejectedUntilMs.delete(key);
    this.#ejectedUntilMs.set(key, nowMs + EJECTED_MS);
    for (const [known, untilMs] of this.#ejectedUntilMs) {
      if (untilMs > nowMs) break;
      this.#ejectedUntilMs.delete(known);
    }
  }
}

/** One backend after the other, each at most once. */
class BackendAttempts implements Attempts {
  #at = 0;

  constructor(private readonly routes: GatewayRoutes, private readonly targets: readonly Target[]) {}

  enter(): null {
    return null;
  }

  first(): Target {
    return this.targets[0] as Target;
  }

  /** What may have been sent stays sent: a workload's backends are its own, and so is what they did. */
  next(error: Error): Target | null {
    if (!isUnsent(error)) return null;
    this.routes.failed(this.targets[this.#at] as Target);
    this.#at += 1;
    return this.targets[this.#at] ?? null;
  }

  answered(): void {}

  cookie(): null {
    return null;
  }

  release(): void {}
}

function keyOf(address: string, port: number): string {
  return `${hostForUrl(address)}:${port}`;
}

/** Lower case, without the port and a trailing dot. */
export function hostName(host: string): string {
  const name = host.replace(/:\d+$/, "").toLowerCase();
  return name.endsWith(".") ? name.slice(0, -1) : name;
}

function routeOf(gateway: Gateway, readTimeoutMs: number): Route {
  return {
    name: gateway.id, match: { kind: "prefix", path: "/" }, tokenSources: [], identity: "desktop",
    service: { kind: "gateway", name: gateway.service, gateway },
    rewrite: { kind: "unchanged" }, host: "client", websocket: true, forwardToken: true,
    bodyLimitBytes: BODY_LIMIT_BYTES, readTimeoutMs, idleTimeoutMs: 0, buffering: true, cache: false, compress: false, allowedClients: [], deniedClients: [],
    origins: { kind: "any" }, compressText: false, viewer: false, closeAfterUpgrade: false,
  };
}
