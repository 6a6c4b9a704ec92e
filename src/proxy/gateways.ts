// Gateways, the services that were registered at run time, as routes: found by the request's host, whatever its path. The
// registry changes often and nobody waits for it, so what is found is looked up in its newest snapshot for each request;
// nothing is rebuilt when one of ten thousand changes.

import type { Backend, Gateway } from "../gateway.ts";
import { hostForUrl } from "../lib/address.ts";
import type { Route } from "../route.ts";
import type { Match } from "../router/router.ts";
import type { GatewayService } from "../service.ts";
import type { Target } from "../target.ts";

/** What the proxy asks of the registry. */
export interface GatewaySource {
  /** By domain, in lower case. */
  readonly gateways: ReadonlyMap<string, Gateway>;
}

/** Workloads are applications of any kind: what passes is theirs to judge. */
const BODY_LIMIT_BYTES = 8 * 1024 ** 3;

/** A backend that could not be connected to is left alone for this long, while there are others. */
const EJECTED_MS = 10_000;

export class GatewayRoutes {
  readonly #matches = new WeakMap<Gateway, Match>();
  readonly #turns = new WeakMap<Gateway, number>();
  readonly #targets = new WeakMap<Backend, Target>();
  /** By address, the first to end first. */
  readonly #ejectedUntilMs = new Map<string, number>();

  constructor(private readonly source: GatewaySource, private readonly readTimeoutMs: number,
    /** Monotonic, ms. */
    private readonly now: () => number = () => performance.now()) {}

  /** @param host of the request, port included */
  match(host: string): Match | null {
    const gateway = this.source.gateways.get(hostName(host));
    if (gateway === undefined) return null;
    let match = this.#matches.get(gateway);
    if (match === undefined) {
      match = { route: routeOf(gateway, this.readTimeoutMs), pathToken: null, pathPort: null, pathVm: null, rest: null };
      this.#matches.set(gateway, match);
    }
    return match;
  }

  /** All backends in the order in which to try them: they take turns, and those that failed lately come last. */
  targets({ gateway }: GatewayService): Target[] {
    const turn = this.#turns.get(gateway) ?? 0;
    this.#turns.set(gateway, turn + 1);
    const { backends } = gateway;
    const all = backends.map((_, index) => this.#target(backends[(turn + index) % backends.length] as Backend));
    if (this.#ejectedUntilMs.size === 0 || all.length === 1) return all;
    const isOut = ({ key }: Target): boolean => (this.#ejectedUntilMs.get(key) ?? 0) > this.now();
    return [...all.filter((target) => !isOut(target)), ...all.filter(isOut)];
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

  #target(backend: Backend): Target {
    let target = this.#targets.get(backend);
    if (target === undefined) {
      const { address, port } = backend;
      const key = keyOf(address, port);
      target = { address, port, authority: port === 80 ? hostForUrl(address) : key, key };
      this.#targets.set(backend, target);
    }
    return target;
  }
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
    bodyLimitBytes: BODY_LIMIT_BYTES, readTimeoutMs, idleTimeoutMs: 0, buffering: true, allowedClients: [],
    origins: { kind: "any" }, compressText: false, viewer: false, closeAfterUpgrade: false,
  };
}
