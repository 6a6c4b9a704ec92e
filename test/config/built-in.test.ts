// The shipped routes.yaml is the endpoint table that existing browsers and pods expect. The rows stand here once more.

import { describe, expect, test } from "bun:test";
import { BUILT_IN_SOURCE, BUILT_IN_TEXT, loadSettings } from "../../src/config/load.ts";
import type { Route, TokenSource } from "../../src/route.ts";
import { type Service, serverUrlOf } from "../../src/service.ts";
import { KEYS, mistakesOf, notesOf, settingsOf, TABLE } from "./support.ts";

const MIB = 1024 * 1024;
const HEADERS = "header:abcauthorization header:authorization";
const QUERY = "parameter:jwt_token query";

type Row = readonly [path: string, match: string, token: string, service: string, upstreamPath: string, rest?: Partial<Route>];

const pyos: Partial<Route> = { host: "client", websocket: true, readTimeoutMs: 360_000 };
const bridged: Partial<Route> = { websocket: true };
const container: Partial<Route> = { host: "client", websocket: true };
const longSession: Partial<Route> = { websocket: true, forwardToken: true, idleTimeoutMs: 1_800_000 };

const ROWS: readonly Row[] = [
  ["/spawner", "prefix", HEADERS, "desktop:29786", "unchanged", { host: "client", bodyLimitBytes: 8 * MIB }],
  ["/terminals/", "prefix", `${QUERY} ${HEADERS}`, "desktop:29781", "unchanged", longSession],
  ["/terminals/{id}/size", "pattern", HEADERS, "desktop:29781", "unchanged"],
  ["/terminals", "prefix", HEADERS, "desktop:29781", "unchanged"],
  ["/filer", "prefix", HEADERS, "desktop:29783", "unchanged", { bodyLimitBytes: 8192 * MIB }],
  ["/printerfiler", "prefix", HEADERS, "desktop:29782", "unchanged"],
  ["/websockify", "exact", QUERY, "desktop:6081", "/ without query", bridged],
  ["/signalling", "exact", QUERY, "desktop:29787", "/ without query", bridged],
  ["/broadcast", "prefix", QUERY, "desktop:29784", "unchanged", longSession],
  ["/sound", "prefix", QUERY, "desktop:29788", "/ without query", bridged],
  ["/microphone", "prefix", QUERY, "desktop:29789", "/ without query", bridged],
  ["/gamepad", "prefix", QUERY, "desktop:29790", "/ without query", bridged],
  ["/snapshot", "prefix", HEADERS, "desktop:29785", "unchanged"],
  ["/container/{token}/{port}/{path*}", "pattern", "path", "desktop:path", "rest", container],
  ["/container/{port}", "pattern", HEADERS, "desktop:path", "rest", container],
  // Not in the table: without it, a malformed one would go to the website with its token.
  ["/container", "prefix", "", "files null", "unchanged"],
  ["/API/manager/image", "prefix", "", "http://pyos:8000", "unchanged", { ...pyos, bodyLimitBytes: 16 * MIB }],
  ["/API/composer/launchdesktop", "exact", "", "http://pyos:8000", "unchanged", { ...pyos, readTimeoutMs: 600_000 }],
  ["/API", "prefix", "", "http://pyos:8000", "unchanged", pyos],
  ["/status", "prefix", "", "http://pyos:8000", "unchanged", pyos],
  ["/autologin", "prefix", "", "http://pyos:8000", "unchanged", pyos],
  ["/oauth", "prefix", "", "http://pyos:8000", "unchanged", pyos],
  ["/moauth", "prefix", "", "http://pyos:8000", "unchanged", pyos],
  ["/gauth", "prefix", "", "http://pyos:8000", "unchanged", pyos],
  ["/fauth", "prefix", "", "http://pyos:8000", "unchanged", pyos],
  ["/console", "prefix", "", "http://console:80", "without /console", { host: "client", websocket: true }],
  ["/speedtest", "prefix", "", "http://speedtest:80", "without /speedtest", { bodyLimitBytes: 256 * MIB, buffering: false, compress: false }],
  ["/healthz", "exact", "", "text \"OK\\n\"", "unchanged"],
  ["/node", "exact", "", "text \"node-7\\n\"", "unchanged"],
  ["/.well-known/acme-challenge/", "prefix", "", "files null", "unchanged"],
  ["/.well-known/", "prefix", "", "files null", "unchanged"],
  ["/", "prefix", "", "http://website:80", "unchanged", { websocket: true, cache: true }],
];

const builtIn = (env: Record<string, string> = {}) => loadSettings({ env: { ...KEYS, ...env }, readResolvConf: () => "" });

function sourceText(source: TokenSource): string {
  return "name" in source ? `${source.kind}:${source.name}` : source.kind;
}

function serviceText(service: Service): string {
  if (service.kind === "fixed") return service.servers.map(({ address, isSecure }) => serverUrlOf(address, isSecure)).join(" ");
  if (service.kind === "target") return `desktop:${service.port}`;
  if (service.kind !== "builtin") throw new Error(`no ${service.kind} in the shipped table`);
  const { answer } = service;
  if (answer.kind === "text") return `text ${JSON.stringify(answer.text)}`;
  return answer.kind === "files" ? `files ${answer.root}` : answer.kind;
}

function rewriteText({ rewrite }: Route): string {
  if (rewrite.kind === "replace") return `${rewrite.path} without query`;
  return rewrite.kind === "strip" ? `without ${rewrite.prefix}` : rewrite.kind;
}

/** The part of a route that a row's last column may change. */
function detailsOf({ host, websocket, forwardToken, bodyLimitBytes, readTimeoutMs, idleTimeoutMs, allowedClients, compressText, buffering, cache, compress }: Route): Partial<Route> {
  return { host, websocket, forwardToken, bodyLimitBytes, readTimeoutMs, idleTimeoutMs, allowedClients, compressText, buffering, cache, compress };
}

const DETAILS: Partial<Route> = {
  host: "upstream", websocket: false, forwardToken: false, bodyLimitBytes: MIB, readTimeoutMs: 60_000, idleTimeoutMs: 0,
  allowedClients: [], compressText: false, buffering: true, cache: false, compress: true,
};

describe("the built-in configuration", () => {
  test("has exactly the rows of the endpoint table", async () => {
    const { routes } = await builtIn({ NODE_NAME: "node-7" });
    const actual = routes.map((route) => [
      route.match.path, route.match.kind, route.tokenSources.map(sourceText).join(" "), serviceText(route.service), rewriteText(route), detailsOf(route),
    ]);
    const expected = ROWS.map(([path, match, token, service, upstreamPath, rest]) => [path, match, token, service, upstreamPath, { ...DETAILS, ...rest }]);
    const byPath = (a: unknown[], b: unknown[]) => (String(a[0]) < String(b[0]) ? -1 : 1);
    expect(actual.sort(byPath)).toEqual(expected.sort(byPath));
  });

  test("checks the origin on routes with a token, and only there", async () => {
    const { routes } = await builtIn();
    for (const route of routes) expect(route.origins.kind).toBe(route.tokenSources.length > 0 ? "same-host" : "any");
  });

  test("is read alike by the quick parser and by the one that knows lines", async () => {
    const env = { ...KEYS, NODE_NAME: "n" };
    expect(await builtIn({ NODE_NAME: "n" })).toEqual(settingsOf(BUILT_IN_TEXT, { env, readResolvConf: () => "" }) && {
      ...settingsOf(BUILT_IN_TEXT, { env, readResolvConf: () => "" }), source: BUILT_IN_SOURCE,
    });
  });

  test("says in every other section what the defaults are anyway", async () => {
    const { source: _source, routes: _routes, desktopToken: _token, ...rest } = await builtIn();
    const { source: _s, routes: _r, desktopToken: _t, ...defaults } = settingsOf(TABLE);
    expect(rest).toEqual(defaults);
    const token = "token: { desktop: { signingPublicKeys: [/keys/signing.pem], payloadPrivateKey: /keys/payload.pem } }\n";
    const asking = TABLE.replace("service: website }", "service: website, token: [query] }");
    expect((await builtIn()).desktopToken).toEqual(settingsOf(token + asking).desktopToken);
  });

  test("has nothing in it that has no effect", () => {
    expect(notesOf(BUILT_IN_TEXT, { env: KEYS })).toEqual([]);
  });

  test("is what the original's environment variables say", async () => {
    const settings = await builtIn({
      PYOS_FQDN: "pyos.example", PYOS_SERVICE_PORT: "9000", NODE_NAME: "node-1", NAMESERVER_RESOLVER: "10.96.0.10", XTERM_TCP_PORT: "1234",
    });
    const find = (path: string) => settings.routes.find((route) => route.match.path === path)?.service;
    expect(find("/API")).toMatchObject({ kind: "fixed", name: "pyos", servers: [{ address: { kind: "tcp", host: "pyos.example", port: 9000 }, isSecure: false, weight: 1 }] });
    expect(find("/terminals/")).toMatchObject({ port: 1234 });
    expect(settings.guard.allowedPorts).toContain(1234);
    expect(settings.guard.allowedPorts).not.toContain(29781);
    expect(settings.nodeName).toBe("node-1");
    expect(settings.dns.nameservers).toEqual(["10.96.0.10"]);
    expect(settings.desktopToken).toMatchObject({ signingPublicKeys: ["/keys/signing.pem"], payloadPrivateKey: "/keys/payload.pem" });
  });

  test("falls back to PYOS_SERVICE_HOST, also when it is an IPv6 address", async () => {
    const { routes } = await builtIn({ PYOS_FQDN: "", PYOS_SERVICE_HOST: "fd00::5" });
    expect(routes.find((route) => route.match.path === "/API")?.service).toMatchObject({ servers: [{ address: { host: "fd00::5", port: 8000 } }] });
  });

  test("takes lists and booleans from the environment", async () => {
    const settings = await builtIn({
      ROUTE_TRUSTED_PROXIES: "10.0.0.0/8, fd00::/8", ROUTE_ALLOWED_TARGETS: "127.0.1.0/24,.svc.cluster.local",
      ROUTE_ALLOW_WEAK_RSA_KEYS: "true", JWT_DESKTOP_SIGNING_PUBLIC_KEY: "new.pem,old.pem", ROUTE_CONSOLE_ALLOWED_CLIENTS: "192.0.2.0/24",
      ROUTE_WEBROOT: "/srv/webroot",
    });
    expect(settings.trustedProxies).toEqual(["10.0.0.0/8", "fd00::/8"]);
    expect(settings.guard.allowedTargets).toEqual(["*", "127.0.1.0/24", ".svc.cluster.local"]);
    expect(settings.desktopToken).toMatchObject({ allowWeakRsaKeys: true, signingPublicKeys: ["new.pem", "old.pem"] });
    expect(settings.routes.find((route) => route.match.path === "/console")?.allowedClients).toEqual(["192.0.2.0/24"]);
    expect(settings.routes.find((route) => route.match.path === "/.well-known/")?.service).toMatchObject({ answer: { kind: "files", root: "/srv/webroot" } });
  });

  test.each([
    ...["true", "True", "1", "yes", "Y", "on"].map((word) => [word, true] as const), ...["false", "FALSE", "0", "no", "n", "Off", ""].map((word) => [word, false] as const),
  ])("reads the boolean %j as LOCAL_DEV_MODE is read", async (word, is) => {
    expect((await builtIn({ ROUTE_ALLOW_WEAK_RSA_KEYS: word })).desktopToken?.allowWeakRsaKeys).toBe(is);
  });

  const LISTEN = "expected an address to listen on such as \":80\" or \"127.0.0.1:8080\", found \"abc\"";
  test.each([
    ["HTTP_LISTEN", "abc", `: ${LISTEN}`],
    ["NAMESERVER_RESOLVER", "f/oo", ": expected a nameserver such as 10.96.0.10, 10.96.0.10:53, [fd00::10]:53, kube-dns.kube-system.svc.cluster.local or \"system\", found \"f/oo\""],
    ["ROUTE_LOG_FORMAT", "jsn", ": expected one of json, pretty, found \"jsn\" (did you mean \"json\"?)"],
    ["ROUTE_ALLOW_WEAK_RSA_KEYS", "ja", ": expected true or false, found \"ja\""],
    ["ROUTE_TRUSTED_PROXIES", "10.0.0.0/8,10.0.0.0/33", ": not an address or CIDR such as 10.0.0.0/8 or fd00::/8: \"10.0.0.0/33\""],
    ["JWT_DESKTOP_SIGNING_PUBLIC_KEY", "", " is set but empty"],
    ["JWT_DESKTOP_PAYLOAD_PRIVATE_KEY", "", " is set but empty"],
  ])("reports %s=%s once, by the variable's name and the line that has it", async (name, value, mistake) => {
    const error = await builtIn({ [name]: value }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ name: "ConfigError", mistakes: [{ message: `environment variable ${name}${mistake}` }] });
    const { mistakes: [first] } = error as { mistakes: Array<{ line: number }> };
    expect(BUILT_IN_TEXT.split("\n")[(first?.line ?? 0) - 1]).toContain(`\${${name}`);
  });

  test("may serve files of this machine in place of the website, as the comment beside it says", () => {
    const comment = BUILT_IN_TEXT.split("\n").find((line) => line.includes("# Or files of this machine")) ?? "";
    const snippet = /website: \{ directory: [^}]+ \}/.exec(comment)?.[0] ?? "";
    const withFiles = BUILT_IN_TEXT.replace(/^ {2}website: .*$/m, `  ${snippet}`);
    const root = /    service: website\n    websocket: true\n    cache: true.*\n/;
    expect(mistakesOf(withFiles, { env: KEYS })).toEqual([
      expect.stringContaining('service "website" is answered by this process and speaks no WebSocket'),
      expect.stringContaining('service "website" has no upstream whose answers could be cached'),
    ]);
    expect(comment).toContain('"websocket" and "cache" then have to go from the route /');
    expect(BUILT_IN_TEXT).toMatch(root);
    const settings = settingsOf(withFiles.replace(root, "    service: website\n"), { env: KEYS });
    expect(settings.routes.find((route) => route.match.path === "/")?.service).toMatchObject({ answer: { kind: "files", root: "/var/lib/website" } });
  });

  test("asks for both key files by the line that names them", async () => {
    const error = await loadSettings({ env: {} }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ name: "ConfigError", mistakes: [
      { message: "environment variable JWT_DESKTOP_SIGNING_PUBLIC_KEY is not set" },
      { message: "environment variable JWT_DESKTOP_PAYLOAD_PRIVATE_KEY is not set" },
    ] });
    const lines = BUILT_IN_TEXT.split("\n");
    for (const { line, column, message } of (error as { mistakes: Array<{ line: number; column: number; message: string }> }).mistakes) {
      expect(lines[line - 1]?.slice(column - 1)).toStartWith(`\${${message.split(" ")[2]}}`);
    }
  });
});
