// The shipped consoles.yaml, and the environment of the original container around it.

import { describe, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CONSOLES_SOURCE, CONSOLES_TEXT, type ConsolesOptions, loadConsoles } from "../../src/config/consoles.ts";
import { loadSettings } from "../../src/config/load.ts";
import type { ConfigError } from "../../src/config/mistake.ts";
import type { Route } from "../../src/route.ts";
import { Router } from "../../src/router/router.ts";
import type { ConsoleService } from "../../src/service.ts";
import type { Settings } from "../../src/settings.ts";
import { mistakesOf, notesOf } from "./support.ts";

const SECRET = "strong-secret-of-32-bytes-and-no";
const LOCAL = { SECRET_KEY: SECRET, LOCAL_DEV_MODE: "true" };
const CLUSTER = { SECRET_KEY: SECRET, KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "443" };
type Env = Record<string, string>;

const load = (env: Env, rest: Partial<ConsolesOptions> = {}): Settings => loadConsoles({ env, ...rest });

function consoleRoute(settings: Settings): Route & { readonly service: ConsoleService } {
  const found = settings.routes.find(({ service }) => service.kind === "console");
  if (found === undefined) throw new Error("no route leads to a console");
  return found as Route & { readonly service: ConsoleService };
}

const apiOf = (env: Env, rest: Partial<ConsolesOptions> = {}): ConsoleService => consoleRoute(load(env, rest)).service;

/** Every mistake of these variables; none of them may point into a file that the user never saw. */
function mistakes(env: Env, rest: Partial<ConsolesOptions> = {}): string[] {
  try {
    load(env, rest);
    return [];
  } catch (error) {
    const { name, message, mistakes: found } = error as ConfigError;
    expect(name).toBe("ConfigError");
    expect(message).toBe(found.map((mistake) => mistake.message).join("\n"));
    expect(message).not.toContain(CONSOLES_SOURCE);
    expect(found.every(({ line, column }) => line === 0 && column === 0)).toBe(true);
    if (env["SECRET_KEY"] !== undefined && env["SECRET_KEY"] !== "") expect(message).not.toContain(env["SECRET_KEY"]);
    return found.map((mistake) => mistake.message);
  }
}

describe("consoles.yaml", () => {
  test("serves the consoles of KubeVirt's machines, and its own health", () => {
    const settings = load(CLUSTER);
    expect(settings).toMatchObject({
      source: CONSOLES_SOURCE, http: { host: "0.0.0.0", port: 5001 }, desktopToken: null,
      vmToken: { secret: { kind: "text", text: SECRET }, algorithms: ["HS256"], allowWeakSecret: false },
    });
    expect(settings.routes.map(({ name, match }) => [name, match.kind, match.path])).toEqual([["/healthz", "exact", "/healthz"], ["console", "pattern", "/{token}/{vm}"]]);
    expect(consoleRoute(settings)).toMatchObject({
      identity: "vm", tokenSources: [{ kind: "path" }], websocket: true, origins: { kind: "any" }, viewer: false, closeAfterUpgrade: false, forwardToken: false,
      service: {
        host: "10.96.0.1", port: 443, policy: "takeover",
        apiPath: "/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/{vmi_name}/vnc",
        credentials: { caFile: "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt", tokenFile: "/var/run/secrets/kubernetes.io/serviceaccount/token" },
      },
    });
  });

  test("has no mistake, and nothing in it that has no effect", () => {
    const env = { SECRET_KEY: SECRET, WS_REMOTE_URL: "wss://10.96.0.1:443" };
    expect(mistakesOf(CONSOLES_TEXT, { env })).toEqual([]);
    expect(notesOf(CONSOLES_TEXT, { env })).toEqual([]);
  });

  test("copied and served with --config says the same as the command", async () => {
    const directory = await mkdtemp(join(tmpdir(), "route-consoles-"));
    try {
      const file = join(directory, "consoles.yaml");
      await writeFile(file, CONSOLES_TEXT);
      for (const [env, url, prefix] of [[CLUSTER, "wss://10.96.0.1:443", ""], [{ ...LOCAL, HOST_PATH_PREFIX: "ws", ROUTE_VIEWER: "true" }, "ws://localhost:8001", "/ws"]] as const) {
        const served = await loadSettings({ file, env: { ...env, WS_REMOTE_URL: url, HOST_PATH_PREFIX: prefix }, readResolvConf: () => "" });
        expect({ ...served, source: CONSOLES_SOURCE }).toEqual(load(env));
      }
      await expect(loadSettings({ file, env: {} })).rejects.toMatchObject({
        message: expect.stringMatching(/consoles\.yaml:\d+:13: environment variable SECRET_KEY is not set\n.*consoles\.yaml:\d+:17: environment variable WS_REMOTE_URL is not set/),
      });
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  test.each<Env>([{}, { HOST_PATH_PREFIX: "ws", ROUTE_CLOSE_AFTER_UPGRADE: "true" }])("is frozen to the last leaf with %j", (env) => {
    const settings = load({ ...LOCAL, ...env });
    for (const part of [settings, settings.routes, settings.vmToken, ...settings.routes, ...settings.routes.map(({ service }) => service)]) expect(Object.isFrozen(part)).toBe(true);
  });
});

describe("SECRET_KEY", () => {
  test.each(["${HOST}", "$${X}", "$1 and $HOME", "a \"quoted\" 'secret' with spaces", " surrounded ", "back\\slash\\n", "yaml: {a: [b]} # c", "true", "12345", "a,b", "é€😀", "two\nlines\n"])(
    "comes through unchanged: %j", (secret) => {
      expect(load({ ...LOCAL, SECRET_KEY: secret, ROUTE_ALLOW_WEAK_SECRET: "true", HOST: "127.0.0.1" }).vmToken?.secret).toEqual({ kind: "text", text: secret });
    });

  test.each<[string, Env]>([["not set", {}], ["empty", { SECRET_KEY: "" }]])("that is %s is named", (_, env) => {
    expect(mistakes({ LOCAL_DEV_MODE: "true", ...env })).toEqual(["environment variable SECRET_KEY is not set: the key that the tokens are signed with"]);
  });

  test("may be weak only on request", () => {
    for (const word of ["true", "yes", "1"]) expect(load({ ...LOCAL, ROUTE_ALLOW_WEAK_SECRET: word }).vmToken?.allowWeakSecret).toBe(true);
    expect(mistakes({ ...LOCAL, ROUTE_ALLOW_WEAK_SECRET: "oui" })).toEqual(["environment variable ROUTE_ALLOW_WEAK_SECRET: expected true or false, found \"oui\""]);
  });
});

describe("LOCAL_DEV_MODE", () => {
  test.each(["true", "True", "TRUE", "1", "yes", "Yes", "y", "on", " true "])("%j is local: plain ws to kubectl proxy, without credentials", (word) => {
    expect(apiOf({ ...CLUSTER, LOCAL_DEV_MODE: word })).toMatchObject({ host: "localhost", port: 8001, credentials: null });
  });

  test.each(["false", "False", "0", "no", "n", "off", "", " "])("%j is the cluster: TLS with the service account", (word) => {
    expect(apiOf({ ...CLUSTER, LOCAL_DEV_MODE: word })).toMatchObject({ host: "10.96.0.1", port: 443, credentials: expect.anything() });
  });

  test.each(["maybe", "2", "ja", "truefalse", "null"])("%j is a mistake", (word) => {
    expect(mistakes({ ...CLUSTER, LOCAL_DEV_MODE: word })).toEqual([`environment variable LOCAL_DEV_MODE: expected true or false, found "${word}"`]);
  });
});

describe("the Kubernetes API", () => {
  test.each<[Env, string, number]>([
    [{ KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "6443" }, "10.96.0.1", 6443], [{ KUBERNETES_SERVICE_HOST: "10.96.0.1" }, "10.96.0.1", 443],
    [{ KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "" }, "10.96.0.1", 443], [{ KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "443" }, "fd00::1", 443],
    [{ KUBERNETES_SERVICE_HOST: "[fd00::1]" }, "fd00::1", 443], [{ KUBERNETES_SERVICE_HOST: "kubernetes.default.svc" }, "kubernetes.default.svc", 443],
    [{ WS_REMOTE_URL: "wss://api.example:6443" }, "api.example", 6443], [{ WS_REMOTE_URL: "https://api.example/" }, "api.example", 443],
    [{ WS_REMOTE_URL: "wss://[fd00::2]", KUBERNETES_SERVICE_HOST: "10.96.0.1" }, "fd00::2", 443], [{ WS_REMOTE_URL: "", KUBERNETES_SERVICE_HOST: "10.96.0.1" }, "10.96.0.1", 443],
  ])("of %j is %s:%d, with credentials", (env, host, port) => {
    expect(apiOf({ SECRET_KEY: SECRET, ...env })).toMatchObject({ host, port, credentials: expect.anything() });
  });

  test.each<[Env, string, number]>([
    [{}, "localhost", 8001], [{ WS_REMOTE_URL: "ws://kubectl-proxy" }, "kubectl-proxy", 80], [{ WS_REMOTE_URL: "http://[::1]:8001" }, "::1", 8001],
    [{ WS_REMOTE_URL: "", KUBERNETES_SERVICE_HOST: "10.96.0.1" }, "localhost", 8001],
  ])("of local development with %j is %s:%d, without credentials", (env, host, port) => {
    expect(apiOf({ ...LOCAL, ...env })).toMatchObject({ host, port, credentials: null });
  });

  test("has to be known: without any variable, both that are missing are said at once", () => {
    const nowhere = "neither WS_REMOTE_URL nor KUBERNETES_SERVICE_HOST is set: outside of a cluster, run `kubectl proxy` and set LOCAL_DEV_MODE=true";
    expect(mistakes({})).toEqual(["environment variable SECRET_KEY is not set: the key that the tokens are signed with", nowhere]);
    expect(mistakes({ SECRET_KEY: SECRET })).toEqual([nowhere]);
    expect(mistakes({ SECRET_KEY: SECRET, KUBERNETES_SERVICE_PORT: "443" })).toEqual([nowhere]);
  });

  test.each(["ws://api", "http://api:8001/", "WS://api"])("gets no credentials over plain %s, nor is it asked without them unseen", (url) => {
    expect(mistakes({ ...CLUSTER, WS_REMOTE_URL: url })).toEqual([
      `credentials are never sent over plain ws: the remote URL is "${url}" (write wss://, or set LOCAL_DEV_MODE=true)`,
    ]);
  });

  test.each(["wss://api", "https://api:6443"])("at %s is no matter for local development", (url) => {
    expect(mistakes({ ...LOCAL, WS_REMOTE_URL: url })).toEqual([
      `LOCAL_DEV_MODE is on, which means plain ws without credentials, but the remote URL is "${url}" (write ws://, or turn it off)`,
    ]);
  });

  const EXPECTED = "expected the URL of a Kubernetes API such as wss://10.96.0.1:443 or ws://localhost:8001";
  test.each<[Env, string]>([
    [{ WS_REMOTE_URL: "api:443" }, `environment variable WS_REMOTE_URL: ${EXPECTED}, found "api:443"`],
    [{ WS_REMOTE_URL: " wss://api" }, `environment variable WS_REMOTE_URL: ${EXPECTED}, found " wss://api"`],
    [{ WS_REMOTE_URL: "wss://api/base" }, "environment variable WS_REMOTE_URL: the URL of a Kubernetes API ends after the port: \"wss://api/base\" has \"/base\" (paths go into \"apiPath\")"],
    [{ KUBERNETES_SERVICE_PORT: "tcp://10.96.0.1:443" }, `environment variables KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT: ${EXPECTED}, found "wss://10.96.0.1:tcp:…"`],
    [{ KUBERNETES_SERVICE_HOST: "a b" }, `environment variables KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT: ${EXPECTED}, found "wss://a b:443"`],
  ])("with %j is one mistake, of the variable that was set", (env, mistake) => {
    expect(mistakes({ ...CLUSTER, ...env })).toEqual([mistake]);
  });

  test("is asked with files and a policy of the environment", () => {
    const env = { ROUTE_CA_FILE: "/tls/ca.pem", ROUTE_TOKEN_FILE: "/tls/token", ROUTE_CONSOLE_POLICY: "preserve" };
    expect(apiOf({ ...CLUSTER, ...env })).toMatchObject({ credentials: { caFile: "/tls/ca.pem", tokenFile: "/tls/token" }, policy: "preserve" });
    expect(mistakes({ ...LOCAL, ROUTE_CONSOLE_POLICY: "steal" })).toEqual(["environment variable ROUTE_CONSOLE_POLICY: expected one of takeover, preserve, found \"steal\""]);
  });
});

describe("the API's path as an option", () => {
  test("takes the place of the built-in one, and of nothing else", () => {
    const settings = load(LOCAL, { apiPath: "/a/{namespace}/{vmi_name}/console" });
    expect(consoleRoute(settings).service.apiPath).toBe("/a/{namespace}/{vmi_name}/console");
    const without = (each: Settings) => each.routes.map((route) => ({ ...route, service: route.service.kind === "console" ? { ...route.service, apiPath: "" } : route.service }));
    expect(without(settings)).toEqual(without(load(LOCAL)));
  });

  test("is one mistake when it is none", () => {
    expect(mistakes(LOCAL, { apiPath: "/x" })).toEqual(["an apiPath contains {namespace} and {vmi_name}: \"/x\" lacks {namespace} and {vmi_name}"]);
  });

  test("holds no variables: what looks like one is refused, and not replaced by a secret", () => {
    expect(mistakes(LOCAL, { apiPath: "/${SECRET_KEY}/{namespace}/{vmi_name}" })).toEqual([
      "unknown variable {SECRET_KEY} in the apiPath \"/${SECRET_KEY}/{namespace}/{vmi_name}\" (known are {namespace} and {vmi_name})",
    ]);
  });
});

describe("HOST and PORT", () => {
  test.each<[Env, { host: string; port: number }]>([
    [{}, { host: "0.0.0.0", port: 5001 }], [{ HOST: "", PORT: "" }, { host: "0.0.0.0", port: 5001 }], [{ HOST: "127.0.0.1" }, { host: "127.0.0.1", port: 5001 }],
    [{ PORT: "8080" }, { host: "0.0.0.0", port: 8080 }], [{ HOST: "::1", PORT: "0" }, { host: "::1", port: 0 }], [{ HOST: "::" }, { host: "::", port: 5001 }],
    [{ HOST: "[::1]" }, { host: "::1", port: 5001 }], [{ HOST: "localhost", PORT: "1" }, { host: "localhost", port: 1 }],
  ])("%j listens on %j", (env, http) => {
    expect(load({ ...LOCAL, ...env }).http).toEqual(http);
  });

  test("give way to the flag", () => {
    expect(load({ ...LOCAL, HOST: "::1", PORT: "1" }, { httpListen: "127.0.0.1:0" }).http).toEqual({ host: "127.0.0.1", port: 0 });
  });

  test.each<[Env, string, string]>([
    [{ PORT: "http" }, "variable PORT", "0.0.0.0:http"], [{ HOST: "::1", PORT: "x" }, "variables HOST, PORT", "[::1]:x"],
    [{ HOST: "a b" }, "variable HOST", "a b:5001"],
  ])("%j is a mistake of the %s", (env, who, found) => {
    expect(mistakes({ ...LOCAL, ...env })).toEqual([`environment ${who}: expected an address to listen on such as ":80" or "127.0.0.1:8080", found "${found}"`]);
  });

  test("say which port there is none of", () => {
    expect(mistakes({ ...LOCAL, PORT: "70000" })).toEqual(["environment variable PORT: port 70000 is not one from 0 to 65535"]);
  });
});

describe("HOST_PATH_PREFIX", () => {
  test.each([
    ["", "/{token}/{vm}"], ["/", "/{token}/{vm}"], ["ws_proxy", "/ws_proxy/{token}/{vm}"], ["/ws_proxy", "/ws_proxy/{token}/{vm}"], ["ws_proxy/", "/ws_proxy/{token}/{vm}"],
    ["//ws_proxy//", "/ws_proxy/{token}/{vm}"], ["labs/ws", "/labs/ws/{token}/{vm}"], ["/a/b/c/", "/a/b/c/{token}/{vm}"],
  ])("%j makes the path %s", (prefix, path) => {
    expect(consoleRoute(load({ ...LOCAL, HOST_PATH_PREFIX: prefix })).match).toEqual({ kind: "pattern", path });
  });

  test.each([["a b", "no request arrives with this path: \"/a b/{token}/{vm}\" (did you mean \"/a%20b/token/vm\"?)"], ["a?b", "a path has no query and no fragment: \"/a?b/{token}/{vm}\""]])(
    "%j is a mistake", (prefix, mistake) => {
      expect(mistakes({ ...LOCAL, HOST_PATH_PREFIX: prefix })).toEqual([`environment variable HOST_PATH_PREFIX: ${mistake}`]);
    });

  test.each<readonly [prefix: string, cases: ReadonlyArray<readonly [path: string, answer: string]>]>([
    ["", [["/t/vm", "console"], ["/t", "invalid url"], ["/a/t/vm", "invalid url"], ["/", "invalid url"], ["/healthz", "OK"]]],
    ["ws", [["/ws/t/vm", "console"], ["/ws/t", "invalid url"], ["/ws/t/vm/x", "invalid url"], ["/ws", "invalid url"], ["/other/t/vm", "wrong path prefix"], ["/t/vm", "invalid url"],
      ["/a/b/t/vm", "invalid url"], ["/", "invalid url"], ["/healthz", "OK"]]],
    ["a/b", [["/a/b/t/vm", "console"], ["/a/c/t/vm", "wrong path prefix"], ["/c/b/t/vm", "wrong path prefix"], ["/a/t/vm", "invalid url"], ["/x/a/b/t/vm", "invalid url"]]],
  ])("%j with refusals after the upgrade gives the original's reasons", (prefix, cases) => {
    const router = new Router(load({ ...LOCAL, HOST_PATH_PREFIX: prefix, ROUTE_CLOSE_AFTER_UPGRADE: "true" }).routes);
    const answers = cases.map(([path]) => {
      const route = router.match(path)?.route;
      if (route?.service.kind !== "builtin") return [path, route?.service.kind];
      const { answer } = route.service;
      // A refusal that is no WebSocket would never be heard, and one that asked for a token would be another one.
      if (answer.kind === "nothing") expect(route).toMatchObject({ websocket: true, closeAfterUpgrade: true, tokenSources: [] });
      return [path, answer.kind === "nothing" ? answer.closeReason : answer.kind === "text" ? answer.text : answer.kind];
    });
    expect(answers).toEqual(cases.map((each) => [...each]));
  });

  test("without refusals after the upgrade leaves everything else to the plain 404", () => {
    const router = new Router(load({ ...LOCAL, HOST_PATH_PREFIX: "ws" }).routes);
    expect(["/ws/t", "/other/t/vm", "/"].map((path) => router.match(path))).toEqual([null, null, null]);
  });
});

describe("our own variables", () => {
  test("turn on the viewer and the original's refusals, and choose the origins", () => {
    const settings = load({ ...LOCAL, ROUTE_VIEWER: "true", ROUTE_CLOSE_AFTER_UPGRADE: "true", ROUTE_ALLOWED_ORIGINS: "https://a.example,https://b.example", ROUTE_TRUSTED_PROXIES: "10.0.0.0/8" });
    expect(consoleRoute(settings)).toMatchObject({ viewer: true, closeAfterUpgrade: true, origins: { kind: "list", origins: ["https://a.example", "https://b.example"] } });
    expect(settings.routes.map(({ match }) => match.path)).toEqual(["/healthz", "/{token}/{vm}", "/_viewer/{file*}", "/"]);
    expect(settings.trustedProxies).toEqual(["10.0.0.0/8"]);
    expect(consoleRoute(load({ ...LOCAL, ROUTE_ALLOWED_ORIGINS: "same-host" })).origins).toEqual({ kind: "same-host" });
  });

  test("are named with every mistake at once", () => {
    expect(mistakes({ ...LOCAL, ROUTE_VIEWER: "ja", ROUTE_CLOSE_AFTER_UPGRADE: "2", ROUTE_TRUSTED_PROXIES: "x", ROUTE_LOG_FORMAT: "xml" }).map((mistake) => mistake.split(":")[0])).toEqual(
      expect.arrayContaining(["ROUTE_VIEWER", "ROUTE_CLOSE_AFTER_UPGRADE", "ROUTE_TRUSTED_PROXIES", "ROUTE_LOG_FORMAT"].map((name) => `environment variable ${name}`)),
    );
  });
});
