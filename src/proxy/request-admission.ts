// Who may ask at all, and how often: CIDR lists of the routes, and requests a second of an address and of a token.

import { RouteError } from "../errors.ts";
import { CidrSet } from "../lib/address.ts";
import { clientKey } from "../limits/client-key.ts";
import { RateLimiter } from "../limits/rate-limiter.ts";
import type { Route } from "../route.ts";
import type { LimitSettings } from "../settings.ts";

export class RequestAdmission {
  readonly #allowed = new Map<Route, CidrSet>();
  readonly #denied = new Map<Route, CidrSet>();
  readonly #addresses: RateLimiter | null;
  readonly #tokens: RateLimiter | null;

  /** @param previous whose counts go on, for the same limits; null: there is none */
  constructor(routes: readonly Route[], { requestsPerAddress, requestsPerToken }: LimitSettings, previous: RequestAdmission | null = null) {
    for (const route of routes) {
      if (route.allowedClients.length > 0) this.#allowed.set(route, new CidrSet(route.allowedClients));
      if (route.deniedClients.length > 0) this.#denied.set(route, new CidrSet(route.deniedClients));
    }
    this.#addresses = requestsPerAddress === null ? null : (previous === null ? null : previous.#addresses) ?? new RateLimiter(requestsPerAddress);
    this.#tokens = requestsPerToken === null ? null : (previous === null ? null : previous.#tokens) ?? new RateLimiter(requestsPerToken);
  }

  /** @throws RouteError forbidden */
  checkClient(route: Route, address: string): void {
    if (this.#denied.get(route)?.has(address) === true) throw new RouteError("forbidden", `client ${address} is in deniedClients`);
    if (this.#allowed.get(route)?.has(address) === false) throw new RouteError("forbidden", `client ${address} is not in allowedClients`);
  }

  /** @throws RouteError too_many_requests */
  countAddress(address: string): void {
    if (this.#addresses !== null) count(this.#addresses, clientKey(address), "address");
  }

  /** @throws RouteError too_many_requests */
  countToken(tokenHash: string): void {
    if (this.#tokens !== null) count(this.#tokens, tokenHash, "token");
  }
}

function count(limiter: RateLimiter, key: string, of: string): void {
  const retryAfterS = limiter.take(key);
  if (retryAfterS > 0) throw new RouteError("too_many_requests", `over the request rate of one ${of}`, { retryAfterS });
}
