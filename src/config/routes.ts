// `routes` of the file → the table. What a single value cannot show is checked here: that the service exists, that the
// token has a place to stand, that no rule can hide another one.

import { suggestion } from "../lib/suggest.ts";
import type { PathMatch, PathRewrite, Route, TokenSource } from "../route.ts";
import type { Service } from "../service.ts";
import type { ConfigFile, RouteEntry } from "./schema.ts";
import type { Pass } from "./shape.ts";

export function buildRoutes(file: ConfigFile, services: ReadonlyMap<string, Service>, pass: Pass): Route[] {
  const declared = [...pass.keysOf(file.services)].map(String);
  const seen = new Map<string, number | null>();
  noteUnusedServices(file, declared, pass);
  if (file.routes.length === 0 && file.gateway === undefined) pass.source.note(pass.placeOf(file, "routes"), "there is no route: everything is answered 404");
  const routes = file.routes.flatMap((entry) => {
    const service = services.get(entry.service);
    // A service whose own entry is wrong has been reported there.
    if (!declared.includes(entry.service)) {
      const hint = suggestion(entry.service, declared);
      pass.mistake(pass.placeOf(entry, "service"), `unknown service "${entry.service}"${hint}`);
    }
    noteWithoutEffect(entry, service, pass);
    return entry.path.flatMap((path, index) => {
      const place = pass.placeOf(entry.path, index);
      const match = buildMatch(path, entry, place, pass);
      if (match === null) return [];
      refuseDuplicate(match, place, seen, pass);
      checkMatch(match, entry, pass);
      if (service === undefined) return [];
      checkService(match, entry, service, pass);
      return [buildRoute(entry, match, service)];
    });
  });
  return [...routes, ...companions(routes)];
}

function buildRoute(entry: RouteEntry, match: PathMatch, service: Service): Route {
  return {
    name: entry.name ?? match.path,
    match,
    tokenSources: tokenSources(entry),
    identity: entry.identity,
    service,
    rewrite: buildRewrite(entry, match),
    host: entry.host,
    websocket: entry.websocket || service.kind === "console",
    forwardToken: entry.forwardToken,
    bodyLimitBytes: entry.bodyLimit,
    readTimeoutMs: entry.readTimeout,
    idleTimeoutMs: entry.idleTimeout,
    buffering: entry.buffering,
    cache: entry.cache,
    compress: entry.compress,
    allowedClients: entry.allowedClients,
    deniedClients: entry.deniedClients,
    origins: buildOrigins(entry),
    compressText: entry.compressText,
    viewer: entry.viewer,
    closeAfterUpgrade: entry.closeAfterUpgrade,
  };
}

/** A console token stands in the path unless the file says otherwise. */
function tokenSources({ token, identity }: RouteEntry): readonly TokenSource[] {
  return token.length === 0 && identity === "vm" ? [{ kind: "path" }] : token;
}

function buildMatch(path: string, entry: RouteEntry, place: number | null, pass: Pass): PathMatch | null {
  const hasBraces = /[{}]/.test(path);
  const kind = entry.match ?? (hasBraces ? "pattern" : "prefix");
  if (kind !== "pattern" && hasBraces) {
    const hint = "(did you mean \"match: pattern\"?)";
    pass.mistake(place, `braces have no meaning in a path that is matched as "${kind}": "${path}" ${hint}`);
    return null;
  }
  if (kind !== "pattern" && path.includes("*")) noteStar(path, place, pass);
  const wrong = kind === "pattern" ? patternMistake(path) : null;
  if (wrong === null) return { kind, path };
  pass.mistake(place, wrong);
  return null;
}

function noteStar(path: string, place: number | null, pass: Pass): void {
  const above = /^(.*\/)\*+$/.exec(path)?.[1];
  pass.source.note(place, `a star is a plain character in a path: "${path}"${above === undefined ? "" : ` (as a prefix, "${above}" takes all that is below it)`}`);
}

/** `/fixed/{name}/{rest*}`: a name fills a whole segment, the rest stands last, no name stands twice. */
function patternMistake(pattern: string): string | null {
  const segments = pattern.slice(1).split("/");
  const names: string[] = [];
  for (const [index, segment] of segments.entries()) {
    if (!/[{}*]/.test(segment)) continue;
    const parts = /^\{([a-z][a-zA-Z0-9]*)(\*?)\}$/.exec(segment);
    const name = parts?.[1];
    if (name === undefined) {
      return `not a pattern: "${segment}" in "${pattern}" (a segment is fixed, {name}, or {name*} at the end)`;
    }
    if (parts?.[2] === "*" && index < segments.length - 1) {
      return `only the last segment may take the rest: "${segment}" in "${pattern}"`;
    }
    if (names.includes(name)) return `duplicate name {${name}} in "${pattern}"`;
    names.push(name);
  }
  return names.length > 0 ? null : `a pattern without {name}: "${pattern}" (did you mean "match: exact"?)`;
}

function patternHas(match: PathMatch, name: string): boolean {
  return match.kind === "pattern" && match.path.split("/").includes(`{${name}}`);
}

function refuseDuplicate(match: PathMatch, place: number | null, seen: Map<string, number | null>, pass: Pass): void {
  // Two patterns that differ only in their names take the same paths.
  const key = `${match.kind} ${match.path.replace(/\{[a-zA-Z0-9]+/g, "{")}`;
  const first = seen.get(key);
  if (first === undefined) {
    seen.set(key, place);
    return;
  }
  const { line } = pass.source.position(first);
  pass.mistake(place, `duplicate route: ${match.kind} "${match.path}" (first on line ${line})`);
}

function checkMatch(match: PathMatch, entry: RouteEntry, pass: Pass): void {
  for (const [index, source] of entry.token.entries()) {
    if (source.kind === "path" && !patternHas(match, "token")) {
      pass.mistake(pass.placeOf(entry.token, index), `token source "path" needs {token} in the path "${match.path}"`);
    }
  }
  const isMatchedAs = `"${match.path}" is matched as "${match.kind}"`;
  if (entry.upstreamPath === "strip" && match.kind !== "prefix") {
    pass.mistake(pass.placeOf(entry, "upstreamPath"), `upstreamPath "strip" needs "match: prefix": ${isMatchedAs}`);
  }
  if (entry.upstreamPath === "rest" && match.kind !== "pattern") {
    const pattern = `${match.path.replace(/\/$/, "")}/{path*}`;
    const place = pass.placeOf(entry, "upstreamPath");
    pass.mistake(place, `upstreamPath "rest" needs a pattern such as ${pattern}: ${isMatchedAs}`);
  }
}

function checkService(match: PathMatch, entry: RouteEntry, service: Service, pass: Pass): void {
  const place = pass.placeOf(entry, "service");
  if (service.kind === "target" && entry.token.length === 0) {
    const hint = "the route needs \"token\" (such as [header:Authorization])";
    pass.mistake(place, `service "${service.name}" is found by a token: ${hint}`);
  }
  if (service.kind === "target" && entry.identity === "vm") pass.mistake(place, `service "${service.name}" is found by a desktop token, the route asks for a console token`);
  if (service.kind === "console") checkConsole(match, entry, service, pass);
  else refuseForOthers(entry, service, pass);
  if (service.kind === "target" && service.port === "path" && !patternHas(match, "port")) {
    pass.mistake(place, `service "${service.name}" takes its port from the path: "${match.path}" needs {port}`);
  }
  if (entry.cache) checkCache(entry, service, pass);
  if (service.kind === "builtin" && entry.websocket) {
    const reason = "is answered by this process and speaks no WebSocket";
    pass.mistake(pass.placeOf(entry, "websocket"), `service "${service.name}" ${reason}`);
  }
}

/** What a token opens is one client's own, whatever its Cache-Control says. */
function checkCache(entry: RouteEntry, service: Service, pass: Pass): void {
  const place = pass.placeOf(entry, "cache");
  if (entry.token.length > 0) pass.mistake(place, "a route with a token is never cached");
  else if (service.kind === "fixed" && service.policy.kind === "sticky") pass.source.note(place, "\"cache\" on a sticky service: answers to GET and HEAD, which may be anybody's, carry no cookie");
  else if (service.kind !== "fixed") pass.mistake(place, `service "${service.name}" has no upstream whose answers could be cached`);
}

function checkConsole(match: PathMatch, entry: RouteEntry, service: Service, pass: Pass): void {
  const place = pass.placeOf(entry, "service");
  if (entry.identity !== "vm") pass.mistake(place, `service "${service.name}" is found by a console token: the route needs "identity: vm"`);
  if (entry.token.length === 0 && !patternHas(match, "token")) {
    pass.mistake(place, `service "${service.name}" takes the token from the path: "${match.path}" needs {token}, or the route "token"`);
  }
  if (!patternHas(match, "vm")) pass.mistake(place, `service "${service.name}" takes the virtual machine from the path: "${match.path}" needs {vm}`);
  if (pass.placeOf(entry, "websocket") !== null && !entry.websocket) pass.mistake(pass.placeOf(entry, "websocket"), `service "${service.name}" speaks nothing but WebSocket`);
  if (entry.viewer && service.kind === "console" && service.apiPath.endsWith("/console")) {
    pass.mistake(pass.placeOf(entry, "viewer"), `"viewer" shows screens: service "${service.name}" is a serial console`);
  }
  if (entry.viewer && consolePrefix(match) === null) {
    pass.mistake(pass.placeOf(entry, "viewer"), `"viewer" needs a path that ends in /{token}/{vm}: "${match.path}"`);
  }
}

function refuseForOthers(entry: RouteEntry, service: Service, pass: Pass): void {
  const reason = `is for consoles: service "${service.name}" has no "kubernetes"`;
  if (entry.identity === "vm" && service.kind !== "target") pass.mistake(pass.placeOf(entry, "identity"), `"identity: vm" ${reason}`);
  if (entry.viewer) pass.mistake(pass.placeOf(entry, "viewer"), `"viewer" ${reason}`);
}

/** What stands before `/{token}/{vm}`; null when the path does not end so. */
function consolePrefix(match: PathMatch): string | null {
  const end = "/{token}/{vm}";
  return match.kind === "pattern" && match.path.endsWith(end) ? match.path.slice(0, -end.length) : null;
}

/**
 * Routes that come along with consoles: the viewer's files, and for `closeAfterUpgrade` what says "invalid url" to any other
 * number of segments below the prefix. A route of the file for the same path wins.
 */
function companions(routes: readonly Route[]): Route[] {
  const own = new Map<string, Route>();
  for (const route of routes) {
    const prefix = consolePrefix(route.match);
    if (prefix === null || route.service.kind !== "console") continue;
    const plain = { ...route, tokenSources: [], viewer: false, closeAfterUpgrade: false } as const;
    if (route.viewer) {
      const path = `${prefix}/_viewer/{file*}`;
      own.set(path, { ...plain, name: path, match: { kind: "pattern", path }, websocket: false, service: { kind: "builtin", name: "viewer", answer: { kind: "viewer" } } });
    }
    const rest: PathMatch = { kind: "prefix", path: prefix === "" ? "/" : prefix };
    if (route.closeAfterUpgrade && !routes.some(({ match }) => match.kind === rest.kind && match.path === rest.path)) {
      own.set(rest.path, { ...plain, name: rest.path, match: rest, closeAfterUpgrade: true, service: nothing("invalid url") });
    }
  }
  return [...own.values()];
}

/** @param closeReason what a WebSocket hears; a plain request hears 404 */
export function nothing(closeReason: string): Service {
  return { kind: "builtin", name: "nothing", answer: { kind: "nothing", closeReason } };
}

function noteUnusedServices(file: ConfigFile, declared: readonly string[], pass: Pass): void {
  const used = new Set(file.routes.map((entry) => entry.service));
  for (const name of declared) {
    if (!used.has(name)) pass.source.note(pass.placeOf(file.services, name), `no route uses the service "${name}"`);
  }
}

function noteWithoutEffect(entry: RouteEntry, service: Service | undefined, pass: Pass): void {
  if (service?.kind === "console") {
    // The handshake at the Kubernetes API is ours alone, and has no body.
    for (const key of ["upstreamPath", "host", "forwardToken", "bodyLimit", "buffering"] as const) {
      const place = pass.placeOf(entry, key);
      if (place !== null) pass.source.note(place, `"${key}" has no effect on a console`);
    }
    return;
  }
  const forWebSocket = ["idleTimeout", "origins", "compressText", "closeAfterUpgrade"] as const;
  for (const key of forWebSocket) {
    const place = pass.placeOf(entry, key);
    if (place !== null && !entry.websocket) pass.source.note(place, `"${key}" has no effect without "websocket: true"`);
  }
  if (entry.forwardToken && entry.token.length === 0) {
    pass.source.note(pass.placeOf(entry, "forwardToken"), "\"forwardToken\" has no effect on a route without \"token\"");
  }
}

function buildRewrite(entry: RouteEntry, match: PathMatch): PathRewrite {
  const { upstreamPath } = entry;
  if (typeof upstreamPath === "object") return { kind: "replace", path: upstreamPath.replace };
  return upstreamPath === "strip" ? { kind: "strip", prefix: match.path } : { kind: upstreamPath };
}

/** Browsers send cookies and tokens along from foreign pages: a route with a token is for pages of its own host. */
function buildOrigins(entry: RouteEntry): Route["origins"] {
  const origins = entry.origins ?? (tokenSources(entry).length > 0 ? "same-host" : "any");
  return typeof origins === "string" ? { kind: origins } : { kind: "list", origins };
}
