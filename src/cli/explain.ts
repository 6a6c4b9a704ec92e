// route-gateway explain: what would happen to a request, step by step, with the very parts that serve. Nothing is dialled;
// names are looked up, because the guard judges addresses.

import { isIP } from "node:net";
import { join } from "node:path";
import { loadConsoles } from "../config/consoles.ts";
import { loadSettings } from "../config/load.ts";
import { asRouteError, RouteError } from "../errors.ts";
import { wantedFile } from "../files/file-service.ts";
import { hostForUrl } from "../lib/address.ts";
import { Sweeper } from "../lib/deadlines.ts";
import { Log } from "../lib/log.ts";
import { answerBuiltin, answerFromDirectory } from "../proxy/builtin.ts";
import { identifyClient } from "../proxy/client.ts";
import { checkPlace } from "../proxy/check-place.ts";
import { closingFor } from "../proxy/closing.ts";
import { askForConsole, consoleOf } from "../proxy/console.ts";
import { maskedPath } from "../proxy/masked-path.ts";
import { type Passage, upstreamHead } from "../proxy/passage.ts";
import { type ClientRequest, readRequest } from "../proxy/request.ts";
import { requestBody } from "../proxy/request-body.ts";
import { upstreamTarget } from "../proxy/rewrite.ts";
import { Snapshot } from "../proxy/snapshot.ts";
import { checkHandshake, checkOrigin, isBridged, upgradeFields, wantsUpgrade } from "../proxy/upgrade.ts";
import { wantsViewer } from "../proxy/viewer.ts";
import type { DesktopIdentity, Identity, VmIdentity } from "../identity.ts";
import type { Route, TokenSource } from "../route.ts";
import { type Match, parsePattern, type Router } from "../router/router.ts";
import type { Settings } from "../settings.ts";
import { type BalancePolicy, type BuiltinService, type ConsoleService, type FixedService, serverUrlOf } from "../service.ts";
import type { Target } from "../target.ts";
import { KeyError } from "../token/keys.ts";
import { findToken, type FoundToken } from "../token/source.ts";
import { TokenFront } from "../token/token-front.ts";
import { withAddresses } from "../upstream/nameservers.ts";
import { type Arguments, UsageError } from "./args.ts";
import type { Command, Io } from "./command.ts";
import { enter, type Say } from "./explain-entry.ts";
import { settingsOptions } from "./settings-flags.ts";

export const command: Command = {
  name: "explain",
  summary: "Says which route a request takes and why, what its token yields, and where it would go.",
  spec: {
    positionals: [{ name: "URL", help: "a path with its query, or a whole URL; https:// as over TLS" }],
    flags: [
      { name: "config", value: "FILE", help: "configuration; without it, the built-in endpoint table" },
      { name: "consoles", help: "explain what `route-gateway consoles` does with its variables" },
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
      "SECRET_KEY=... LOCAL_DEV_MODE=true route-gateway explain --consoles /TOKEN/ubuntu --header 'Upgrade: websocket'",
      "route-gateway explain \"/websockify?jwt_token=$TOKEN\" --header 'Upgrade: websocket'",
    ],
  },
  run: explain,
};

async function explain(args: Arguments, io: Io): Promise<number> {
  const options = { ...settingsOptions(args, io), allowUnset: true };
  if (args.has("consoles") && options.file !== undefined) throw new UsageError("--consoles has a configuration of its own: leave --config out");
  const settings = args.has("consoles") ? loadConsoles(options) : await loadSettings(options);
  const sweeper = new Sweeper();
  const say = (label: string, text: string): void => io.stdout(`${label.padEnd(9)} ${text}\n`);
  // A route without a token can be explained without keys.
  let keyFault: string | null = null;
  const silent = { warn: () => {}, error: () => {}, changed: () => {} };
  let tokens = TokenFront.empty();
  try {
    tokens = TokenFront.open(settings, silent);
  } catch (error) {
    if (!(error instanceof KeyError)) throw error;
    keyFault = error.message;
  }
  const dns = await withAddresses(settings.dns).catch((error: Error) => {
    say("dns", `${error.message}: the system's resolver is asked instead`); // A name of a cluster, perhaps, asked outside of it.
    return { ...settings.dns, nameservers: null };
  });
  // Nobody waits for a desktop that is not there: that it is not there is the answer.
  const impatient = { ...settings, dns, upstream: { ...settings.upstream, dialTimeoutMs: 0 } };
  const snapshot = new Snapshot(impatient, { tokens, sweeper, log: new Log("json", { write: (_text, done) => done(), writeSync: () => {} }), createCache: () => null });
  try {
    return await walk(args, settings, snapshot, say, keyFault);
  } catch (thrown) {
    if (thrown instanceof UsageError) throw thrown;
    const error = asRouteError(thrown);
    say("answer", `${error.status} ${error.publicText}: ${error.location === null ? error.message : maskedPath(error.location, null)}`);
    return error.location === null ? 1 : 0;
  } finally {
    snapshot.release(null);
    tokens.close();
    sweeper.close();
  }
}

async function walk(args: Arguments, settings: Settings, snapshot: Snapshot, say: Say, keyFault: string | null): Promise<number> {
  const peer = clientFlag(args);
  const raw = rawRequest(args);
  const { request, match } = withToken(readRequest(raw, settings.limits), tokenFlag(args), snapshot.router);
  say("request", `${request.method} ${maskedPath(request.path, match?.pathToken ?? null)}`);
  const scheme = enter(settings, request, raw.url.startsWith("https:"), say);
  if (scheme === null) return 1;
  if (match === null) throw new RouteError("not_found", "no route matches the path");
  const route = match.route;
  say("route", `${route.name} (${route.match.kind} match of "${route.match.path}")${runnersUp(settings, route, request.path)}`);
  say("service", describeService(route));
  const client = identifyClient(peer, request.headers["x-forwarded-for"], snapshot.trustedProxies, scheme);
  checkPlace(snapshot, request.path, match, client.address);
  const isUpgrade = wantsUpgrade(request) && isBridged(route, request);
  if (wantsUpgrade(request) && !isUpgrade) say("upgrade", "not bridged (websocket: false)");
  if (isUpgrade) {
    checkHandshake({ ...request, headers: { ...HANDSHAKE, ...request.headers } });
    checkOrigin(request, route);
    say("upgrade", "WebSocket, bridged");
  } else if (route.service.kind === "console" && !wantsViewer(route, request)) {
    throw new RouteError("upgrade_required", "a console is a WebSocket (add --header 'Upgrade: websocket')");
  }
  try {
    const proven = await explainToken(request, match, snapshot, say, keyFault);
    const framing = isUpgrade ? upgradeFields(request) : null;
    const passage = { snapshot, requestId: "(request id)", request, client, match, found: proven?.found ?? null };
    return await explainTarget(passage, framing, proven?.identity ?? null, say);
  } catch (thrown) {
    if (!isUpgrade || !route.closeAfterUpgrade || thrown instanceof UsageError) throw thrown;
    const error = asRouteError(thrown);
    const { code, reason } = closingFor(error);
    say("answer", `101, and a close frame with ${code} ${JSON.stringify(reason)}: ${error.message}`);
    return 1;
  }
}

/** What every browser sends in a handshake: whoever asks for an explanation need not write it. */
const HANDSHAKE = { "connection": "upgrade", "sec-websocket-version": "13", "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==" };

async function explainToken(request: ClientRequest, match: Match, snapshot: Snapshot, say: Say, keyFault: string | null): Promise<{ found: FoundToken; identity: Identity } | null> {
  const sources = match.route.tokenSources;
  if (sources.length === 0) {
    say("token", "none asked for");
    return null;
  }
  const found = findToken(sources, { headers: request.headers, query: request.query, pathToken: match.pathToken });
  if (found === null) throw new RouteError("unauthorized", `no token; looked in ${sources.map(sourceName).join(", ")}`);
  if (keyFault !== null) throw new RouteError("unavailable", keyFault);
  say("token", `found in ${sourceName(found.source)}`);
  const identity = await snapshot.tokens.identify(match.route.identity, found.token);
  const left = identity.expiresAtMs === Infinity ? "never expires" : `expires in ${Math.round((identity.expiresAtMs - Date.now()) / 1000)} s`;
  say("identity", `${describeIdentity(identity)}, token ${identity.tokenHash}, ${left}`);
  return { found, identity };
}

function describeIdentity(identity: Identity): string {
  if (identity.kind === "desktop") return `desktop at ${identity.host}`;
  return `virtual machines of ${identity.namespace}: ${identity.vms.map((name) => JSON.stringify(name)).join(", ") || "none"}`;
}

/** @param framing of an upgrade; null: there is none */
async function explainTarget(passage: Passage, framing: string | null, identity: Identity | null, say: Say): Promise<number> {
  const { snapshot, match, found } = passage;
  const service = match.route.service;
  if (service.kind === "builtin") return explainBuiltin(passage, service, say);
  if (service.kind === "console" && identity?.kind === "vm") return explainConsole(passage, service, identity, say);
  if (service.kind !== "fixed" && (service.kind !== "target" || identity?.kind !== "desktop")) {
    throw new RouteError("internal", "a service without its kind of token");
  }
  const [target, ...others] = service.kind === "fixed" ? [firstServer(passage, service, say)] as const
    : await snapshot.targets.desktop(service, match, identity as DesktopIdentity, { slow: () => {}, startedMs: 0 });
  say("target", `${target.key}${target.authority === target.key ? "" : ` (${target.authority})`}${others.map(({ key }) => `, else ${key}`).join("")}`);
  sayHead(upstreamHead(passage, target, framing ?? bodyFraming(passage)), found?.token ?? "", say);
  return 0;
}

/** As of a body that has been announced and is not there yet. @throws RouteError for one that the route does not take */
function bodyFraming({ request, match }: Passage): string {
  const hasBody = ["content-length", "transfer-encoding"].some((name) => name in request.headers);
  const raw = new Request("http://localhost", hasBody ? { method: "POST", body: new ReadableStream() } : {});
  return requestBody(raw, request, { ...match.route, buffering: false }).framing;
}

async function explainBuiltin({ request, match }: Passage, { answer }: BuiltinService, say: Say): Promise<number> {
  if (answer.kind !== "files") {
    const { status } = await answerBuiltin(answer, match, request);
    say("answer", `${status}${answer.kind === "text" ? ` ${JSON.stringify(answer.text)}` : ", a file of the embedded console viewer"}`);
    return 0;
  }
  const { root, fallback } = answer;
  if (root !== null) say("file", `${join(root, ...wantedFile(upstreamTarget(match, request.path, "")))}${fallback === null ? "" : `, or else ${join(root, fallback)}`}`);
  const { status, headers, body, contentLength } = await answerFromDirectory(answer, match, request);
  if (body instanceof ReadableStream) await body.cancel();
  const location = headers.find(([name]) => name === "location")?.[1];
  say("answer", location === undefined ? `${status}, ${contentLength} bytes` : `${status} moved: ${location}`);
  return 0;
}

/** The one that a first request would go to. */
function firstServer({ snapshot, request, client, match }: Passage, service: FixedService, say: Say): Target {
  if (match.route.cache && ["GET", "HEAD"].includes(request.method)) say("cache", "answered from the HTTP cache when it has a fresh answer");
  if (service.servers.length > 1) say("balance", `${service.servers.length} servers, ${policyText(service.policy)}; this one first`);
  const attempts = snapshot.services.fixed(service).attempts(request, client);
  const target = attempts.first();
  attempts.release();
  return target;
}

function policyText(policy: BalancePolicy): string {
  if (policy.kind !== "hash") return policy.kind;
  return `hash of ${policy.by.kind === "client" ? "the client's address" : `the ${policy.by.kind} ${policy.by.name}`}`;
}

/** What the service account's token is stays its secret. */
function explainConsole({ match, request }: Passage, service: ConsoleService, identity: VmIdentity, say: Say): number {
  const vmConsole = consoleOf(match, identity);
  if (!wantsUpgrade(request)) {
    say("answer", "200, the embedded viewer");
    return 0;
  }
  say("target", `${service.credentials === null ? "ws" : "wss"}://${hostForUrl(service.host)}:${service.port}, virtual machine "${vmConsole.vm}" in namespace "${vmConsole.namespace}"`);
  const { head } = askForConsole(service, vmConsole, request);
  sayHead(head.replace(/^(Authorization: Bearer ).*/m, "$1[service account token]"), "", say);
  return 0;
}

function sayHead(head: string, secret: string, say: Say): void {
  const lines = head.trimEnd().split("\r\n").map((line) => maskedPath(line, secret === "" ? null : secret));
  say("sends", lines.join(`\n${" ".repeat(10)}`));
}

function rawRequest(args: Arguments): Request {
  const text = args.require("URL");
  // Put together as text: to the URL parser, a path of two slashes would begin with a host.
  const url = URL.parse(text.startsWith("/") ? `http://localhost${text}` : text, "http://localhost");
  if (url === null || !/^https?:$/.test(url.protocol)) throw new UsageError(`not a URL: "${text}" (use /path?query or http://host/path)`);
  const headers = headerFlags(args);
  if (!headers.has("host")) headers.set("host", url.host);
  const method = args.require("method");
  const request = new Request(url.href, { method, headers });
  // The runtime takes a method that it does not know for GET.
  if (request.method !== method.toUpperCase()) throw new UsageError(`not a method that can be served: "${method}" (use GET, POST, PUT, PATCH, DELETE)`);
  return request;
}

function headerFlags(args: Arguments): Headers {
  const headers = new Headers();
  for (const line of args.all("header")) {
    const [, name = "", value = ""] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)$/.exec(line) ?? [];
    if (name === "") throw new UsageError(`--header takes 'Name: value', not "${line}"`);
    headers.append(name, value.trim());
  }
  return headers;
}

function clientFlag(args: Arguments): string {
  const client = args.require("client");
  if (isIP(client) === 0) throw new UsageError(`--client takes an IP address, not "${client}"`);
  return client;
}

/** Only what can stand in a header, a query and a path alike; whether it is a token is the verifier's question. */
function tokenFlag(args: Arguments): string | undefined {
  const token = args.get("token");
  if (token === "") throw new UsageError("--token is empty");
  if (token !== undefined && !/^[A-Za-z0-9_~+=-][A-Za-z0-9._~+=-]*$/.test(token)) throw new UsageError("--token takes a token: letters, digits, and . _ ~ + = -");
  return token;
}

type Routed = { readonly request: ClientRequest; readonly match: Match | null };

/** A token given by flag stands where the route looks first. */
function withToken(request: ClientRequest, token: string | undefined, router: Router): Routed {
  const match = router.match(request.path);
  const first = match?.route.tokenSources[0];
  if (token === undefined || match === null || first === undefined) return { request, match };
  if (first.kind === "header") return { request: { ...request, headers: { ...request.headers, [first.name.toLowerCase()]: `Bearer ${token}` } }, match };
  if (first.kind === "parameter") return { request: { ...request, query: `${request.query === "" ? "" : `${request.query}&`}${first.name}=${token}` }, match };
  if (first.kind === "query") return { request: { ...request, query: token }, match };
  const at = parsePattern(match.route.match.path).findIndex((segment) => segment.kind === "one" && segment.name === "token");
  const path = request.path.split("/").with(at + 1, token).join("/");
  return { request: { ...request, path }, match: router.match(path) };
}

function runnersUp(settings: Settings, chosen: Route, path: string): string {
  const others = settings.routes.filter((route) => route !== chosen && route.match.kind === "prefix"
    && (path === route.match.path || path.startsWith(route.match.path.endsWith("/") ? route.match.path : `${route.match.path}/`)));
  if (others.length === 0) return "";
  return `, before ${others.map((route) => `"${route.match.path}"`).join(", ")}: ${chosen.match.kind === "prefix" ? "the longest prefix wins" : `${chosen.match.kind} wins over prefix`}`;
}

function describeService(route: Route): string {
  const service = route.service;
  if (service.kind === "fixed") return `${service.name}, ${service.servers.map(({ address, isSecure }) => serverUrlOf(address, isSecure)).join(", ")}`;
  if (service.kind === "console") return `${service.name}, consoles at ${hostForUrl(service.host)}:${service.port}${service.apiPath}`;
  if (service.kind === "gateway") return `${service.name}, registered for ${service.gateway.fqdn}`;
  if (service.kind === "target") return `${service.name}, port ${service.port === "path" ? "of the path" : service.port} of the token's desktop`;
  return `${service.name}, answered by this process`;
}

function sourceName(source: TokenSource): string {
  if (source.kind === "header") return `header ${source.name}`;
  if (source.kind === "parameter") return `parameter ${source.name}`;
  return source.kind === "query" ? "the whole query" : "the path";
}
