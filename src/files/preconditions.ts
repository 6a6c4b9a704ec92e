// Conditional requests: what a client knows of a file against what the file is now (RFC 9110 section 13). Evaluated in the
// order of section 13.2.2; a field that is malformed is as good as absent.

import { formatHttpDate, parseHttpDate } from "../lib/http-date.ts";
import type { OpenFile } from "./open-file.ts";

/** A file that was touched this recently may be touched again without a sign of it: its clock is too coarse. */
const SETTLED_MS = 2_000;

type Headers = Readonly<Record<string, string>>;

/** What tells one state of a file from another. */
export type Validators = { readonly etag: string; /** Unix time in ms, whole seconds, not in the future. */ readonly modifiedMs: number; readonly isSettled: boolean };

/**
 * The inode's change time, because nobody can set it: an unpacked release may bring the same times and sizes as the one
 * before. It is weak while the file is too young for its time to be a proof (RFC 9110 section 8.8.1).
 * @param coding of a precompressed sibling, which is another representation; "" for the file itself
 */
export function validatorsOf(file: OpenFile, coding: string, nowMs: number): Validators {
  const isSettled = nowMs - Number(file.changedNs / 1_000_000n) >= SETTLED_MS;
  const tag = `"${file.changedNs.toString(36)}-${file.size.toString(36)}${coding === "" ? "" : `-${coding}`}"`;
  // RFC 9110 section 8.8.2.1: a time in the future is replaced by the present one.
  const modifiedMs = Math.floor(Math.min(file.modifiedMs, nowMs) / 1000) * 1000;
  return { etag: isSettled ? tag : `W/${tag}`, modifiedMs, isSettled };
}

/** @returns the status to answer with instead of the file; null to go on @param headers of a GET or HEAD, names in lower case */
export function failedPrecondition(headers: Headers, { etag, modifiedMs }: Validators, nowMs: number): 304 | 412 | null {
  const date = (name: string): number | null => parseHttpDate(headers[name] ?? "", nowMs);
  const ifMatch = headers["if-match"];
  const unmodifiedSince = date("if-unmodified-since");
  if (ifMatch !== undefined) {
    if (!(ifMatch.trim() === "*" || tags(ifMatch).some((tag) => isStrong(tag) && tag === etag))) return 412;
  } else if (unmodifiedSince !== null && modifiedMs > unmodifiedSince) return 412;
  const ifNoneMatch = headers["if-none-match"];
  if (ifNoneMatch !== undefined) return ifNoneMatch.trim() === "*" || tags(ifNoneMatch).some((tag) => opaque(tag) === opaque(etag)) ? 304 : null;
  const modifiedSince = date("if-modified-since");
  return modifiedSince !== null && modifiedMs <= modifiedSince ? 304 : null;
}

/** Whether a part of the file fits what the client has (RFC 9110 section 13.1.5); without the field it does. */
export function mayServeRange(ifRange: string | undefined, { etag, modifiedMs, isSettled }: Validators): boolean {
  if (ifRange === undefined) return true;
  // Strong comparison, and for dates an exact one: half of one file must never be joined to half of another.
  if (ifRange.includes('"')) return isStrong(ifRange) && ifRange.trim() === etag;
  return isSettled && ifRange.trim() === formatHttpDate(modifiedMs);
}

function tags(list: string): readonly string[] {
  return list.match(/(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/g) ?? [];
}

function isStrong(tag: string): boolean {
  return !tag.trimStart().startsWith("W/");
}

function opaque(tag: string): string {
  return tag.startsWith("W/") ? tag.slice(2) : tag;
}
