// The files and directories that a configuration names, looked at as serve would read them, for check. What is found depends on
// this machine and this user, so it is no mistake: where a file is checked is often not where it is served from.

import { accessSync, constants, statSync } from "node:fs";
import { assertProgram } from "../acme/program.ts";
import { readRoot } from "../acme/root.ts";
import { tokenFault } from "../admin/guard.ts";
import { readTokenFile } from "../admin/token-file.ts";
import { dateFault } from "../certificate.ts";
import { readCertificatePair } from "../certificate/files.ts";
import type { Mistake } from "../config/mistake.ts";
import type { NamedPath } from "../config/source.ts";
import { fileFault } from "../lib/file-fault.ts";
import { storageFault } from "../lib/private-directory.ts";
import type { Service } from "../service.ts";
import type { Settings } from "../settings.ts";
import { loadKey } from "../token/keys.ts";
import { loadSecret } from "../token/secret.ts";
import { readServiceAccount } from "../upstream/service-account.ts";

/** @field paths what is looked at together @field fault why it cannot be used here; it may also throw that */
type Look = { readonly paths: readonly string[]; readonly fault: () => string | null };

/** What cannot be used here, in the order of the file. @param paths where it names them */
export function faultsOfNamedFiles(settings: Settings, paths: readonly NamedPath[], nowMs: number = Date.now()): Mistake[] {
  const faults = new Map<string, Mistake>();
  for (const { paths: [first = "", ...others], fault } of looks(settings, nowMs)) {
    // Of a name with a variable in it that is not set there is no place: it names nothing yet.
    const places = [first, ...others].map((path) => paths.find((named) => named.path === path));
    const [place] = places;
    if (place === undefined || places.includes(undefined)) continue;
    const message = saidBy(fault);
    if (message !== null) faults.set(`${place.line}:${place.column} ${message}`, { line: place.line, column: place.column, message });
  }
  return [...faults.values()].sort((a, b) => a.line - b.line || a.column - b.column);
}

function looks(settings: Settings, nowMs: number): Look[] {
  const { desktopToken, vmToken, tls, gateway, admin, cache, routes } = settings;
  const found: Look[] = [];
  if (desktopToken !== null) {
    const { signingPublicKeys, payloadPrivateKey, allowWeakRsaKeys } = desktopToken;
    for (const path of signingPublicKeys) found.push(...read([path], () => void loadKey(path, "public", "signing public key", allowWeakRsaKeys)));
    found.push(...read([payloadPrivateKey], () => void loadKey(payloadPrivateKey, "private", "payload private key", allowWeakRsaKeys)));
  }
  if (vmToken?.secret.kind === "file") found.push(...read([vmToken.secret.path], () => void loadSecret(vmToken)));
  for (const pair of tls?.files ?? []) found.push(...read([pair.certFile, pair.keyFile], () => said(`the certificate in ${pair.certFile}`, dateFault(readCertificatePair(pair), nowMs))));
  const { caFile = null, storage = null } = tls?.acme ?? {};
  if (caFile !== null) found.push(...read([caFile], () => void readRoot(caFile)));
  const { challengeProgram = null, root = null } = gateway ?? {};
  if (challengeProgram !== null) found.push({ paths: [challengeProgram], fault: () => { assertProgram(challengeProgram); return null; } });
  const { tokenFile = null } = admin ?? {};
  if (tokenFile !== null) found.push(...read([tokenFile], () => said(`cannot use the admin token ${tokenFile}:`, tokenFault(readTokenFile(tokenFile)))));
  const kept = [storage, tls?.localAuthority ?? null, root, routes.some((route) => route.cache) ? cache.disk?.directory ?? null : null];
  for (const path of kept) if (path !== null) found.push({ paths: [path], fault: () => said(`the directory ${path} cannot be written here:`, storageFault(path)) });
  return [...found, ...routes.flatMap(({ service }) => looksOf(service))];
}

function looksOf(service: Service): Look[] {
  if (service.kind === "builtin" && service.answer.kind === "files" && service.answer.root !== null) return read([service.answer.root], null);
  if (service.kind === "fixed" && service.trust.caFile !== null) return read([service.trust.caFile], () => null);
  if (service.kind !== "console" || service.credentials === null) return [];
  const { credentials } = service;
  return read([credentials.caFile, credentials.tokenFile], () => void readServiceAccount(credentials));
}

/**
 * Each of them must be readable; what they hold is looked at when all are.
 * @param look null: it is a directory
 */
function read(paths: readonly string[], look: (() => string | null | void) | null): Look[] {
  const what = look === null ? "directory" : "file";
  const each = paths.map((path) => ({ paths: [path], fault: () => said(`the ${what} ${path} cannot be read here:`, accessFault(path, what)) }));
  if (look === null) return each;
  return [...each, { paths, fault: () => (paths.every((path) => accessFault(path, what) === null) ? look() ?? null : null) }];
}

function accessFault(path: string, what: "file" | "directory"): string | null {
  try {
    accessSync(path, constants.R_OK);
  } catch (error) {
    return fileFault(error);
  }
  if (isDirectory(path) === (what === "directory")) return null;
  return what === "directory" ? "is no directory" : "is a directory";
}

function said(subject: string, fault: string | null): string | null {
  return fault === null ? null : `${subject} ${fault}`;
}

function saidBy(fault: () => string | null): string | null {
  try {
    return fault();
  } catch (error) {
    return (error as Error).message;
  }
}

export function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false; // What cannot be looked at is reported where it is read.
  }
}
