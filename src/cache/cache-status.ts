// Our member of the Cache-Status field (RFC 9211): what the cache did about one request.

import type { Entry } from "./entry.ts";

/** RFC 9211 section 2.2: why a request went on. */
export type Forward = "bypass" | "method" | "uri-miss" | "vary-miss" | "request" | "stale";

export type Outcome = {
  readonly forward: Forward;
  /** Of the upstream's answer, where it is not the one given out. */
  readonly status?: number;
  readonly isStored?: boolean;
  /** Another request's fetch was waited for. */
  readonly isCollapsed?: boolean;
  /** A token. */
  readonly detail?: string;
};

export function forwarded(name: string, { forward, status, isStored = false, isCollapsed = false, detail }: Outcome): string {
  const parts = [name, `fwd=${forward}`];
  if (status !== undefined) parts.push(`fwd-status=${status}`);
  if (isStored) parts.push("stored");
  if (isCollapsed) parts.push("collapsed");
  if (detail !== undefined) parts.push(`detail=${detail}`);
  return parts.join("; ");
}

/** RFC 9211 section 2.1 and 2.4: a ttl below zero is that of a stale one. */
export function hit(name: string, entry: Entry, nowMs: number, detail?: string): string {
  return `${name}; hit; ttl=${entry.ttlAt(nowMs)}${detail === undefined ? "" : `; detail=${detail}`}`;
}
