// The four calls, once for all ways that they come by (zbus, REST, the command line): what may be registered, and as what.
// Calls of one workload are done one after the other, in the order in which they came: a slow DNS check of one must not
// bring back what a later one deleted.

import type { Gateway, ServiceTotals } from "../gateway.ts";
import type { DomainCheck } from "./domain-check.ts";
import { quoted, RegistryError } from "./errors.ts";
import type { Registry } from "./registry.ts";
import { domainRefusal, type Rules } from "./rules.ts";
import { Turns } from "./turns.ts";
import { checkBackends, domainFault, isWithin, nameFault, workloadIdFault } from "./validate.ts";

export type GatewayCallsOptions = {
  readonly registry: Registry;
  /** The gateway's own; null for none: then there are no name proxies. */
  readonly domain: string | null;
  /** Those of the registry: asked here, all faults are told in one error. */
  readonly rules: Rules;
  /** null: domains are not checked. */
  readonly checkDomain: DomainCheck | null;
  readonly meter: { totals(): ServiceTotals };
};

type Wish = Pick<Gateway, "fqdn" | "isPassthrough" | "resolver" | "certificateNames"> & { readonly id: string; readonly backends: readonly string[] };

export class GatewayCalls {
  readonly #turns = new Turns();
  readonly #domain: string | null;

  constructor(private readonly options: GatewayCallsOptions) {
    this.#domain = options.domain?.toLowerCase() ?? null;
  }

  /**
   * Registers or updates `prefix` below the gateway's own domain.
   * @returns the domain @throws RegistryError with all faults
   */
  async setNamedProxy(wlID: string, prefix: string, backends: readonly string[], tlsPassthrough: boolean): Promise<string> {
    const domain = this.#domain;
    if (domain === null) throw new RegistryError("invalid", ["this gateway has no domain of its own, so there are no names below it (register a whole domain)"]);
    const fqdn = `${prefix}.${domain}`.toLowerCase();
    const fault = nameFault(prefix) ?? domainFault(fqdn) ?? domainRefusal(fqdn, this.options.rules);
    const certificate = tlsPassthrough ? NO_CERTIFICATE : { resolver: "dnsresolver", certificateNames: [`*.${domain}`] } as const;
    await this.#set({ id: wlID, fqdn, backends, isPassthrough: tlsPassthrough, ...certificate }, fault, null);
    return fqdn;
  }

  /**
   * Registers or updates a domain that points at this gateway and is not below its own.
   * @throws RegistryError with all faults; unresolved when only its DNS is wrong
   */
  async setFQDNProxy(wlID: string, fqdn: string, backends: readonly string[], tlsPassthrough: boolean): Promise<void> {
    const lower = fqdn.toLowerCase();
    const own = this.#domain;
    const isOwn = own !== null && isWithin(lower, own);
    const fault = domainFault(fqdn) ?? (isOwn ? `${quoted(fqdn)} is within this gateway's own domain ${quoted(own)}, and that is for name proxies` : domainRefusal(lower, this.options.rules));
    const certificate = tlsPassthrough ? NO_CERTIFICATE : { resolver: "resolver", certificateNames: [] } as const;
    await this.#set({ id: wlID, fqdn: lower, backends, isPassthrough: tlsPassthrough, ...certificate }, fault, this.options.checkDomain);
  }

  /** Of either kind; what is not there is gone already. @returns false when there was none @throws RegistryError invalid, storage */
  async deleteNamedProxy(wlID: string): Promise<boolean> {
    return await this.#turns.take(wlID, () => this.options.registry.delete(wlID));
  }

  metrics(): ServiceTotals {
    return this.options.meter.totals();
  }

  async #set({ id, backends, ...wish }: Wish, domainFault: string | null, check: DomainCheck | null): Promise<void> {
    const { registry, rules } = this.options;
    const checked = checkBackends(backends, wish.isPassthrough, rules);
    const faults = [workloadIdFault(id), domainFault, ...checked.faults].filter((fault) => fault !== null);
    if (faults.length > 0) throw new RegistryError("invalid", faults);
    await this.#turns.take(id, async () => {
      // Before DNS is asked: a domain that is taken needs no check.
      registry.assertFree(id, wish.fqdn);
      const unresolved = await check?.(wish.fqdn) ?? null;
      if (unresolved !== null) throw new RegistryError("unresolved", [unresolved]);
      await registry.set({ id, service: id, backends: checked.values, ...wish });
    });
  }
}

const NO_CERTIFICATE = { resolver: null, certificateNames: [] } as const;
