// What may be registered: workload ids, names, domains, backends. Every check returns what is wrong as sentences that
// quote what was given and say what is right; none stops at the first fault. Asks nobody: whether a domain is taken or
// points here is for calls.ts.

import { isIP, isIPv6 } from "node:net";
import type { Backend } from "../gateway.ts";
import { canonicalAddress, hostForUrl } from "../lib/address.ts";
import { isCloudMetadata, isConnectable } from "./address.ts";
import { quoted } from "./errors.ts";
import { backendRefusal, NO_RULES, type Rules } from "./rules.ts";

export const FILE_EXTENSION = ".yaml";
/** Of nearly every file system. */
const FILE_NAME_LIMIT_BYTES = 255;
/** RFC 1035 section 2.3.4. */
const DOMAIN_LIMIT = 253;
const LABEL_LIMIT = 63;
/** Control, invisible and unassigned characters, line separators, halves of pairs: not for keys, logs and labels. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Cn}\p{Zl}\p{Zp}\ufffd]/u;

/** What is wrong with a workload id, which becomes a file's name; null when nothing is. */
export function workloadIdFault(id: string): string | null {
  const fault = fileNameFault(id);
  return fault === null ? null : `workload id ${quoted(id)} ${fault}`;
}

function fileNameFault(id: string): string | null {
  if (id === "") return "is empty";
  if (id === "." || id === "..") return "is a directory";
  if (id.includes("/")) return 'holds a "/", and ids become file names';
  if (id.includes("\0")) return "holds a NUL character, and ids become file names";
  // Dotfiles are ours (files being written) and Kubernetes' own (`..data`).
  if (id.startsWith(".")) return "begins with a dot, and such files are ignored";
  if (UNPRINTABLE.test(id)) return "holds characters that cannot be printed";
  const bytes = Buffer.byteLength(id) + FILE_EXTENSION.length;
  return bytes > FILE_NAME_LIMIT_BYTES ? `is too long: its file's name has ${bytes} bytes, and ${FILE_NAME_LIMIT_BYTES} are possible` : null;
}

/** Of a service's name, which a file may choose; null when nothing is wrong. */
export function serviceNameFault(name: string): string | null {
  if (name === "") return "a service needs a name";
  if (UNPRINTABLE.test(name)) return `service ${quoted(name)} holds characters that cannot be printed`;
  return name.length > FILE_NAME_LIMIT_BYTES ? `service ${quoted(name)} has more than ${FILE_NAME_LIMIT_BYTES} characters` : null;
}

/** The label that a name proxy puts before the gateway's domain. */
export function nameFault(name: string): string | null {
  if (!/^[a-zA-Z0-9_-]+$/.test(name)) return `name ${quoted(name)} is not one of letters, digits, "_" and "-" (and at least one of them)`;
  return name.length > LABEL_LIMIT ? `name ${quoted(name)} has ${name.length} characters, and a DNS label has at most ${LABEL_LIMIT}` : null;
}

/** A whole domain. */
export function domainFault(domain: string): string | null {
  if (isIP(domain) !== 0) return `${quoted(domain)} is an address, and a domain such as app.example.org is needed`;
  if (!/^([a-zA-Z0-9_-]+\.)+[a-zA-Z0-9_-]{2,}$/.test(domain)) return `${quoted(domain)} is not a domain such as app.example.org${withoutDot(domain)}`;
  // WHATWG URL, "ends in a number": whoever reads it takes it for an IPv4 address, or for an error.
  if (/\.(?:[0-9]+|0[xX][0-9a-fA-F]*)$/.test(domain)) return `${quoted(domain)} ends in a number, which no domain does`;
  if (domain.length > DOMAIN_LIMIT) return `${quoted(domain)} has ${domain.length} characters, and a domain has at most ${DOMAIN_LIMIT}`;
  const long = domain.split(".").find((label) => label.length > LABEL_LIMIT);
  return long === undefined ? null : `${quoted(domain)} has a label of ${long.length} characters, and a DNS label has at most ${LABEL_LIMIT}`;
}

function withoutDot(domain: string): string {
  const shorter = domain.slice(0, -1);
  return domain.endsWith(".") && domainFault(shorter) === null ? ` (write ${shorter}, without the dot)` : "";
}

/** True for the gateway's own domain and everything below it. Both in lower case. */
export function isWithin(fqdn: string, domain: string): boolean {
  return fqdn === domain || fqdn.endsWith(`.${domain}`);
}

export type Checked<T> = { readonly values: readonly T[]; readonly faults: readonly string[] };

/** All backends of a registration with all their faults; at least one backend is needed. */
export function checkBackends(texts: readonly string[], isPassthrough: boolean, rules: Rules): Checked<Backend> {
  if (texts.length === 0) return { values: [], faults: ["no backends: at least one is needed"] };
  const checked = texts.map((text) => parseBackend(text, isPassthrough, rules));
  return { values: checked.flatMap(({ values }) => values), faults: checked.flatMap(({ faults }) => faults) };
}

/**
 * `http://ip[:port]` where TLS ends here (port 80 when absent); `ip[:port]` or `https://ip[:port]` where it passes
 * through (port 443 when absent). The address is canonical. Without faults there is one value, with faults none.
 */
export function parseBackend(text: string, isPassthrough: boolean, rules: Rules = NO_RULES): Checked<Backend> {
  const faults: string[] = [];
  const fault = (what: string): void => void faults.push(`backend ${quoted(text)}: ${what}`);
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text);
  const wrong = schemeFault(scheme?.[1]?.toLowerCase() ?? null, isPassthrough);
  if (wrong !== null) fault(wrong);
  const rest = text.slice(scheme?.[0].length ?? 0);
  // An empty path is as good as none; in `ip:port` there is no place for either.
  const authority = scheme !== null && rest.endsWith("/") ? rest.slice(0, -1) : rest;
  if (/[/?#@\\]/.test(authority)) {
    fault("only an address and a port may be given, no path, query or user");
    return { values: [], faults };
  }
  const { host, port: portText } = splitPort(authority);
  const address = parseAddress(host);
  const port = portText === null ? (isPassthrough ? 443 : 80) : parsePort(portText);
  const refused = address === null ? addressMistake(host) : unusable(address) ?? backendRefusal(address, port, isPassthrough, rules);
  if (refused !== null) fault(refused);
  if (port === null) fault(portText === "" ? "the port is missing after \":\"" : `port ${quoted(portText ?? "")} is not a number from 1 to 65535`);
  return { values: faults.length > 0 || address === null || port === null ? [] : [{ address, port }], faults };
}

/** As registered files have it. */
export function formatBackend({ address, port }: Backend, isPassthrough: boolean): string {
  return `${isPassthrough ? "" : "http://"}${hostForUrl(address)}:${port}`;
}

function schemeFault(scheme: string | null, isPassthrough: boolean): string | null {
  if (isPassthrough) return scheme === null || scheme === "https" ? null : `with TLS passthrough a backend is ip:port or https://ip:port, not ${scheme}://`;
  if (scheme === "http") return null;
  return scheme === null ? "a backend is http://ip:port, the http:// is missing" : `TLS ends at the gateway, so a backend is http://ip:port, not ${scheme}://`;
}

/** The host with its brackets, if any. Without them nobody can tell where an IPv6 address ends and its port begins. */
function splitPort(authority: string): { host: string; port: string | null } {
  const port = /^(?:\[.*\]|[^:]*):([^:\]]*)$/s.exec(authority)?.[1];
  if (port === undefined) return { host: authority, port: null };
  return { host: authority.slice(0, -port.length - 1), port };
}

function parseAddress(host: string): string | null {
  if (host.startsWith("[") && host.endsWith("]")) return isIPv6(host.slice(1, -1)) ? canonicalAddress(host.slice(1, -1)) : null;
  return isIPv6(host) ? null : canonicalAddress(host);
}

/** Whoever registers it, and whatever flags say: none of these is a workload. */
function unusable(address: string): string | null {
  if (!isConnectable(address)) return `${address} is not an address that can be connected to`;
  return isCloudMetadata(address) ? `${address} is link-local or cloud metadata, which tells a machine's credentials, and no workload is there` : null;
}

function addressMistake(host: string): string {
  if (host === "") return "the address is missing";
  if (host.includes("%")) return `${quoted(host)} names an interface, and an address without one is needed`;
  if (isIPv6(host)) return `an IPv6 address stands in brackets: [${host}]`;
  if (/[[\]:]/.test(host)) return `${quoted(host)} is not an IP address`;
  return `${quoted(host)} is a host name, and an IP address is needed`;
}

function parsePort(text: string): number | null {
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : null;
}
