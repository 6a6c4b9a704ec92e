// One configuration, ready to serve: the settings and what was built from them. Immutable; a changed file makes a new one
// and one reference is swapped. What has state worth keeping (token cache, connections) is handed over when its own
// settings did not change.

import { isDeepStrictEqual } from "node:util";
import { CidrSet } from "../lib/address.ts";
import type { Sweeper } from "../lib/deadlines.ts";
import type { Route } from "../route.ts";
import { Router } from "../router/router.ts";
import type { Settings } from "../settings.ts";
import type { FoundToken } from "../token/source.ts";
import type { TokenFront } from "../token/token-front.ts";
import { NameResolver } from "../upstream/dns.ts";
import { HttpPool } from "../upstream/http-pool.ts";
import { TargetGuard } from "./guard.ts";
import type { ClientRequest } from "./request.ts";
import { TargetResolver } from "./resolve.ts";
import { ResponseHeaders } from "./response-headers.ts";

export class Snapshot {
  readonly router: Router;
  readonly targets: TargetResolver;
  readonly trustedProxies: CidrSet;
  /** For answers over plain HTTP, and over TLS. */
  readonly plainHeaders: ResponseHeaders;
  readonly secureHeaders: ResponseHeaders;
  readonly names: NameResolver;
  readonly pool: HttpPool;
  /** Every header that some route reads a token from, in lower case. */
  readonly #tokenHeaderNames: readonly string[];
  readonly #allowedClients = new Map<Route, CidrSet>();

  constructor(readonly settings: Settings, readonly tokens: TokenFront, sweeper: Sweeper, previous: Snapshot | null = null) {
    this.router = new Router(settings.routes);
    this.names = previous !== null && isDeepStrictEqual(previous.settings.dns, settings.dns) ? previous.names : new NameResolver(settings.dns);
    this.pool = previous !== null && isDeepStrictEqual(poolSettings(previous.settings), poolSettings(settings))
      ? previous.pool : new HttpPool(poolSettings(settings), sweeper);
    this.targets = new TargetResolver(new TargetGuard(settings.guard.allowedTargets, settings.guard.allowedPorts), this.names);
    this.trustedProxies = new CidrSet(settings.trustedProxies);
    this.plainHeaders = new ResponseHeaders(settings.responseHeaders);
    // RFC 6797 section 7.2: never over plain HTTP.
    const hstsS = settings.tls?.hstsS ?? 0;
    this.secureHeaders = hstsS === 0 ? this.plainHeaders : new ResponseHeaders([...settings.responseHeaders, ["strict-transport-security", `max-age=${hstsS}`]]);
    const sources = settings.routes.flatMap((route) => route.tokenSources);
    this.#tokenHeaderNames = [...new Set(sources.flatMap((source) => (source.kind === "header" ? [source.name.toLowerCase()] : [])))];
    for (const route of settings.routes) this.#allowedClients.set(route, new CidrSet(route.allowedClients));
  }

  allowedClients(route: Route): CidrSet {
    return this.#allowedClients.get(route) as CidrSet;
  }

  /** Headers that carry the token of this request, whichever of them it was read from. */
  tokenHeaders(request: ClientRequest, found: FoundToken): readonly string[] {
    const source = found.source.kind === "header" ? found.source.name.toLowerCase() : null;
    const isIn = (name: string): boolean => name === source || request.headers[name]?.includes(found.token) === true;
    return this.#tokenHeaderNames.some(isIn) ? this.#tokenHeaderNames.filter(isIn) : NONE;
  }

  /** Lets go of what the next snapshot did not take over. */
  release(next: Snapshot | null): void {
    if (next?.names !== this.names) this.names.close();
    if (next?.pool !== this.pool) this.pool.retire();
  }
}

const NONE: readonly string[] = [];

function poolSettings(settings: Settings): ConstructorParameters<typeof HttpPool>[0] {
  const { responseBufferBytes, responseBufferTotalBytes } = settings.limits;
  return { ...settings.upstream, responseBufferBytes, responseBufferTotalBytes };
}
