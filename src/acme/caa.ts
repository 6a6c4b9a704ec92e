// What a CA is called in CAA records (RFC 8659): its directory says so (RFC 8555 section 7.1.1). Several names stand for one CA, and
// a record with any of them lets it issue.

import { parseHost } from "../lib/host.ts";

/** CAs have one, or a handful for those that they grew from. All of them are in one DNS answer. */
const IDENTITIES_LIMIT = 16;

/** Before the directory was read. @returns [] when nothing is known of this CA */
export function knownCaaIdentities(directoryUrl: string): readonly string[] {
  // The production and the staging server.
  return URL.parse(directoryUrl)?.hostname.endsWith(".api.letsencrypt.org") === true ? ["letsencrypt.org"] : [];
}

/** `meta.caaIdentities` of a directory: the usable ones, each once. @returns [] when it says nothing */
export function caaIdentitiesOf(directory: unknown): readonly string[] {
  const identities = (directory as { meta?: { caaIdentities?: unknown } | null } | null)?.meta?.caaIdentities;
  if (!Array.isArray(identities)) return [];
  const names = identities.flatMap((identity: unknown) => {
    const found = typeof identity === "string" ? parseHost(identity) : null;
    return found?.kind === "name" ? [found.host] : [];
  });
  return [...new Set(names)].slice(0, IDENTITIES_LIMIT);
}
