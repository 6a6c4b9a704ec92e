// One configuration, ready to serve: the settings and what was built from them. Immutable; a changed file makes a new one
// and one reference is swapped. What has state worth keeping (token cache, connections) is handed over when its own
// settings did not change.

import { isDeepStrictEqual } from "node:util";
import { CidrSet } from "../lib/address.ts";
import type { Sweeper } from "../lib/deadlines.ts";
import type { Log } from "../lib/log.ts";
import { Router } from "../router/router.ts";
import type { HttpCache } from "../cache/http-cache.ts";
import type { CacheSettings, Settings } from "../settings.ts";
import type { FoundToken } from "../token/source.ts";
import type { TokenFront } from "../token/token-front.ts";
import { NameResolver } from "../upstream/dns.ts";
import { HttpPool } from "../upstream/http-pool.ts";
import { RequestAdmission } from "./request-admission.ts";
import { Compressing } from "./compressing.ts";
import { TargetGuard } from "./guard.ts";
import { Holding } from "./holding.ts";
import { createProbe } from "./probe.ts";
import type { ClientRequest } from "./request.ts";
import { TargetResolver } from "./resolve.ts";
import { ResponseHeaders } from "./response-headers.ts";
import { Services } from "./services.ts";

/** What a snapshot is made with. */
export type SnapshotParts = {
  readonly tokens: TokenFront;
  readonly sweeper: Sweeper;
  readonly log: Log;
  /** Called where a route is cached; null: it is not, whatever the route says. */
  readonly createCache: (settings: CacheSettings, log: Log) => HttpCache | null;
};

export class Snapshot {
  readonly router: Router;
  readonly targets: TargetResolver;
  readonly services: Services;
  readonly admission: RequestAdmission;
  readonly trustedProxies: CidrSet;
  /** For answers over plain HTTP, and over TLS. */
  readonly plainHeaders: ResponseHeaders;
  readonly secureHeaders: ResponseHeaders;
  /** For what a registered workload answers, likewise. */
  readonly plainWorkloadHeaders: ResponseHeaders;
  readonly secureWorkloadHeaders: ResponseHeaders;
  readonly names: NameResolver;
  readonly pool: HttpPool;
  /** null: no route is cached. */
  readonly cache: HttpCache | null;
  readonly compressing: Compressing;
  readonly #holding: Holding;
  /** Every header that some route reads a token from, in lower case. */
  readonly #tokenHeaderNames: readonly string[];
  readonly tokens: TokenFront;

  /** @throws Error when a service's CA cannot be read */
  constructor(readonly settings: Settings, { tokens, sweeper, log, createCache }: SnapshotParts, previous: Snapshot | null = null) {
    this.tokens = tokens;
    /** Whether this part of the settings stayed as it was, so that what was built from it may stay. */
    const isKept = (part: (of: Settings) => unknown): boolean => previous !== null && isDeepStrictEqual(part(previous.settings), part(settings));
    this.router = new Router(settings.routes);
    this.names = isKept(({ dns }) => dns) ? previous!.names : new NameResolver(settings.dns);
    this.pool = isKept(poolSettings) ? previous!.pool : new HttpPool(poolSettings(settings), sweeper);
    this.#holding = isKept(poolSettings) ? previous!.#holding : new Holding(this.pool, settings.upstream.dialTimeoutMs, sweeper);
    this.targets = new TargetResolver(new TargetGuard(settings.guard.allowedTargets, settings.guard.allowedPorts), this.names, this.#holding);
    this.services = new Services(settings.routes, { names: this.names, holding: this.#holding, probe: createProbe(this.pool), log, sweeper }, previous?.services ?? null);
    this.admission = new RequestAdmission(settings.routes, settings.limits, isKept(({ limits }) => limits) ? previous!.admission : null);
    this.cache = !settings.routes.some(({ cache }) => cache) ? null
      : isKept(({ cache }) => cache) && previous!.cache !== null ? previous!.cache : createCache(settings.cache, log);
    this.compressing = isKept(({ compression }) => compression) ? previous!.compressing : new Compressing(settings.compression);
    this.trustedProxies = new CidrSet(settings.trustedProxies);
    this.plainHeaders = new ResponseHeaders(settings.responseHeaders);
    // RFC 6797 section 7.2: never over plain HTTP.
    const hstsS = settings.tls?.hstsS ?? 0;
    const hsts = hstsS === 0 ? [] : [["strict-transport-security", `max-age=${hstsS}`] as const];
    this.secureHeaders = hstsS === 0 ? this.plainHeaders : new ResponseHeaders([...settings.responseHeaders, ...hsts]);
    this.plainWorkloadHeaders = ResponseHeaders.asSaid([]);
    this.secureWorkloadHeaders = ResponseHeaders.asSaid(hsts);
    const sources = settings.routes.flatMap((route) => route.tokenSources);
    this.#tokenHeaderNames = [...new Set(sources.flatMap((source) => (source.kind === "header" ? [source.name.toLowerCase()] : [])))];
  }

  /** Begins to ask names and servers how they are, and to read the cache's disk: until that is done, it misses. */
  start(): void {
    this.services.start();
    void this.cache?.open();
  }

  /** Headers that carry the token of this request, whichever of them it was read from. */
  tokenHeaders(request: ClientRequest, found: FoundToken): readonly string[] {
    const source = found.source.kind === "header" ? found.source.name.toLowerCase() : null;
    let names: string[] | null = null;
    for (const name of this.#tokenHeaderNames) {
      if (name === source || request.headers[name]?.includes(found.token) === true) (names ??= []).push(name);
    }
    return names ?? NONE;
  }

  /** Lets go of what the next snapshot did not take over. */
  release(next: Snapshot | null): void {
    this.services.release(next?.services ?? null);
    if (next === null) this.#holding.close();
    if (next?.cache !== this.cache) void this.cache?.close();
    if (next?.names !== this.names) this.names.close();
    if (next?.pool !== this.pool) this.pool.retire();
  }
}

const NONE: readonly string[] = [];

function poolSettings(settings: Settings): ConstructorParameters<typeof HttpPool>[0] {
  const { responseBufferBytes, responseBufferTotalBytes } = settings.limits;
  return { ...settings.upstream, responseBufferBytes, responseBufferTotalBytes };
}
