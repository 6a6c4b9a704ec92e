// route-gateway routes: the table as it is in effect, in the order in which it decides.

import { loadSettings } from "../config/load.ts";
import { hostForUrl } from "../lib/address.ts";
import { formatDuration } from "../lib/duration.ts";
import { formatSize } from "../lib/size.ts";
import type { Route, TokenSource } from "../route.ts";
import { type Service, type ServiceServer, serverUrlOf } from "../service.ts";
import type { Arguments } from "./args.ts";
import type { Command, Io } from "./command.ts";
import { table } from "./table.ts";

export const command: Command = {
  name: "routes",
  summary: "Prints the effective endpoint table, the most specific route first.",
  spec: {
    flags: [
      { name: "config", value: "FILE", help: "configuration; without it, the built-in endpoint table" },
      { name: "json", help: "every detail of every route, as JSON" },
    ],
    environment: [["XTERM_TCP_PORT, PYOS_FQDN, ...", "as with serve; variables that are not set are shown as ${NAME}"]],
    examples: ["route-gateway routes", "route-gateway routes --config routes.yaml --json"],
  },
  run: printRoutes,
};

async function printRoutes(args: Arguments, io: Io): Promise<number> {
  const settings = await loadSettings({ file: args.get("config"), env: io.env, allowUnset: true });
  const routes = settings.routes.toSorted(bySpecificity);
  if (args.has("json")) io.stdout(`${JSON.stringify(routes, withoutSecret, 2)}\n`);
  else io.stdout(table([["PATH", "MATCH", "TOKEN", "TO", "UPSTREAM PATH", "OPTIONS"], ...routes.map(row)]));
  return 0;
}

/** What cookies are signed with: that there is one may be seen, in logs of CI as well. */
function withoutSecret(key: string, value: unknown): unknown {
  return key === "secret" && value !== null ? "[secret]" : value;
}

/** Exact, then patterns with more fixed segments, then longer prefixes: as the router decides. */
function bySpecificity(a: Route, b: Route): number {
  const order = ["exact", "pattern", "prefix"];
  return order.indexOf(a.match.kind) - order.indexOf(b.match.kind)
    || weight(b) - weight(a)
    || b.match.path.length - a.match.path.length
    || (a.match.path < b.match.path ? -1 : 1);
}

function weight(route: Route): number {
  if (route.match.kind !== "pattern") return 0;
  return route.match.path.split("/").filter((segment) => !segment.startsWith("{")).length;
}

function row(route: Route): string[] {
  const tokens = route.tokenSources.map(sourceText).join(", ");
  const { match, service } = route;
  return [match.path, match.kind, tokens || "-", destination(service), rewriteText(route), options(route)];
}

function sourceText(source: TokenSource): string {
  return source.kind === "header" || source.kind === "parameter" ? `${source.kind}:${source.name}` : source.kind;
}

function destination(service: Service): string {
  if (service.kind === "fixed") {
    return `${service.name} (${service.servers.map(serverText).join(", ")})`;
  }
  if (service.kind === "target") {
    return `${service.name} (desktop:${service.port === "path" ? "{port}" : service.port})`;
  }
  if (service.kind === "console") return `${service.name} (consoles at ${hostForUrl(service.host)}:${service.port})`;
  if (service.kind === "gateway") return `${service.name} (${service.gateway.fqdn})`;
  const { answer } = service;
  if (answer.kind === "text") return `${service.name} (text)`;
  if (answer.kind === "viewer") return `${service.name} (embedded)`;
  if (answer.kind === "nothing") return `${service.name} (404)`;
  return `${service.name} (${answer.root === null ? "no directory" : `files of ${answer.root}`})`;
}

/** As short as it can be: plain HTTP goes without saying. */
function serverText({ address, isSecure }: ServiceServer): string {
  return serverUrlOf(address, isSecure).replace(/^http:\/\//, "");
}

function rewriteText({ rewrite }: Route): string {
  if (rewrite.kind === "replace") return rewrite.path;
  return rewrite.kind === "strip" ? `without ${rewrite.prefix}` : rewrite.kind;
}

function options(route: Route): string {
  return [
    route.name === route.match.path ? "" : `name ${route.name}`,
    route.websocket ? "websocket" : "",
    route.host === "client" ? "host client" : "",
    `body ${formatSize(route.bodyLimitBytes)}`,
    `read ${formatDuration(route.readTimeoutMs)}`,
    route.idleTimeoutMs > 0 ? `idle ${formatDuration(route.idleTimeoutMs)}` : "",
    route.forwardToken ? "forwards token" : "",
    route.buffering ? "" : "unbuffered",
    route.cache ? "cached" : "",
    route.compress ? "" : "uncompressed",
    route.compressText ? "compresses text" : "",
    route.viewer ? "viewer" : "",
    route.closeAfterUpgrade ? "closes after upgrade" : "",
    route.allowedClients.length > 0 ? `clients ${route.allowedClients.join(",")}` : "",
    route.deniedClients.length > 0 ? `not clients ${route.deniedClients.join(",")}` : "",
    route.websocket ? originsText(route) : "",
  ].filter((text) => text !== "").join(", ");
}

function originsText({ origins }: Route): string {
  if (origins.kind === "any") return "";
  return `origins ${origins.kind === "list" ? origins.origins.join(",") : origins.kind}`;
}
