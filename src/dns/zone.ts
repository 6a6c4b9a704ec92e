// The one zone that is ours, `_acme-challenge.<domain>`: what it is made of, and which records stand where. It has an apex, at most
// one name below it (the name server's, when that lies inside), and nothing else. Names are lower case.

import type { Answer } from "dns-packet";
import { isIPv4 } from "node:net";

/** A challenge is gone in a minute, and the next try has another value: nobody shall remember either for long. */
export const CHALLENGE_TTL_S = 1;
/** How long "there is no such thing" is remembered: the SOA's minimum, RFC 2308 section 4. */
export const NEGATIVE_TTL_S = 1;
export const RECORD_TTL_S = 300;

export type Zone = {
  readonly name: string;
  /** The host that the delegation names, which is us. */
  readonly nameserver: string;
  /** The name server's addresses, IP literals: served when its name lies in the zone, where nobody else could. */
  readonly addresses: readonly string[];
  /** The names of the one CA that may issue, such as `letsencrypt.org`; none: no CAA record, which forbids nobody. */
  readonly caaIssuers: readonly string[];
  /** Of the challenges that run now. */
  readonly values: readonly string[];
  /** Grows with every change. */
  readonly serial: number;
};

/** Types that mean something here, RFC 1035 section 3.2.2 and others. */
export const TYPE = { A: 1, NS: 2, SOA: 6, TXT: 16, AAAA: 28, IXFR: 251, AXFR: 252, ANY: 255, CAA: 257 } as const;

export type Records = { readonly answers: readonly Answer[]; readonly additionals: readonly Answer[] };
const NONE: Records = { answers: [], additionals: [] };

export function isInZone(zone: Zone, name: string): boolean {
  return name === zone.name || name.endsWith(`.${zone.name}`);
}

/** Records of a type at a name of the zone, none for a type that it does not have; null when there is no such name. */
export function recordsAt(zone: Zone, name: string, type: number): Records | null {
  if (name !== zone.name && name !== zone.nameserver) {
    // A name between the two exists, but has nothing (RFC 8020 section 2): an empty non-terminal.
    return zone.nameserver.endsWith(`.${name}`) ? NONE : null;
  }
  if (type === TYPE.ANY) return only({ type: "HINFO", name, ttl: RECORD_TTL_S, data: { cpu: "RFC8482", os: "" } });
  if (type === TYPE.A || type === TYPE.AAAA) return name === zone.nameserver ? { ...NONE, answers: addressesOf(zone, type) } : NONE;
  return name === zone.name ? apexRecords(zone, type) : NONE;
}

function apexRecords(zone: Zone, type: number): Records {
  const { name } = zone;
  switch (type) {
    case TYPE.TXT: return { ...NONE, answers: zone.values.map((value) => ({ type: "TXT", name, ttl: CHALLENGE_TTL_S, data: [value] })) };
    case TYPE.SOA: return only(startOfAuthority(zone, RECORD_TTL_S));
    case TYPE.NS: return { ...only({ type: "NS", name, ttl: RECORD_TTL_S, data: zone.nameserver }), additionals: glue(zone) };
    case TYPE.CAA: return { ...NONE, answers: zone.caaIssuers.map((value) => ({ type: "CAA", name, ttl: RECORD_TTL_S, data: { flags: 0, tag: "issue", value } })) };
    default: return NONE;
  }
}

/** @param ttlS in an answer about something missing it is the SOA's minimum, RFC 2308 section 3 */
export function startOfAuthority(zone: Zone, ttlS: number): Answer {
  const parent = zone.name.slice(zone.name.indexOf(".") + 1);
  return {
    type: "SOA", name: zone.name, ttl: ttlS,
    data: { mname: zone.nameserver, rname: `hostmaster.${parent}`, serial: zone.serial, refresh: 3600, retry: 600, expire: 86_400, minimum: NEGATIVE_TTL_S },
  };
}

/** Addresses of a name server elsewhere are not ours to tell, and nobody would believe them (RFC 2181 section 5.4.1). */
function glue(zone: Zone): readonly Answer[] {
  return isInZone(zone, zone.nameserver) ? [...addressesOf(zone, TYPE.A), ...addressesOf(zone, TYPE.AAAA)] : [];
}

function addressesOf(zone: Zone, type: number): readonly Answer[] {
  const family = type === TYPE.A ? "A" : "AAAA";
  return zone.addresses
    .filter((address) => isIPv4(address) === (family === "A"))
    .map((address) => ({ type: family, name: zone.nameserver, ttl: RECORD_TTL_S, data: address }));
}

function only(record: Answer): Records {
  return { ...NONE, answers: [record] };
}
