// What the configuration format says about consoles: the service, the route, the token, and the routes that come along.

import { describe, expect, test } from "bun:test";
import { Router } from "../../src/router/router.ts";
import { marked, mistakesOf, notesOf, settingsOf, TABLE } from "./support.ts";

/** A file with consoles beside other services; its one route stands on line 8. */
function withConsoleRoute(route: string): string {
  return `token: { vm: { secret: a, allowWeakSecret: true } }
services:
  website: { url: "http://website" }
  filer: { target: desktop, port: 29783 }
  healthz: { text: ok }
  kubevirt: { kubernetes: "wss://api" }
routes:
  - { ${route} }
`;
}

/** A file with one console; its service stands on line 2, its route on line 4. */
function withConsoleService(service: string): string {
  return `services:\n  s: { ${service} }\nroutes:\n  - { path: "/{token}/{vm}", identity: vm, service: s }\ntoken: { vm: { secret: a, allowWeakSecret: true } }\n`;
}

const API_URL = "expected the URL of a Kubernetes API such as wss://10.96.0.1:443 or ws://localhost:8001";
const API_PATH = "expected a path such as /apis/.../{namespace}/.../{vmi_name}/vnc";

describe("the Kubernetes API of a console", () => {
  test.each([
    ["wss://api", "api", 443, true], ["wss://api:6443", "api", 6443, true], ["ws://localhost:8001", "localhost", 8001, false], ["ws://api", "api", 80, false],
    ["https://API.example", "api.example", 443, true], ["http://api:1/", "api", 1, false], ["WSS://api/", "api", 443, true], ["wss://10.96.0.1:443", "10.96.0.1", 443, true],
    ["wss://[fd00::1]", "fd00::1", 443, true], ["wss://[FD00::1]:6443", "fd00::1", 6443, true], ["wss://fd00::1:443", "fd00::1", 443, true], ["ws://::1:8001", "::1", 8001, false],
  ])("%s is %s, port %d, with credentials: %p", (url, host, port, isSecure) => {
    const [console] = settingsOf(withConsoleService(`kubernetes: "${url}", caFile: ca, tokenFile: token`)).routes;
    expect(console?.service).toMatchObject({ kind: "console", name: "s", host, port, credentials: isSecure ? { caFile: "ca", tokenFile: "token" } : null });
  });

  test("has KubeVirt's path, the service account's files and takeover unless the file says otherwise", () => {
    const account = "/var/run/secrets/kubernetes.io/serviceaccount";
    expect(settingsOf(withConsoleService("kubernetes: \"wss://api\"")).routes[0]?.service).toEqual({
      kind: "console", name: "s", host: "api", port: 443, policy: "takeover", credentials: { caFile: `${account}/ca.crt`, tokenFile: `${account}/token` },
      apiPath: "/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/{vmi_name}/vnc",
    });
    const other = "kubernetes: \"wss://api\", apiPath: \"/x/{vmi_name}-a/{namespace}/~.b/console\", consolePolicy: preserve";
    expect(settingsOf(withConsoleService(other)).routes[0]?.service).toMatchObject({ apiPath: "/x/{vmi_name}-a/{namespace}/~.b/console", policy: "preserve" });
  });

  test.each([
    ["kubernetes: ▸\"wss://api/base\"", "the URL of a Kubernetes API ends after the port: \"wss://api/base\" has \"/base\" (paths go into \"apiPath\")"],
    ["kubernetes: ▸\"wss://api:1?a\"", "the URL of a Kubernetes API ends after the port: \"wss://api:1?a\" has \"?a\" (paths go into \"apiPath\")"],
    ["kubernetes: ▸\"ftp://api\"", `${API_URL}, found "ftp://api"`], ["kubernetes: ▸\"api:443\"", `${API_URL}, found "api:443"`], ["kubernetes: ▸\"wss://\"", `${API_URL}, found "wss://"`],
    ["kubernetes: ▸\"wss://u:p@api\"", "the URL of a Kubernetes API holds no user and no password (wss:// sends the token of \"tokenFile\")"], ["kubernetes: ▸\"wss://api:0\"", "port 0 is not one from 1 to 65535"],
    ["kubernetes: ▸\"wss://api:65536\"", "port 65536 is not one from 1 to 65535"], ["kubernetes: ▸\"wss://fd00::1\"", `${API_URL}, found "wss://fd00::1"`],
    ["kubernetes: ▸\"wss://[fd00::1%eth0]\"", `${API_URL}, found "wss://[fd00::1%eth0]"`], ["kubernetes: ▸\"wss://a b\"", `${API_URL}, found "wss://a b"`],
    ["kubernetes: ▸\"wss://api\\r\\nX: y\"", `${API_URL}, found "wss://api\r\nX: y"`], ["kubernetes: ▸true", "expected the URL of a Kubernetes API such as wss://host:443, found the boolean true"],
    ["kubernetes: \"wss://a\", apiPath: ▸\"/x/{vmi_name}\"", "an apiPath contains {namespace} and {vmi_name}: \"/x/{vmi_name}\" lacks {namespace}"],
    ["kubernetes: \"wss://a\", apiPath: ▸\"/x/{namespace}\"", "an apiPath contains {namespace} and {vmi_name}: \"/x/{namespace}\" lacks {vmi_name}"],
    ["kubernetes: \"wss://a\", apiPath: ▸/vnc", "an apiPath contains {namespace} and {vmi_name}: \"/vnc\" lacks {namespace} and {vmi_name}"],
    ["kubernetes: \"wss://a\", apiPath: ▸\"/{namespace}/{vmi_name}/{port}\"", "unknown variable {port} in the apiPath \"/{namespace}/{vmi_name}/{port}\" (known are {namespace} and {vmi_name})"],
    ["kubernetes: \"wss://a\", apiPath: ▸\"/{namespace}/{vmi_name}}\"", "unknown variable } in the apiPath \"/{namespace}/{vmi_name}}\" (known are {namespace} and {vmi_name})"],
    ["kubernetes: \"wss://a\", apiPath: ▸\"{namespace}/{vmi_name}\"", `${API_PATH}, found "{namespace}/{vmi_name}"`],
    ["kubernetes: \"wss://a\", apiPath: ▸\"/{namespace}/../{vmi_name}\"", `${API_PATH}, found "/{namespace}/../{vmi_name}"`],
    ["kubernetes: \"wss://a\", apiPath: ▸\"/{namespace}/{vmi_name}/..\"", `${API_PATH}, found "/{namespace}/{vmi_name}/.."`],
    ["kubernetes: \"wss://a\", apiPath: ▸\"/{namespace}/{vmi_name}?a=b\"", `${API_PATH}, found "/{namespace}/{vmi_name}?a=b"`],
    ["kubernetes: \"wss://a\", apiPath: ▸\"/{namespace}/{vmi_name}#a\"", `${API_PATH}, found "/{namespace}/{vmi_name}#a"`],
    ["kubernetes: \"wss://a\", apiPath: ▸\"/{namespace}/{vmi_name}/%2e\"", `${API_PATH}, found "/{namespace}/{vmi_name}/%2e"`],
    ["kubernetes: \"wss://a\", apiPath: ▸\"/{namespace}/{vmi_name} HTTP/1.1\"", `${API_PATH}, found "/{namespace}/{vmi_name} HTTP/1.1"`],
    ["kubernetes: \"wss://a\", apiPath: ▸\"/{namespace}/{vmi_name}\\r\\nX: y\"", `${API_PATH}, found "/{namespace}/{vmi_name}\r\nX: y"`],
    ["kubernetes: \"wss://a\", consolePolicy: ▸takover", "expected one of takeover, preserve, found \"takover\" (did you mean \"takeover\"?)"],
    ["kubernetes: \"wss://a\", caFile: ▸\"\"", "expected a file name, found \"\""], ["kubernetes: \"wss://a\", tokenFile: ▸7", "expected a file name, found the number 7"],
    ["kubernetes: \"wss://a\", ▸apipath: /x", "unknown key \"apipath\" (did you mean \"apiPath\"?)"],
  ])("%s is reported with its place", (service, mistake) => {
    const { text, place } = marked(withConsoleService(service));
    expect(mistakesOf(text)).toEqual([`${place}: ${mistake}`]);
  });
});

describe("a mistake in the route of a console", () => {
  test.each([
    ["path: \"/{vm}\", identity: vm, service: ▸kubevirt", "service \"kubevirt\" takes the token from the path: \"/{vm}\" needs {token}, or the route \"token\""],
    ["path: \"/{token}\", identity: vm, service: ▸kubevirt", "service \"kubevirt\" takes the virtual machine from the path: \"/{token}\" needs {vm}"],
    ["path: \"/{token}/{vm*}\", identity: vm, service: ▸kubevirt", "service \"kubevirt\" takes the virtual machine from the path: \"/{token}/{vm*}\" needs {vm}"],
    ["path: \"/{vm}\", identity: vm, service: kubevirt, token: [query, ▸path]", "token source \"path\" needs {token} in the path \"/{vm}\""],
    ["path: \"/{token}/{vm}\", service: ▸kubevirt", "service \"kubevirt\" is found by a console token: the route needs \"identity: vm\""],
    ["path: \"/{token}/{vm}\", identity: desktop, service: ▸kubevirt", "service \"kubevirt\" is found by a console token: the route needs \"identity: vm\""],
    ["path: \"/{token}/{vm}\", identity: vm, service: kubevirt, websocket: ▸false", "service \"kubevirt\" speaks nothing but WebSocket"],
    ["path: \"/{token}/x/{vm}\", identity: vm, service: kubevirt, viewer: ▸true", "\"viewer\" needs a path that ends in /{token}/{vm}: \"/{token}/x/{vm}\""],
    ["path: \"/{vm}/{token}\", identity: vm, service: kubevirt, viewer: ▸true", "\"viewer\" needs a path that ends in /{token}/{vm}: \"/{vm}/{token}\""],
    ["path: \"/{vm}\", identity: vm, token: [query], service: kubevirt, viewer: ▸true", "\"viewer\" needs a path that ends in /{token}/{vm}: \"/{vm}\""],
    ["path: /a, service: website, viewer: ▸true", "\"viewer\" is for consoles: service \"website\" has no \"kubernetes\""],
    ["path: /a, service: website, identity: ▸vm", "\"identity: vm\" is for consoles: service \"website\" has no \"kubernetes\""],
    ["path: /a, service: healthz, identity: ▸vm", "\"identity: vm\" is for consoles: service \"healthz\" has no \"kubernetes\""],
    ["path: /a, service: ▸filer, identity: vm, token: [query]", "service \"filer\" is found by a desktop token, the route asks for a console token"],
    ["path: \"/{token}/{vm}\", service: kubevirt, viewer: ▸ja, identity: vm", "expected true or false, found \"ja\""],
    ["path: [\"/{token}/{vm}\", ▸\"/{t}/{v}\"], identity: vm, service: kubevirt, token: [query]", "duplicate route: pattern \"/{t}/{v}\" (first on line 8)"],
  ])("%s is reported with its place", (route, mistake) => {
    const { text, place } = marked(withConsoleRoute(route));
    expect(mistakesOf(text)).toContain(`${place}: ${mistake}`);
    expect(mistakesOf(text)).toHaveLength(route.includes("{t}") ? 2 : 1);
  });

  test("is a word that is no identity: said with what is near, and with what the service needs", () => {
    expect(mistakesOf(withConsoleRoute("path: \"/{token}/{vm}\", identity: vms, service: kubevirt"))).toContainEqual("8:40: expected one of desktop, vm, found \"vms\" (did you mean \"vm\"?)");
  });
});

describe("a mistake in the console token", () => {
  const text = (token: string): string => `${withConsoleService("kubernetes: \"wss://a\"").split("token: { vm")[0]}${token}`;
  const EXPECTED = "expected a secret: a text that is not empty (in quotes if it looks like a number)";

  test.each([
    ["token: { vm: { secret: ▸31415926 } }", EXPECTED], ["token: { vm: { secret: ▸3.1415926 } }", EXPECTED], ["token: { vm: { secret: ▸true } }", EXPECTED],
    ["token: { vm: { secret: ▸[hidden] } }", EXPECTED], ["token: { vm: { secret: ▸{ hidden: hidden } } }", EXPECTED], ["token: { vm: { secret: ▸\"\" } }", EXPECTED],
    ["token: { vm: { secret: ▸null } }", EXPECTED], ["token: { vm: { secret: \"▸${UNSET}\" } }", "environment variable UNSET is not set"],
    ["token: { vm: { secret: ▸\"${EMPTY}\" } }", "environment variable EMPTY is set but empty"], ["token: { vm: { secret: ▸\"${UNSET:-}\" } }", EXPECTED],
    ["token: { vm: ▸{} }", "\"token.vm\" needs one of \"secret\" and \"secretFile\""],
    ["token: { vm: ▸{ secret: hidden, secretFile: b, allowWeakSecret: true } }", "\"token.vm\" needs one of \"secret\" and \"secretFile\", not both"],
    ["token: { vm: { secretFile: ▸\"\" } }", "expected a file name, found \"\""], ["token: { vm: ▸hidden }", "expected a map of keys and values, found \"hidden\""],
    ["token: { vm: { secretFile: a, algorithms: [▸RS256] } }", "expected one of HS256, HS384, HS512, found \"RS256\" (did you mean \"HS256\"?)"],
    ["token: { vm: { secretFile: a, algorithms: [▸none] } }", "expected one of HS256, HS384, HS512, found \"none\""],
    ["token: { vm: { secretFile: a, algorithms: ▸[] } }", "expected a list that is not empty, each entry one of HS256, HS384, HS512, found an empty list"],
    ["token: { vm: { secretFile: a, allowWeakSecret: ▸1 } }", "expected true or false, found the number 1"],
    ["token: { vm: { ▸secretfile: a, secret: b, allowWeakSecret: true } }", "unknown key \"secretfile\" (did you mean \"secretFile\"?)"],
  ])("%s is reported with its place, and no secret is repeated", (token, mistake) => {
    const { text: whole, place } = marked(text(`${token}\n`));
    const mistakes = mistakesOf(whole, { env: { EMPTY: "" } });
    expect(mistakes).toEqual([`${place}: ${mistake}`]);
    if (token.includes("secret:")) expect(mistakes.join()).not.toMatch(/hidden|1415926/);
  });

  test("is that it is missing where a route asks for it", () => {
    for (const token of ["", "token: {}\n", "token: { desktop: { signingPublicKeys: [a], payloadPrivateKey: b } }\n"]) {
      expect(mistakesOf(text(token))).toEqual(["4:40: a route asks for a console token, but \"token.vm\" is missing"]);
    }
  });

  test("is no matter where no route asks for it", () => {
    expect(settingsOf(`token: { vm: {} }\n${TABLE}`).vmToken).toBeNull();
  });
});

const STRONG = "strong-secret-of-32-bytes-and-no";

describe("the settings of consoles", () => {
  const tokenOf = (token: string, options: Parameters<typeof settingsOf>[1] = {}) => {
    return settingsOf(`${withConsoleService("kubernetes: \"wss://a\"").split("token: { vm")[0]}token: { vm: ${token} }\n`, options).vmToken;
  };

  test("have the secret as it is, or its file", () => {
    expect(tokenOf(`{ secret: ${STRONG} }`)).toEqual({ secret: { kind: "text", text: STRONG }, algorithms: ["HS256"], allowWeakSecret: false });
    expect(tokenOf("{ secretFile: /k, algorithms: [HS512, HS256], allowWeakSecret: true }")).toEqual({
      secret: { kind: "file", path: "/k" }, algorithms: ["HS512", "HS256"], allowWeakSecret: true,
    });
  });

  test.each(["a,b", "true", "12345", "${OTHER}", "$${", "$1 \"quoted\" 'too'", " spaces ", "#no comment", "line\nfeed\n"])("take the secret %j from a variable unchanged", (secret) => {
    expect(tokenOf("{ secret: \"${S}\", allowWeakSecret: true }", { env: { S: secret, OTHER: "x" } })?.secret).toEqual({ kind: "text", text: secret });
  });

  test("take allowWeakSecret from the environment where the file does not say it", () => {
    expect(tokenOf("{ secret: s }", { env: { ROUTE_ALLOW_WEAK_SECRET: "true" } })?.allowWeakSecret).toBe(true);
    expect(tokenOf(`{ secret: ${STRONG}, allowWeakSecret: false }`, { env: { ROUTE_ALLOW_WEAK_SECRET: "true" } })?.allowWeakSecret).toBe(false);
  });

  test("can be shown without the secret, as a check in CI does", () => {
    expect(tokenOf("{ secret: \"${S}\" }", { allowUnset: true })?.secret).toEqual({ kind: "text", text: "${S}" });
  });

  test("look for the token in the path, and check the origin, unless the route says otherwise", () => {
    const route = (rest: string) => settingsOf(withConsoleRoute(`path: "/{token}/{vm}", identity: vm, service: kubevirt${rest}`)).routes[0];
    expect(route("")).toMatchObject({
      tokenSources: [{ kind: "path" }], identity: "vm", websocket: true, origins: { kind: "same-host" }, viewer: false, closeAfterUpgrade: false, forwardToken: false,
    });
    expect(route(", token: [header:X-Token, query], origins: any")).toMatchObject({ tokenSources: [{ kind: "header", name: "x-token" }, { kind: "query" }], origins: { kind: "any" } });
    expect(route(", websocket: true, closeAfterUpgrade: true")).toMatchObject({ websocket: true, closeAfterUpgrade: true });
  });

  test("name what has no effect on a console, and what has one only there", () => {
    const notes = (route: string) => notesOf(withConsoleRoute(route)).filter((note) => note.startsWith("8:"));
    expect(notes("path: \"/{token}/{vm}\", identity: vm, service: kubevirt, upstreamPath: /, host: client, forwardToken: true, bodyLimit: 0, buffering: false")).toEqual([
      "8:77: \"upstreamPath\" has no effect on a console", "8:86: \"host\" has no effect on a console", "8:108: \"forwardToken\" has no effect on a console",
      "8:125: \"bodyLimit\" has no effect on a console", "8:139: \"buffering\" has no effect on a console",
    ]);
    expect(notes("path: \"/{token}/{vm}\", identity: vm, service: kubevirt, idleTimeout: 5s, origins: any, compressText: true, viewer: true, closeAfterUpgrade: true")).toEqual([]);
    expect(notes("path: /, service: website, closeAfterUpgrade: true")).toEqual(["8:53: \"closeAfterUpgrade\" has no effect without \"websocket: true\""]);
  });
});

describe("routes that come along with consoles", () => {
  const base = (routes: string): string => `token: { vm: { secret: a, allowWeakSecret: true } }
services:
  website: { url: "http://website" }
  vnc: { kubernetes: "wss://api" }
  serial: { kubernetes: "wss://api", apiPath: "/{namespace}/{vmi_name}/console" }
routes:
${routes}`;
  const companionsOf = (routes: string) => settingsOf(base(routes)).routes.filter(({ service }) => service.kind === "builtin");
  const pathsOf = (routes: string) => companionsOf(routes).map(({ match }) => `${match.kind} ${match.path}`);

  test("are none without viewer and closeAfterUpgrade", () => {
    expect(settingsOf(base("  - { path: \"/{token}/{vm}\", identity: vm, service: vnc }\n")).routes).toHaveLength(1);
  });

  test("are the viewer's files, open to everyone who may use the console's route", () => {
    const [files] = companionsOf("  - { path: \"/a/b/{token}/{vm}\", identity: vm, service: vnc, viewer: true, allowedClients: [10.0.0.0/8] }\n");
    expect(files).toMatchObject({
      name: "/a/b/_viewer/{file*}", match: { kind: "pattern", path: "/a/b/_viewer/{file*}" }, service: { kind: "builtin", answer: { kind: "viewer" } },
      tokenSources: [], websocket: false, viewer: false, closeAfterUpgrade: false, allowedClients: ["10.0.0.0/8"],
    });
  });

  test("are what says \"invalid url\" to every other path below the prefix", () => {
    const [rest] = companionsOf("  - { path: \"/a/{token}/{vm}\", identity: vm, service: vnc, closeAfterUpgrade: true }\n");
    expect(rest).toMatchObject({
      match: { kind: "prefix", path: "/a" }, service: { answer: { kind: "nothing", closeReason: "invalid url" } }, tokenSources: [], websocket: true, closeAfterUpgrade: true,
    });
    expect(pathsOf("  - { path: \"/{token}/{vm}\", identity: vm, service: vnc, closeAfterUpgrade: true }\n")).toEqual(["prefix /"]);
  });

  test("are there once for each prefix", () => {
    const routes = "  - { path: [\"/vnc/{token}/{vm}\", \"/labs/vnc/{token}/{vm}\"], identity: vm, service: vnc, viewer: true, closeAfterUpgrade: true }\n"
      + "  - { path: \"/serial/{token}/{vm}\", identity: vm, service: serial, closeAfterUpgrade: true }\n";
    expect(pathsOf(routes)).toEqual([
      "pattern /vnc/_viewer/{file*}", "prefix /vnc", "pattern /labs/vnc/_viewer/{file*}", "prefix /labs/vnc", "prefix /serial",
    ]);
  });

  test("give way to a route of the file for the same path", () => {
    const routes = "  - { path: \"/{token}/{vm}\", identity: vm, service: vnc, viewer: true, closeAfterUpgrade: true }\n"
      + "  - { path: /, service: website }\n  - { path: \"/_viewer/{any*}\", service: website, name: mine }\n";
    expect(pathsOf(routes)).not.toContain("prefix /");
    const router = new Router(settingsOf(base(routes)).routes);
    expect([router.match("/_viewer/client.js")?.route.name, router.match("/")?.route.service.name]).toEqual(["mine", "website"]);
  });

  test("are taken for what they are by the router", () => {
    const router = new Router(settingsOf(base("  - { path: \"/ws/{token}/{vm}\", identity: vm, service: vnc, viewer: true, closeAfterUpgrade: true }\n")).routes);
    const chosen = ["/ws/t/vm", "/ws/_viewer/", "/ws/_viewer/client.js", "/ws/t", "/ws/t/vm/more", "/ws", "/other/t/vm"].map((path) => {
      const service = router.match(path)?.route.service;
      return service?.kind === "builtin" ? service.answer.kind : service?.kind ?? null;
    });
    expect(chosen).toEqual(["console", "viewer", "viewer", "nothing", "nothing", "nothing", null]);
  });

  test("are frozen like every other", () => {
    for (const route of companionsOf("  - { path: \"/{token}/{vm}\", identity: vm, service: vnc, viewer: true, closeAfterUpgrade: true }\n")) {
      expect([Object.isFrozen(route), Object.isFrozen(route.service)]).toEqual([true, true]);
    }
  });
});

test("the viewer on a serial console is reported, because noVNC shows screens", () => {
  const { text, place } = marked(`token: { vm: { secret: a, allowWeakSecret: true } }
services: { serial: { kubernetes: "wss://api", apiPath: "/{namespace}/{vmi_name}/console" } }
routes: [{ path: "/{token}/{vm}", identity: vm, service: serial, viewer: ▸true }]
`);
  expect(mistakesOf(text)).toEqual([`${place}: "viewer" shows screens: service "serial" is a serial console`]);
});
