// route-gateway explain: what would happen to a request, step by step, with the very parts that serve. Nothing is dialled;
// names are looked up, because the guard judges addresses.

import { loadSettings } from "../config/load.ts";
import { asRouteError, RouteError } from "../errors.ts";
import { CidrSet } from "../lib/address.ts";
import { Sweeper } from "../lib/deadlines.ts";
import { identifyClient } from "../proxy/client.ts";
import { upstreamHead } from "../proxy/passage.ts";
import { type ClientRequest, readRequest } from "../proxy/request.ts";
import { Snapshot } from "../proxy/snapshot.ts";
import { checkHandshake, checkOrigin, wantsUpgrade } from "../proxy/upgrade.ts";
import type { Identity } from "../identity.ts";
import type { Route, TokenSource } from "../route.ts";
import type { Match } from "../router/router.ts";
import type { Settings } from "../settings.ts";
import { DesktopTokens } from "../token/desktop-token.ts";
import { KeyStore } from "../token/keys.ts";
import { findToken, type FoundToken } from "../token/source.ts";
import { type Arguments, UsageError } from "./args.ts";
import type { Command, Io } from "./command.ts";
import { settingsOptions } from "./serve.ts";

export const command: Command = {
  name: "explain",
  summary: "Says which route a request takes and why, what its token yields, and where it would go.",
  spec: {
    positionals: [{ name: "URL", help: "a path with its query, or a whole URL" }],
    flags: [
      { name: "config", value: "FILE", help: "configuration; without it, the built-in endpoint table" },
      { name: "method", value: "M", help: "request method", default: "GET" },
      { name: "header", value: "'K: V'", repeat: true, help: "request header" },
      { name: "token", value: "T", help: "token; put where the route looks first" },
      { name: "allow-targets", value: "LIST", repeat: true, help: "as with serve" },
      { name: "client", value: "IP", help: "address of the client", default: "127.0.0.1" },
      { name: "http", value: "HOST:PORT", help: "as with serve" },
      { name: "log-format", value: "json|pretty", help: "as with serve" },
    ],
    environment: [["JWT_DESKTOP_SIGNING_PUBLIC_KEY, JWT_DESKTOP_PAYLOAD_PRIVATE_KEY", "key files, as with serve"]],
    examples: [
      "route-gateway explain /filer/home?dir=x --token \"$TOKEN\"",
      "route-gateway explain \"/websockify?jwt_token=$TOKEN\" --header 'Upgrade: websocket'",
    ],
  },
  run: explain,
};

async function explain(args: Arguments, io: Io): Promise<number> {
  const settings = await loadSettings({ ...settingsOptions(args, io), allowUnset: true });
  const sweeper = new Sweeper();
  let keys: KeyStore | null = null;
  const open = async (): Promise<DesktopTokens | null> => {
    if (settings.desktopToken === null) return null;
    keys = new KeyStore(settings.desktopToken, { warn: () => {}, error: () => {}, changed: () => {} });
    await keys.load();
    return new DesktopTokens(settings.desktopToken, keys);
  };
  const say = (label: string, text: string): void => io.stdout(`${label.padEnd(9)} ${text}\n`);
  // A route without a token can be explained without keys.
  let keyFault = "no keys are configured";
  const tokens = await open().catch((error: Error) => {
    keyFault = error.message;
    return null;
  });
  const snapshot = new Snapshot(settings, tokens, sweeper);
  try {
    return await walk(args, settings, snapshot, say, keyFault);
  } catch (thrown) {
    if (thrown instanceof UsageError) throw thrown;
    const error = asRouteError(thrown);
    say("answer", `${error.status} ${error.publicText}: ${error.message}`);
    return 1;
  } finally {
    snapshot.release(null);
    tokens?.close();
    (keys as KeyStore | null)?.close();
    sweeper.close();
  }
}

type Say = (label: string, text: string) => void;

async function walk(args: Arguments, settings: Settings, snapshot: Snapshot, say: Say, keyFault: string): Promise<number> {
  let request = readRequest(rawRequest(args), settings.limits);
  say("request", `${request.method} ${request.path}`);
  const match = snapshot.router.match(request.path);
  if (match === null) throw new RouteError("not_found", "no route matches the path");
  const route = match.route;
  say("route", `${route.name} (${route.match.kind} match of "${route.match.path}")${runnersUp(settings, route, request.path)}`);
  say("service", describeService(route));
  checkClient(route, args.get("client") ?? "");
  if (route.websocket && wantsUpgrade(request)) {
    checkHandshake({ ...request, headers: { "connection": "upgrade", "sec-websocket-version": "13", "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==", ...request.headers } });
    checkOrigin(request, route);
    say("upgrade", "WebSocket, bridged");
  }
  request = withToken(request, args.get("token"), route.tokenSources);
  const found = await explainToken(request, match, snapshot, say, keyFault);
  return await explainTarget(args, request, match, found, snapshot, say);
}

async function explainToken(request: ClientRequest, match: Match, snapshot: Snapshot, say: Say, keyFault: string): Promise<{ found: FoundToken; identity: Identity } | null> {
  const sources = match.route.tokenSources;
  if (sources.length === 0) {
    say("token", "none asked for");
    return null;
  }
  const found = findToken(sources, { headers: request.headers, query: request.query, pathToken: match.pathToken });
  if (found === null) throw new RouteError("unauthorized", `no token; looked in ${sources.map(sourceName).join(", ")}`);
  if (snapshot.tokens === null) throw new RouteError("unavailable", keyFault);
  say("token", `found in ${sourceName(found.source)}`);
  const identity = await snapshot.tokens.identify(found.token);
  const left = identity.expiresAtMs === Infinity ? "never expires" : `expires in ${Math.round((identity.expiresAtMs - Date.now()) / 1000)} s`;
  say("identity", `desktop at ${identity.host}, token ${identity.tokenHash}, ${left}`);
  return { found, identity };
}

async function explainTarget(args: Arguments, request: ClientRequest, match: Match, proven: { found: FoundToken; identity: Identity } | null,
  snapshot: Snapshot, say: Say): Promise<number> {
  const route = match.route;
  const service = route.service;
  if (service.kind === "builtin") {
    say("answer", service.answer.kind === "text" ? `200 ${JSON.stringify(service.answer.text)}` : `a file below ${service.answer.root ?? "(no webroot: 404)"}`);
    return 0;
  }
  if (service.kind === "target" && proven === null) throw new RouteError("internal", "a target service without a token");
  const target = service.kind === "fixed" ? snapshot.targets.fixed(service) : await snapshot.targets.target(service, match, (proven as { identity: Identity }).identity);
  say("target", `${target.key}${target.authority === target.key ? "" : ` (${target.authority})`}`);
  const client = identifyClient(args.get("client") ?? "", request.headers["x-forwarded-for"], snapshot.trustedProxies);
  const head = upstreamHead({ snapshot, requestId: "(request id)", request, client, match, found: proven?.found ?? null }, target, "");
  const secret = proven?.found.token ?? "";
  const lines = head.trimEnd().split("\r\n").map((line) => (secret === "" ? line : line.replaceAll(secret, "[token]")));
  say("sends", lines.join(`\n${" ".repeat(10)}`));
  return 0;
}

function rawRequest(args: Arguments): Request {
  const text = args.require("URL");
  const headers = new Headers();
  for (const line of args.all("header")) {
    const colon = line.indexOf(":");
    if (colon < 1) throw new UsageError(`--header takes 'Name: value', not "${line}"`);
    headers.append(line.slice(0, colon).trim(), line.slice(colon + 1).trim());
  }
  let url: URL;
  try {
    url = new URL(text, "http://localhost");
  } catch {
    throw new UsageError(`not a URL: "${text}"`);
  }
  if (!headers.has("host")) headers.set("host", url.host);
  return new Request(url.href, { method: args.get("method") ?? "GET", headers });
}

/** A token given by flag stands where the route looks first. */
function withToken(request: ClientRequest, token: string | undefined, sources: readonly TokenSource[]): ClientRequest {
  const first = sources[0];
  if (token === undefined || first === undefined) return request;
  if (first.kind === "header") return { ...request, headers: { ...request.headers, [first.name.toLowerCase()]: `Bearer ${token}` } };
  if (first.kind === "parameter") return { ...request, query: `${request.query === "" ? "" : `${request.query}&`}${first.name}=${token}` };
  return first.kind === "query" ? { ...request, query: token } : request;
}

function runnersUp(settings: Settings, chosen: Route, path: string): string {
  const others = settings.routes.filter((route) => route !== chosen && route.match.kind === "prefix"
    && (path === route.match.path || path.startsWith(route.match.path.endsWith("/") ? route.match.path : `${route.match.path}/`)));
  if (others.length === 0) return "";
  return `, before ${others.map((route) => `"${route.match.path}"`).join(", ")}: ${chosen.match.kind === "prefix" ? "the longest prefix wins" : `${chosen.match.kind} wins over prefix`}`;
}

function describeService(route: Route): string {
  const service = route.service;
  if (service.kind === "fixed") return `${service.name}, http://${service.host}:${service.port}`;
  if (service.kind === "target") return `${service.name}, port ${service.port === "path" ? "of the path" : service.port} of the token's desktop`;
  return `${service.name}, answered by this process`;
}

function checkClient(route: Route, client: string): void {
  if (route.allowedClients.length > 0 && !new CidrSet(route.allowedClients).has(client)) {
    throw new RouteError("forbidden", `client ${client} is not in allowedClients`);
  }
}

function sourceName(source: TokenSource): string {
  if (source.kind === "header") return `header ${source.name}`;
  if (source.kind === "parameter") return `parameter ${source.name}`;
  return source.kind === "query" ? "the whole query" : "the path";
}
