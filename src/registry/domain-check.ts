// Does a domain point at this gateway? Asked of DNS as a client would ask: A and AAAA, through CNAMEs, which the answering
// server follows. One of the addresses must be one of ours: a domain may have other homes besides.

import { Resolver } from "node:dns/promises";
import { canonicalAddress } from "../lib/address.ts";
import { quoted } from "./errors.ts";

export type DomainCheckOptions = {
  /** Of this gateway, IP literals; at least one. */
  readonly publicAddresses: readonly string[];
  /** DNS servers as `ip[:port]`; null asks those of /etc/resolv.conf. */
  readonly servers: readonly string[] | null;
  /** For the whole check, ms. */
  readonly deadlineMs?: number;
};

/** @returns what is wrong, null when the domain points here. */
export type DomainCheck = (fqdn: string) => Promise<string | null>;

export function createDomainCheck({ publicAddresses, servers, deadlineMs = 5000 }: DomainCheckOptions): DomainCheck {
  const own = new Set(publicAddresses.map((address) => canonicalAddress(address) ?? address));
  return async (fqdn) => {
    // One for each check: cancelling ends all queries of a resolver.
    const resolver = new Resolver({ timeout: Math.ceil(deadlineMs / 2), tries: 2 });
    if (servers !== null) resolver.setServers(servers);
    const { found, failures } = await resolveWithin(resolver, fqdn, deadlineMs);
    if (found.some((address) => own.has(address))) return null;
    const should = `and should resolve to ${[...own].join(" or ")}`;
    if (found.length > 0) return `${quoted(fqdn)} resolves to ${found.slice(0, 8).join(", ")} ${should}`;
    const late = failures.find((code) => code !== "ENOTFOUND" && code !== "ENODATA");
    return late === undefined ? `${quoted(fqdn)} has no address ${should}` : `cannot resolve ${quoted(fqdn)}: ${late} (it should resolve to ${[...own].join(" or ")})`;
  };
}

type Found = { readonly found: readonly string[]; readonly failures: readonly string[] };

/** One family's failure is no reason not to take the other's answer. */
async function resolveWithin(resolver: Resolver, fqdn: string, deadlineMs: number): Promise<Found> {
  const found: string[] = [];
  const failures: string[] = [];
  const ask = async (query: Promise<string[]>): Promise<void> => {
    try {
      for (const address of await query) found.push(canonicalAddress(address) ?? address);
    } catch (error) {
      failures.push(codeOf(error));
    }
  };
  // The dot at the end keeps search lists out of it.
  const name = `${fqdn}.`;
  const late = Promise.withResolvers<void>();
  const timer = setTimeout(() => {
    failures.push(`no answer within ${deadlineMs} ms`);
    late.resolve();
    resolver.cancel();
  }, deadlineMs);
  await Promise.race([Promise.all([ask(resolver.resolve4(name)), ask(resolver.resolve6(name))]), late.promise]);
  clearTimeout(timer);
  return { found: [...found], failures: [...failures] };
}

/** In words where there are any; the rest as it came. */
function codeOf(error: unknown): string {
  const code = String((error as NodeJS.ErrnoException).code ?? (error as Error).message).replace(/^DNS_/, "");
  const words: Readonly<Record<string, string>> = {
    ETIMEOUT: "no answer in time", ESERVFAIL: "the DNS server failed", EREFUSED: "the DNS server refused", ECONNREFUSED: "no DNS server answers",
  };
  return words[code] ?? code;
}
