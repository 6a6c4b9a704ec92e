// Which file serves which domain. A domain belongs to the file that claimed it first; a later claim waits and is a problem
// that names both, until the first one goes. Over a restart the files' own times say who was first: what we write keeps the time of its
// claim. A file that turned bad claims what its last good version did. Pure.

import type { Gateway } from "../gateway.ts";
import { fileNameOf } from "./directory.ts";
import { quoted } from "./errors.ts";

export type Claim = {
  /** The file's name. */
  readonly name: string;
  /** What the file says, or its last good version said; null when it never was good. */
  readonly gateway: Gateway | null;
  /** What is wrong with the file now; null when nothing is. */
  readonly fault: string | null;
};

export type Settlement = {
  /** By domain. */
  readonly gateways: ReadonlyMap<string, Gateway>;
  /** By workload id. */
  readonly byId: ReadonlyMap<string, Gateway>;
  /** By file name. */
  readonly problems: ReadonlyMap<string, string>;
};

/**
 * @param claims in the order in which they were made
 * @param served what each workload serves until now: one whose new domain is taken goes on with it, if nobody claims that
 */
export function settle(claims: Iterable<Claim>, served: ReadonlyMap<string, Gateway>): Settlement {
  const gateways = new Map<string, Gateway>();
  const byId = new Map<string, Gateway>();
  const problems = new Map<string, string>();
  const give = (gateway: Gateway): void => {
    gateways.set(gateway.fqdn, gateway);
    byId.set(gateway.id, gateway);
  };
  const waiting: Array<{ name: string; gateway: Gateway; fault: string | null }> = [];
  for (const { name, gateway, fault } of claims) {
    if (fault !== null) problems.set(name, gateway === null ? fault : `${fault} (its last good version stays in use)`);
    if (gateway === null) continue;
    if (gateways.has(gateway.fqdn)) waiting.push({ name, gateway, fault });
    else give(gateway);
  }
  for (const { name, gateway, fault } of waiting) {
    const owner = gateways.get(gateway.fqdn)?.id ?? "";
    if (fault === null) problems.set(name, `${conflictOf(gateway.fqdn, owner, gateway.id)} (${fileNameOf(owner)})`);
    const last = served.get(gateway.id);
    if (last !== undefined && !gateways.has(last.fqdn)) give(last);
  }
  return { gateways, byId, problems };
}

/** The one sentence about it, for files and for calls. */
export function conflictOf(fqdn: string, owner: string, other: string): string {
  return `domain ${quoted(fqdn)} is already registered by workload ${quoted(owner)}, so workload ${quoted(other)} cannot have it`;
}
