// The values of a configuration file → Settings, or every mistake in it. Pure: the environment and /etc/resolv.conf
// come in as arguments. The result is deeply frozen: it is one snapshot, and a changed file makes a new one.

import { isIP } from "node:net";
import { isLoopbackHost } from "../lib/address.ts";
import { excerpt } from "../lib/excerpt.ts";
import { suggestion } from "../lib/suggest.ts";
import type { IdentityKind } from "../identity.ts";
import type { Route } from "../route.ts";
import type { DesktopTokenSettings, DnsSettings, ListenAddress, Settings, TlsSettings, VmTokenSettings } from "../settings.ts";
import type { Environment } from "./interpolate.ts";
import type { Mistake } from "./mistake.ts";
import { buildRoutes } from "./routes.ts";
import { type ConfigFile, fileShape } from "./schema.ts";
import { buildPorts, buildServices } from "./services.ts";
import { Pass, Refusal } from "./shape.ts";
import { type Nameservers, parseAllowedTarget, parseListenAddress } from "./values.ts";
import type { NamedPath, Source, Value } from "./source.ts";

export type ParseOptions = {
  readonly env: Environment;
  /** Text of /etc/resolv.conf; it may throw when there is none. */
  readonly readResolvConf?: (() => string) | undefined;
  /** `--http`: wins over the file. */
  readonly httpListen?: string | undefined;
  /** `--https`, `--admin`: win over the file. */
  readonly httpsListen?: string | undefined;
  readonly adminListen?: string | undefined;
  /** `--allow-targets`: added to the file's. */
  readonly allowTargets?: readonly string[] | undefined;
  /** `--log-format`: wins over the file. */
  readonly logFormat?: string | undefined;
  /** For showing a file, not for serving it: a variable that is not set stays as `${NAME}`. */
  readonly allowUnset?: boolean | undefined;
};

export type Parsed =
  /** `notes`: what has no effect and may be an oversight. `paths`: what is read from the disk when it is used. */
  | { readonly settings: Settings; readonly notes: readonly Mistake[]; readonly paths: readonly NamedPath[] }
  | { readonly mistakes: readonly Mistake[] };

/** @param value the whole file; undefined when its syntax is broken. */
export function buildSettings(value: Value | undefined, source: Source, name: string, options: ParseOptions): Parsed {
  const pass = new Pass(source);
  const file = value === undefined ? undefined : fileShape.read(value, pass);
  const settings = file === undefined ? undefined : assemble(file, name, options, pass);
  const { mistakes } = source;
  if (settings === undefined || mistakes.length > 0) return { mistakes };
  return { settings: deepFreeze(settings), notes: source.notes, paths: source.paths };
}

function assemble(file: ConfigFile, source: string, options: ParseOptions, pass: Pass): Settings {
  const ports = buildPorts(file, options.env, pass);
  const routes = buildRoutes(file, buildServices(file, ports, pass), pass);
  return {
    source,
    http: fromFlag("--http", options.httpListen, parseListenAddress, pass) ?? file.entrypoints.http,
    ...buildEdge(file, options, pass),
    nodeName: options.env["NODE_NAME"] ?? "",
    desktopToken: asksFor("desktop", routes) ? buildDesktopToken(file, pass) : null,
    vmToken: asksFor("vm", routes) ? buildVmToken(file, pass) : null,
    guard: {
      allowedTargets: buildAllowedTargets(file, options, pass),
      allowedPorts: file.targets.allowedPorts ?? [...new Set(ports.values())],
    },
    dns: buildDns(file, options, pass),
    ...buildBounds(file),
    trustedProxies: file.trustedProxies,
    proxyProtocol: file.proxyProtocol,
    responseHeaders: buildResponseHeaders(file, pass),
    drainTimeoutMs: file.drainTimeout,
    logFormat: fromFlag("--log-format", options.logFormat, parseLogFormat, pass) ?? file.log.format,
    routes,
  };
}

/** TLS, gateways and the admin address belong together: a gateway needs the other two. */
function buildEdge(file: ConfigFile, options: ParseOptions, pass: Pass): Pick<Settings, "tls" | "gateway" | "admin"> {
  const { entrypoints, gateway } = file;
  const listen = fromFlag("--admin", options.adminListen, parseListenAddress, pass) ?? entrypoints.admin ?? (gateway === undefined ? undefined : ADMIN);
  if (listen !== undefined && file.admin.tokenFile === undefined && !isLoopbackHost(listen.host)) {
    pass.mistake(pass.placeOf(entrypoints, "admin"), "an admin address that is not loopback needs a token: \"admin: { tokenFile: ... }\" in the configuration");
  }
  return {
    tls: buildTls(file, options, pass),
    gateway: gateway === undefined ? null : {
      root: gateway.root, domain: gateway.domain ?? null, publicAddresses: gateway.publicAddresses, checkDomains: gateway.checkDomains,
      allowLoopbackBackends: gateway.allowLoopbackBackends, broker: gateway.broker ?? null, dns: gateway.dns ?? null,
      challengeProgram: gateway.challengeProgram ?? null,
    },
    admin: listen === undefined ? null : { listen, tokenFile: file.admin.tokenFile ?? null },
  };
}

const ADMIN: ListenAddress = { host: "127.0.0.1", port: 9090 };
const STORAGE = "/var/lib/route-gateway/acme";

function buildTls(file: ConfigFile, options: ParseOptions, pass: Pass): TlsSettings | null {
  const { entrypoints, gateway } = file;
  const tls = file.tls ?? (gateway === undefined ? undefined : NO_TLS);
  if (tls === undefined) {
    // Somebody who asks for it in so many words must not be served plain HTTP only.
    if (options.httpsListen !== undefined) pass.mistake(null, "--https: there is nothing to serve over TLS (the configuration has no \"tls\")");
    return null;
  }
  checkTls(file, tls, pass);
  const { acme } = tls;
  const storage = acme?.storage ?? (gateway === undefined ? STORAGE : `${gateway.root}/acme`);
  return {
    https: fromFlag("--https", options.httpsListen, parseListenAddress, pass) ?? entrypoints.https,
    files: tls.certificates, names: tls.names, defaultName: tls.default ?? null,
    acme: acme === undefined ? null : { directoryUrl: acme.directory, email: acme.email ?? null, caFile: acme.caFile ?? null, keyType: acme.keyType, storage },
    localAuthority: tls.localAuthority ?? null, redirect: tls.redirect, hstsS: Math.floor(tls.hsts / 1000),
  };
}

/** What can be known from the file alone. */
function checkTls(file: ConfigFile, tls: NonNullable<ConfigFile["tls"]>, pass: Pass): void {
  const { names, acme, localAuthority, default: name } = tls;
  const has = (key: keyof typeof tls): boolean => pass.placeOf(tls, key) !== null;
  if (names.length > 0 && !has("acme") && !has("localAuthority")) {
    pass.mistake(pass.placeOf(tls, "names"), "certificates for \"names\" come from \"acme\" or \"localAuthority\": neither is there");
  }
  if (acme !== undefined && localAuthority !== undefined) {
    pass.mistake(pass.placeOf(tls, "acme"), "certificates come from \"acme\" or from \"localAuthority\": remove one of them");
  }
  // What certificates in files are for is not known here, nor what is registered later.
  // What has been reported as wrong may be what was meant.
  if (file.gateway !== undefined || tls.certificates.length > 0 || pass.source.mistakes.length > 0) return;
  if (names.length === 0) pass.mistake(pass.placeOf(file, "tls"), "there is nothing to serve over TLS: \"tls\" has neither \"certificates\" nor \"names\", and there is no \"gateway\"");
  else if (name !== undefined && !names.includes(name)) pass.mistake(pass.placeOf(tls, "default"), `no certificate is for "${name}": it is none of "names"${suggestion(name, names)}`);
}

const NO_TLS: NonNullable<ConfigFile["tls"]> = { certificates: [], names: [], default: undefined, acme: undefined, localAuthority: undefined, redirect: true, hsts: 0 };

function buildBounds({ limits, cache, compression, upstream, websocket }: ConfigFile): Pick<Settings, "limits" | "cache" | "compression" | "upstream" | "websocket"> {
  return {
    limits: {
      requestTargetBytes: limits.requestTarget,
      headerBytes: limits.headers,
      headerCount: limits.headerCount,
      responseBufferBytes: limits.responseBuffer,
      responseBufferTotalBytes: limits.responseBufferTotal,
      connections: limits.connections,
      connectionsPerAddress: limits.connectionsPerAddress,
      requestsPerAddress: limits.requestsPerAddress ?? null,
      requestsPerToken: limits.requestsPerToken ?? null,
      minimumRate: limits.minimumRate,
    },
    cache: {
      memoryBytes: cache.memory,
      objectBytes: cache.objectLimit,
      disk: cache.directory === undefined ? null : { directory: cache.directory, bytes: cache.disk },
    },
    compression: { encodings: compression.encodings, minimumBytes: compression.minimum, level: compression.level },
    upstream: {
      connectTimeoutMs: upstream.connectTimeout,
      writeTimeoutMs: upstream.writeTimeout,
      idleConnectionsPerTarget: upstream.idleConnectionsPerTarget,
      idleConnections: upstream.idleConnections,
      idleTimeoutMs: upstream.idleTimeout,
      dialTimeoutMs: upstream.dialTimeout,
    },
    websocket: {
      pingIntervalMs: websocket.pingInterval,
      missedPongs: websocket.missedPongs,
      messageLimitBytes: websocket.messageLimit,
    },
  };
}

function asksFor(identity: IdentityKind, routes: readonly Route[]): boolean {
  return routes.some((route) => route.tokenSources.length > 0 && route.identity === identity);
}

function buildDesktopToken(file: ConfigFile, pass: Pass): DesktopTokenSettings | null {
  const desktop = file.token.desktop;
  if (desktop === undefined) {
    // An entry that is there and wrong has been reported.
    if (pass.placeOf(file.token, "desktop") !== null) return null;
    const asking = file.routes.find((route) => route.token.length > 0 && route.identity === "desktop");
    const place = asking === undefined ? 0 : pass.placeOf(asking, "token");
    pass.mistake(place, "a route asks for a token, but \"token.desktop\" is missing");
    return null;
  }
  const { cache: { ttl, entries, bytes, failureTtl }, ...rest } = desktop;
  return { ...rest, cache: { ttlMs: ttl, entries, bytes, failureTtlMs: failureTtl } };
}

function buildVmToken(file: ConfigFile, pass: Pass): VmTokenSettings | null {
  const { vm } = file.token;
  if (vm === undefined) {
    if (pass.placeOf(file.token, "vm") !== null) return null;
    const asking = file.routes.find((route) => route.identity === "vm");
    pass.mistake(asking === undefined ? 0 : pass.placeOf(asking, "identity"), "a route asks for a console token, but \"token.vm\" is missing");
    return null;
  }
  const { secret, secretFile, algorithms, allowWeakSecret } = vm;
  const given = ["secret", "secretFile"].filter((key) => pass.placeOf(vm, key) !== null);
  if (given.length !== 1) pass.mistake(pass.placeOf(file.token, "vm"), `"token.vm" needs one of "secret" and "secretFile"${given.length > 1 ? ", not both" : ""}`);
  const rules = { algorithms, allowWeakSecret };
  if (secretFile !== undefined) return { secret: { kind: "file", path: secretFile }, ...rules };
  return secret === undefined ? null : { secret: { kind: "text", text: secret }, ...rules };
}

function buildAllowedTargets(file: ConfigFile, options: ParseOptions, pass: Pass): string[] {
  const read = (text: string): string => fromFlag("--allow-targets", text, parseAllowedTarget, pass) ?? "";
  const fromFlags = (options.allowTargets ?? []).map(read);
  return [...new Set([...file.targets.allowedTargets, ...fromFlags])];
}

function buildResponseHeaders(file: ConfigFile, pass: Pass): Array<readonly [string, string]> {
  const names = new Map<string, string>();
  for (const [name, value] of Object.entries(file.headers.response)) {
    const key = name.toLowerCase();
    const place = pass.placeOf(file.headers.response, name);
    if (isFramingHeader(key)) pass.mistake(place, `header "${name}" belongs to one message and cannot be set on all`);
    else if (names.has(key)) pass.mistake(place, `duplicate header "${name}" (upper and lower case are alike)`);
    names.set(key, value);
  }
  return [...names];
}

/** Setting one of these on every response would break its framing, or give all clients one cookie. */
function isFramingHeader(name: string): boolean {
  return /^(connection|content-length|date|keep-alive|proxy-.*|set-cookie|te|trailer|transfer-encoding|upgrade)$/
    .test(name);
}

function buildDns({ dns }: ConfigFile, options: ParseOptions, pass: Pass): DnsSettings {
  // A mistake in the variable is one in the default as well, and has been reported.
  const { servers, ignored } = dns.nameserver as Nameservers | undefined ?? { servers: [], ignored: [] };
  for (const parameter of ignored) pass.source.note(pass.placeOf(dns, "nameserver"), `"${parameter}" of nginx's resolver has no effect here`);
  return { nameservers: findNameservers(servers, options.readResolvConf), ignored, timeoutMs: dns.timeout };
}

/** None: the first usable one of resolv.conf. null: the system's resolver. */
function findNameservers(servers: Nameservers["servers"], readResolvConf: ParseOptions["readResolvConf"]): readonly string[] | null {
  if (servers === "system") return null;
  if (servers.length > 0) return servers;
  const addresses = resolvConf(readResolvConf).matchAll(/^[ \t]*nameserver[ \t]+(\S+)/gm);
  const isUsable = (address: string): boolean => isIP(address) !== 0 && !address.includes("%");
  const first = [...addresses].map((match) => match[1] ?? "").find(isUsable);
  return first === undefined ? null : [first];
}

function resolvConf(read: ParseOptions["readResolvConf"]): string {
  try {
    return read?.() ?? "";
  } catch {
    return ""; // No such file (a bare container): the same as a file without a nameserver.
  }
}

function parseLogFormat(text: string): "json" | "pretty" {
  if (text === "json" || text === "pretty") return text;
  throw new Refusal(`expected json or pretty, found "${excerpt(text)}"`);
}

function fromFlag<T>(flag: string, text: string | undefined, parse: (text: string) => T, pass: Pass): T | undefined {
  if (text === undefined) return undefined;
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    pass.mistake(null, `${flag}: ${error.message}`);
    return undefined;
  }
}

/** Frozen to the last leaf; what is frozen already is taken as it is. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}
