// The DNS servers that targets are asked of, as addresses. One that the settings call by its name is looked up through the
// system before anything is served, as nginx does for its `resolver`: whoever resolves names cannot resolve its own.

import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { hostForUrl } from "../lib/address.ts";
import { within } from "../lib/within.ts";

type Lookup = (name: string) => Promise<readonly string[]>;

/**
 * @param servers `ip[:port]` or `name[:port]`; null: the system's resolver is asked
 * @param timeoutMs for all of them together
 * @returns the same with addresses only: of a name all that it has
 * @throws Error that names the one whose name cannot be resolved
 */
export async function findNameservers(servers: readonly string[] | null, timeoutMs: number, find: Lookup = findThroughSystem): Promise<readonly string[] | null> {
  if (servers === null) return null;
  const found: Array<readonly string[]> = [];
  await within(Promise.all(servers.map(async (server, at) => { found[at] = await addressesOf(server, find); })), timeoutMs);
  const missing = servers.find((_, at) => found[at] === undefined);
  if (missing !== undefined) throw new Error(`cannot resolve the nameserver "${missing}" through the system: no answer within ${timeoutMs} ms`);
  return found.flat();
}

/** The same settings with addresses only. @throws as {@link findNameservers} */
export async function withAddresses<T extends { readonly nameservers: readonly string[] | null; readonly timeoutMs: number }>(dns: T): Promise<T> {
  return { ...dns, nameservers: await findNameservers(dns.nameservers, dns.timeoutMs) };
}

async function addressesOf(server: string, find: Lookup): Promise<readonly string[]> {
  const [, name = "", port = ""] = /^([^:[\]]+)(:\d+)?$/.exec(server) ?? [];
  if (name === "" || isIP(name) !== 0) return [server];
  try {
    return (await find(name)).map((address) => `${hostForUrl(address)}${port}`);
  } catch (cause) {
    throw new Error(`cannot resolve the nameserver "${name}" through the system: ${(cause as Error).message}`, { cause });
  }
}

async function findThroughSystem(name: string): Promise<readonly string[]> {
  return (await lookup(name, { all: true })).map(({ address }) => address);
}
