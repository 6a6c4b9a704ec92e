import { describe, expect, test } from "bun:test";
import { formatMistake } from "../../src/config/mistake.ts";
import { serverUrlOf } from "../../src/service.ts";
import { marked, mistakesOf, notesOf, settingsOf, TABLE } from "./support.ts";

/** A file with a service of each kind; its one route stands on line 8. */
function withRoute(route: string): string {
  return `token: { desktop: { signingPublicKeys: [a], payloadPrivateKey: b } }
services:
  website: { url: "http://website" }
  filer: { target: desktop, port: 29783 }
  container: { target: desktop, port: path }
  healthz: { text: ok }
routes:
  - { ${route} }
`;
}

const NOT_BY_HOST = "no route is chosen by host name: names are registered at a gateway, docs/GATEWAY.md";

const KEY_BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDXamOsZ3JlYXQ";
const KEY = `-----BEGIN PRIVATE KEY-----\n${KEY_BODY}\n-----END PRIVATE KEY-----\n`;

describe("a mistake in the file", () => {
  test.each([
    ["an unknown key", "▸dnss: {}\n", "unknown key \"dnss\" (did you mean \"dns\"?)"],
    ["an unknown key of a section", "dns:\n  ▸timeot: 5s\n", "unknown key \"timeot\" (did you mean \"timeout\"?)"],
    ["an unknown key that is near to none", "dns:\n  ▸server: x\n", "unknown key \"server\" (known are nameserver, timeout)"],
    ["a duplicate key", "dns:\n  timeout: 5s\n  ▸timeout: 6s\n", "duplicate key \"timeout\" (first on line 2)"],
    ["a section without a value", "dns:▸\n", "expected a map of keys and values, found nothing"],
    ["a list in place of a section", "dns: ▸[a]\n", "expected a map of keys and values, found a list"],
    ["a duration without a unit", "drainTimeout: ▸30\n", "expected a duration such as 500ms, 30s or 10m, or 0, found \"30\" (did you mean \"30s\"?)"],
    ["a duration in words", "drainTimeout: ▸2 minutes\n", "expected a duration such as 500ms, 30s or 10m, or 0, found \"2 minutes\" (did you mean \"2m\"?)"],
    ["more headers than the runtime takes", "limits:\n  headerCount: ▸300\n", "expected a whole number from 1 to 190 (larger heads are refused before any limit of ours is asked), found the number 300"],
    ["a longer target than the runtime takes", "limits:\n  requestTarget: ▸100KiB\n", "expected at most 60KiB, found \"100KiB\" (larger heads are refused before any limit of ours is asked)"],
    ["larger headers than the runtime takes", "limits:\n  headers: ▸61441B\n", "expected at most 60KiB, found \"61441B\" (larger heads are refused before any limit of ours is asked)"],
    ["a size as nginx writes it", "limits:\n  headers: ▸32k\n", "expected a size such as 512B, 16KiB, 8MiB or 8GiB, found \"32k\" (did you mean \"32KiB\"?)"],
    ["a port out of range", "ports:\n  xterm_tcp_port: ▸70000\n", "expected a port number from 1 to 65535, found the number 70000"],
    ["a port that is text", "ports:\n  xterm_tcp_port: ▸ssh\n", "expected a port number from 1 to 65535, found \"ssh\""],
    ["a bad CIDR", "trustedProxies:\n  - 10.0.0.0/8\n  - ▸10.0.0.0/33\n", "not an address or CIDR such as 10.0.0.0/8 or fd00::/8: \"10.0.0.0/33\""],
    ["a bad target", "targets: { allowedTargets: [▸10.0.0] }\n", "not an allowed target: \"10.0.0\" (write \"*\", a CIDR such as 10.0.0.0/8, or a DNS suffix such as .svc.cluster.local)"],
    ["a bad nameserver", "dns: { nameserver: ▸10.0.0.1:0 }\n", "expected a nameserver such as 10.96.0.10, 10.96.0.10:53, [fd00::10]:53, kube-dns.kube-system.svc.cluster.local or \"system\", found \"10.0.0.1:0\""],
    ["a listen address that is only a port", "entrypoints: { http: ▸8080 }\n", "expected an address to listen on such as \":80\" or \"127.0.0.1:8080\", found \"8080\" (did you mean \":8080\"?)"],
    ["a word that is none of the known", "log: { format: ▸jsn }\n", "expected one of json, pretty, found \"jsn\" (did you mean \"json\"?)"],
    ["a header that frames messages", "headers: { response: { ▸Content-Length: \"3\" } }\n", "header \"Content-Length\" belongs to one message and cannot be set on all"],
    ["a header twice", "headers: { response: { A: x, ▸a: y } }\n", "duplicate header \"a\" (upper and lower case are alike)"],
    ["a header with a line break", "headers: { response: { A: ▸\"x\\r\\nB: y\" } }\n", "a header value is printable ASCII: \"x\\r\\nB: y\""],
    ["a variable that is not set", "dns:\n  nameserver: \"▸${DNS}\"\n", "environment variable DNS is not set"],
    ["a variable that does not end", "dns:\n  nameserver: ▸\"${DNS\"\n", "not a variable: \"${DNS\" (write ${NAME} or ${NAME:-default}, and $${ for a plain ${)"],
    ["an alias of itself", "ports: &a { x: ▸*a }\n", "alias \"*a\" refers to itself"],
  ])("is reported with its place: %s", (_what, withMark, mistake) => {
    const { text, place } = marked(withMark + TABLE);
    // The port that the alias should have been is missing as well.
    expect(mistakesOf(text)[0]).toBe(`${place}: ${mistake}`);
    expect(mistakesOf(text)).toHaveLength(withMark.includes("*a") ? 2 : 1);
  });

  test("of the syntax is reported once, not with all that follows from it", () => {
    const text = `${TABLE}  - { path: /a/{b}, service: website }\n  - { path: /c, service: website }\n`;
    expect(mistakesOf(text)).toEqual(["5:16: not valid YAML: unexpected flow-map-start at node end (put text with braces or brackets in quotes)"]);
  });

  test("does not hide another one: all come at once, in the order of the file", () => {
    const text = "dns: { timeout: 5 }\nlog: { format: xml }\nservices:\n  a: { url: \"ftp://a\" }\nroutes:\n  - { path: b, service: a }\n  - { path: /c, service: d }\n";
    expect(mistakesOf(text).map((mistake) => mistake.split(":").slice(0, 2).join(":"))).toEqual(["1:17", "2:16", "4:13", "6:13", "7:26"]);
  });

  test("of a service is not reported again by its routes", () => {
    expect(mistakesOf("services:\n  a: { url: ftp://a }\nroutes:\n  - { path: /, service: a }\n")).toEqual([
      "2:13: expected a URL such as http://host:8000, https://host or unix:/run/app.sock, found \"ftp://a\"",
    ]);
  });

  test("reads file:line:column: message, and without a place when it is a flag's", () => {
    expect(formatMistake("routes.yaml", { line: 12, column: 5, message: "m" })).toBe("routes.yaml:12:5: m");
    expect(formatMistake("routes.yaml", { line: 0, column: 0, message: "m" })).toBe("m");
  });

  test("is one line that moves no cursor, whatever the file and its name hold", () => {
    expect(formatMistake("a\nb", { line: 1, column: 1, message: "found \"\u001b[31m\"" })).toBe("a\\u000ab:1:1: found \"\\u001b[31m\"");
    expect(formatMistake("a", { line: 0, column: 0, message: "x\ry" })).toBe("x\\u000dy");
  });

  test.each([
    ["whole", KEY, '1:1: expected a map of keys and values, found "-----BEGIN PRIVATE K…"'],
    ["in the place of a map", `dns: "${KEY_BODY}"\n${TABLE}`, '1:6: expected a map of keys and values, found "MIIEvQIBADANBgkqhkiG…"'],
    ["in the place of a word", `log: { format: ${KEY_BODY} }\n${TABLE}`, '1:16: expected one of json, pretty, found "MIIEvQIBADANBgkqhkiG…"'],
    ["in the place of a variable", `log: { format: "\${${KEY_BODY}" }\n${TABLE}`, '1:16: not a variable: "${MIIEvQIBADANBgkqhk…" (write ${NAME} or ${NAME:-default}, and $${ for a plain ${)'],
    ["behind what the YAML library quotes", `routes: |${KEY_BODY}\n`, "1:10: not valid YAML: block scalar header includes extra characters: |MIIEvQIBADANBgkqhki…"],
    ["after a percent sign", `%${KEY_BODY}\n`, "1:1: not valid YAML: unknown directive %MIIEvQIBADANBgkqhki…"],
  ])("shows no more than the beginning of a key that stands there: %s", (_where, text, message) => {
    expect(mistakesOf(text)[0]).toBe(message);
    expect(mistakesOf(text).join()).not.toContain(KEY_BODY.slice(0, 30));
  });

  test("counts columns in a file with Windows line ends and letters outside of ASCII", () => {
    expect(mistakesOf(`# é ü\r\n${TABLE.replaceAll("\n", "\r\n")}log: { format: "ü" }\r\n`)).toEqual([
      "6:16: expected one of json, pretty, found \"ü\"",
    ]);
  });

  test("is an empty file", () => {
    expect(mistakesOf("")).toEqual([
      expect.stringContaining("1:1: missing key \"services\""), expect.stringContaining("1:1: missing key \"routes\""),
    ]);
  });

  test("is a file made to fill the memory", () => {
    const bomb = ["ports: {}", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"];
    for (let level = 1; level < 9; level += 1) bomb.push(`a${level}: &a${level} [${Array(10).fill(`*a${level - 1}`).join(", ")}]`);
    expect(mistakesOf(`${bomb.join("\n")}\n${TABLE}`)).toContainEqual(expect.stringContaining("too many values"));
  });
});

describe("a mistake in a service", () => {
  test.each([
    ["{ url: ▸\"wss://web\" }", "expected a URL such as http://host:8000, https://host or unix:/run/app.sock, found \"wss://web\""],
    ["{ url: ▸\"http://web/app\" }", "an upstream URL ends after the port: \"http://web/app\" has \"/app\" (paths are changed by \"upstreamPath\")"],
    ["{ url: ▸\"http://u:p@web\" }", "the URL of an upstream holds no user and no password (none would be sent)"],
    ["{ url: ▸\"http://web:99999\" }", "port 99999 is not one from 1 to 65535"],
    ["{ url: ▸\"http://127.0.0.1:700000\" }", "port 700000 is not one from 1 to 65535"],
    ["{ url: ▸\"https://[::1]:0\" }", "port 0 is not one from 1 to 65535"],
    ...["127.0.0.1:3000", "localhost:3000", "website", "[::1]:3000"].map((url) => (
      [`{ url: ▸"${url}" }`, `expected a URL such as http://host:8000, https://host or unix:/run/app.sock, found "${url}" (did you mean "http://${url}"?)`])),
    ["{ url: ▸\"ftp:web\" }", "expected a URL such as http://host:8000, https://host or unix:/run/app.sock, found \"ftp:web\""],
    ["{ host: ▸\"a b\" }", "expected a host name or IP address, found \"a b\""],
    ["{ target: desktop, port: ▸xterm_tcp }", "unknown port \"xterm_tcp\" (did you mean \"xterm_tcp_port\"?)"],
    ["{ target: desktop, port: ▸0 }", "expected a port number from 1 to 65535, found \"0\""],
    ["▸{ target: desktop }", "missing key \"port\": a port number, a name of \"ports\", or \"path\""],
    ["{ target: ▸dektop, port: 1 }", "expected \"desktop\", found \"dektop\" (did you mean \"desktop\"?)"],
    ["{ ▸txt: a }", "unknown key \"txt\" (did you mean \"text\"?)"],
    ["▸{}", "expected a map with one of the keys url, servers, host, target, kubernetes, text, directory"],
    ["{ url: \"http://a\", ▸text: b }", "unknown key \"text\" (known are url, resolveAll, policy, sticky, tls, ejection, health, retries, retryBudget, maxConnections, queue, queueTimeout)"],
    ["▸http://web", "expected a map with one of the keys url, servers, host, target, kubernetes, text, directory, found \"http://web\""],
  ])("%s is reported with its place", (service, mistake) => {
    const asking = "token: { desktop: { signingPublicKeys: [a], payloadPrivateKey: b } }\n";
    const { text, place } = marked(`services:\n s: ${service}\nroutes:\n - { path: /, service: s, token: [query] }\n${asking}`);
    expect(mistakesOf(text)).toEqual([`${place}: ${mistake}`]);
  });
});

describe("a mistake in a route", () => {
  test.each([
    ["path: /a, service: ▸filr", "unknown service \"filr\" (did you mean \"filer\"?)"],
    ["path: ▸a, service: website", "a path starts with a slash: \"a\" (did you mean \"/a\"?)"],
    ["path: ▸\"/a?b\", service: website", "a path has no query and no fragment: \"/a?b\""],
    ["path: ▸/a/../b, service: website", "no request arrives with this path: \"/a/../b\" (did you mean \"/b\"?)"],
    ["path: ▸\"/a b\", service: website", "no request arrives with this path: \"/a b\" (did you mean \"/a%20b\"?)"],
    ["path: [/a, /b, ▸/a], service: website", "duplicate route: prefix \"/a\" (first on line 8)"],
    ["path: ▸\"/a/{x}\", match: prefix, service: website", "braces have no meaning in a path that is matched as \"prefix\": \"/a/{x}\" (did you mean \"match: pattern\"?)"],
    ["path: ▸/a, match: pattern, service: website", "a pattern without {name}: \"/a\" (did you mean \"match: exact\"?)"],
    ["path: ▸\"/a{x}\", service: website", "not a pattern: \"a{x}\" in \"/a{x}\" (a segment is fixed, {name}, or {name*} at the end)"],
    ["path: ▸\"/{x*}/a\", service: website", "only the last segment may take the rest: \"{x*}\" in \"/{x*}/a\""],
    ["path: ▸\"/{x}/{x}\", service: website", "duplicate name {x} in \"/{x}/{x}\""],
    ["path: [\"/{x}\", ▸\"/{y}\"], service: website", "duplicate route: pattern \"/{y}\" (first on line 8)"],
    ["path: /a, match: ▸exakt, service: website", "expected one of exact, prefix, pattern, found \"exakt\" (did you mean \"exact\"?)"],
    ["path: /a, service: website, token: [▸path]", "token source \"path\" needs {token} in the path \"/a\""],
    ["path: /a, service: website, token: [▸heder:A]", "expected a token source (header:NAME, parameter:NAME, query, path), found \"heder:A\" (did you mean \"header\"?)"],
    ["path: /a, service: website, token: [▸\"header:A_B\"]", "expected a token source (header:NAME, parameter:NAME, query, path), found \"header:A_B\""],
    ["path: /a, service: website, token: ▸query", "expected a list, each entry a token source (header:NAME, parameter:NAME, query, path), found \"query\""],
    ["path: /a, service: ▸filer", "service \"filer\" is found by a token: the route needs \"token\" (such as [header:Authorization])"],
    ["path: /a, service: ▸container, token: [query]", "service \"container\" takes its port from the path: \"/a\" needs {port}"],
    ["path: /a, service: healthz, websocket: ▸true", "service \"healthz\" is answered by this process and speaks no WebSocket"],
    ["path: /a, match: exact, service: website, upstreamPath: ▸strip", "upstreamPath \"strip\" needs \"match: prefix\": \"/a\" is matched as \"exact\""],
    ["path: /a, service: website, upstreamPath: ▸rest", "upstreamPath \"rest\" needs a pattern such as /a/{path*}: \"/a\" is matched as \"prefix\""],
    ["path: /a, service: website, upstreamPath: ▸stip", "expected unchanged, strip, rest, or a path such as /, found \"stip\" (did you mean \"strip\"?)"],
    ["path: /a, service: website, origins: ▸same-hots", "expected one of same-host, any, found \"same-hots\" (did you mean \"same-host\"?)"],
    ["path: /a, service: website, origins: [▸\"https://a.example/\"]", "expected an origin as browsers send it, found \"https://a.example/\" (did you mean \"https://a.example\"?)"],
    ["path: /a, service: website, bodyLimit: ▸8M", "expected a size such as 512B, 16KiB, 8MiB or 8GiB, or 0, found \"8M\" (did you mean \"8MiB\"?)"],
    ["path: /a, service: website, allowedClients: [▸localhost]", "not an address or CIDR such as 10.0.0.0/8 or fd00::/8: \"localhost\""],
    ["path: /a, service: website, ▸hosts: [app.example.org]", `unknown key "hosts" (${NOT_BY_HOST})`],
    ["path: /a, service: website, ▸domain: app.example.org", `unknown key "domain" (${NOT_BY_HOST})`],
    ["path: /a, service: website, host: ▸app.example.org", `expected one of client, upstream (whose Host header goes upstream; ${NOT_BY_HOST}), found "app.example.org"`],
    ["path: /a, service: website, host: ▸[app.example.org]", `expected one of client, upstream (whose Host header goes upstream; ${NOT_BY_HOST}), found a list`],
    ["path: /a, service: website, websocket: ▸yes", "expected true or false, found \"yes\""],
  ])("%s is reported with its place", (route, mistake) => {
    const { text, place } = marked(withRoute(route));
    expect(mistakesOf(text)).toEqual([`${place}: ${mistake}`]);
  });

  test.each([
    ["path: ▸\"/*\"", 'a star is a plain character in a path: "/*" (as a prefix, "/" takes all that is below it)'],
    ["path: ▸\"/api/*\"", 'a star is a plain character in a path: "/api/*" (as a prefix, "/api/" takes all that is below it)'],
    ["match: exact, path: [/a, ▸\"/a/**\"]", 'a star is a plain character in a path: "/a/**" (as a prefix, "/a/" takes all that is below it)'],
    ["path: ▸\"/*.php\"", 'a star is a plain character in a path: "/*.php"'],
  ])("%s has no meaning, which is noted", (route, note) => {
    const { text, place } = marked(withRoute(`${route}, service: website`));
    expect(notesOf(text)).toContain(`${place}: ${note}`);
    expect(notesOf(withRoute("path: \"/{rest*}\", service: website")).filter((each) => each.includes("star"))).toEqual([]);
  });

  test.each([["path: /a", "service"], ["service: website", "path"]])("%s: the missing key is reported at the start of the route", (route, key) => {
    expect(mistakesOf(withRoute(route))).toEqual([expect.stringContaining(`8:5: missing key "${key}": `)]);
  });

  test("is a token without token settings", () => {
    expect(mistakesOf("services:\n  a: { url: \"http://a\" }\nroutes:\n  - { path: /, service: a, token: [query] }\n")).toEqual([
      "4:35: a route asks for a token, but \"token.desktop\" is missing",
    ]);
  });
});

describe("a mistake outside of the file", () => {
  test("is a port variable that is no port", () => {
    expect(mistakesOf(TABLE, { env: { XTERM_TCP_PORT: "tcp://10.0.0.1:1" } })).toEqual([
      "0:0: environment variable XTERM_TCP_PORT: expected a port number from 1 to 65535, found \"tcp://10.0.0.1:1\"",
    ]);
    expect(mistakesOf(`ports:\n  mine: 1\n${TABLE}`, { env: { MINE: "0" } })).toEqual([
      "2:3: environment variable MINE: expected a port number from 1 to 65535, found \"0\"",
    ]);
  });

  test("is a variable that a default names, once, also where the file has the same one", () => {
    const mistake = "environment variable HTTP_LISTEN: expected an address to listen on such as \":80\" or \"127.0.0.1:8080\", found \"abc\"";
    expect(mistakesOf(TABLE, { env: { HTTP_LISTEN: "abc" } })).toEqual([`1:1: ${mistake}`]);
    expect(mistakesOf(`entrypoints: { http: "${"${"}HTTP_LISTEN}" }\n${TABLE}`, { env: { HTTP_LISTEN: "abc" } })).toEqual([`1:22: ${mistake}`]);
  });

  test("repeats no password of a URL, wherever it stands", () => {
    const place = (services: string, tls = ""): string => `${tls}services: { a: ${services} }\nroutes: [{ path: /, service: a }]\n`;
    const urls = ["http://me:hunter2@h:80", "http://me:hun/ter2@h", "ftp://me:hunter2@h", "me:hunter2@h:80", "https://hunter2@h/"];
    const texts = urls.flatMap((url) => [place(`{ url: "${url}" }`), place(`{ servers: ["${url}"] }`)]);
    const schemes = urls.filter((url) => url.includes("://"));
    texts.push(...schemes.flatMap((url) => [place(url), place("{ text: a }", `tls: { acme: { directory: "${url}" } }\n`), place("{ text: a }", `limits: { headers: "${url}" }\n`)]));
    for (const text of texts) {
      const mistakes = mistakesOf(text);
      expect(mistakes.length).toBeGreaterThan(0);
      expect(mistakes.join("\n")).not.toMatch(/hunter2|ter2/);
    }
    const text = place("{ url: \"${URL}\" }");
    expect(mistakesOf(text, { env: { URL: "http://me:hunter2@h:80" } })).toEqual(["1:23: environment variable URL: the URL of an upstream holds no user and no password (none would be sent)"]);
  });

  test("is every variable that the value was made of", () => {
    const text = "services:\n  a: { url: \"http://${A}:${B}\" }\nroutes:\n  - { path: /, service: a }\n";
    expect(mistakesOf(text, { env: { A: "x", B: "y" } })).toEqual([
      "2:13: environment variables A, B: expected a URL such as http://host:8000, https://host or unix:/run/app.sock, found \"http://x:y\"",
    ]);
  });

  test("is a flag", () => {
    const flags = { httpListen: "80", allowTargets: ["10.0.0.0/99"], logFormat: "xml" };
    expect(mistakesOf(TABLE, flags).map((mistake) => mistake.split(": ")[1])).toEqual(["--http", "--allow-targets", "--log-format"]);
  });
});

describe("a note", () => {
  test("names what has no effect", () => {
    const text = "services:\n  a: { url: \"http://a\" }\n  b: { text: b }\nroutes:\n  - { path: /, service: a, idleTimeout: 5s, forwardToken: true }\n";
    expect(notesOf(text)).toEqual([
      "3:3: no route uses the service \"b\"",
      "5:41: \"idleTimeout\" has no effect without \"websocket: true\"",
      "5:59: \"forwardToken\" has no effect on a route without \"token\"",
    ]);
  });
});

describe("settings", () => {
  test("are frozen to the last leaf", () => {
    const settings = settingsOf(TABLE);
    const parts = [settings, settings.routes, settings.routes[0], settings.routes[0]?.service, settings.guard.allowedPorts, settings.responseHeaders[0]];
    for (const part of parts) expect(Object.isFrozen(part)).toBe(true);
  });

  test("have no token part when no route asks for a token", () => {
    expect(settingsOf(`token: { desktop: { signingPublicKeys: [a], payloadPrivateKey: b } }\n${TABLE}`).desktopToken).toBeNull();
  });

  test.each([
    [":80", { host: "", port: 80 }], ["127.0.0.1:0", { host: "127.0.0.1", port: 0 }], ["[::1]:8080", { host: "::1", port: 8080 }],
    ["*:80", { host: "", port: 80 }], ["localhost:1", { host: "localhost", port: 1 }],
  ])("take the listen address %s from the file, the variable or the flag", (text, http) => {
    expect(settingsOf(`entrypoints: { http: "${text}" }\n${TABLE}`).http).toEqual(http);
    expect(settingsOf(TABLE, { env: { HTTP_LISTEN: text } }).http).toEqual(http);
    expect(settingsOf(`entrypoints: { http: ":1" }\n${TABLE}`, { httpListen: text }).http).toEqual(http);
  });

  test("add allowed targets of the flag to the file's", () => {
    const text = `targets: { allowedTargets: [10.0.0.0/8] }\n${TABLE}`;
    expect(settingsOf(text, { allowTargets: ["127.0.1.0/24", "10.0.0.0/8", ".Example.ORG"] }).guard.allowedTargets).toEqual(["10.0.0.0/8", "127.0.1.0/24", ".example.org"]);
  });

  test.each([
    ["search a\nnameserver 10.96.0.10\nnameserver 10.96.0.11\n", ["10.96.0.10"]],
    ["nameserver fe80::1%eth0\n\tnameserver\tfd00::10 # comment\n", ["fd00::10"]],
    ["# nameserver 10.0.0.1\noptions ndots:5\n", null],
  ])("take the nameserver from resolv.conf %j", (resolvConf, nameservers) => {
    expect(settingsOf(TABLE, { readResolvConf: () => resolvConf }).dns.nameservers).toEqual(nameservers);
  });

  test.each([
    ["[fd00::10]", ["[fd00::10]"], []],
    ["[fd00::10]:5353", ["[fd00::10]:5353"], []],
    ["fd00::10", ["fd00::10"], []],
    [" 10.0.0.1 ", ["10.0.0.1"], []],
    ["10.0.0.1 8.8.8.8:5353 valid=30s ipv6=off", ["10.0.0.1", "8.8.8.8:5353"], ["valid=30s", "ipv6=off"]],
    ["kube-dns.kube-system.svc.cluster.local", ["kube-dns.kube-system.svc.cluster.local"], []],
    ["ns.example:5353 ipv4=on status_zone=dns", ["ns.example:5353"], ["ipv4=on", "status_zone=dns"]],
  ])("take as nameservers what nginx's resolver takes: %j", (text, nameservers, ignored) => {
    const { dns } = settingsOf(`dns: { nameserver: "\${NS}" }\n${TABLE}`, { env: { NS: text } });
    expect(dns).toMatchObject({ nameservers, ignored });
  });

  test.each(["10.0.0.256", "[10.0.0.1]", "[fd00::10", "10.0.0.1:0", "ns.example:65536", "10.0.0.1,10.0.0.2", "valid:30s!", "system 10.0.0.1"])("refuse the nameserver %j", (text) => {
    expect(mistakesOf(`dns: { nameserver: "\${NS}" }\n${TABLE}`, { env: { NS: text } })).toEqual([expect.stringContaining("environment variable NS: expected a nameserver such as ")]);
  });

  test("have no nameserver without resolv.conf, or when the system's resolver is asked for", () => {
    const absent = () => {
      throw new Error("ENOENT");
    };
    expect(settingsOf(TABLE, { readResolvConf: absent }).dns.nameservers).toBeNull();
    expect(settingsOf(`dns: { nameserver: system }\n${TABLE}`, { readResolvConf: () => "nameserver 10.0.0.1" }).dns.nameservers).toBeNull();
  });

  test("allow the ports of the list, else all of \"ports\"", () => {
    expect(settingsOf(`targets: { allowedPorts: [80] }\n${TABLE}`).guard.allowedPorts).toEqual([80]);
    expect(settingsOf(`ports: { mine: 4000 }\n${TABLE}`).guard.allowedPorts).toEqual(expect.arrayContaining([4000, 6081]));
  });

  test("keep a variable that is not set when the file is only shown", () => {
    const text = "services:\n  a: { text: \"${NODE}\" }\nroutes:\n  - { path: /, service: a }\n";
    expect(settingsOf(text, { allowUnset: true }).routes[0]?.service).toMatchObject({ answer: { text: "${NODE}" } });
  });

  test("keep one in an address as well", () => {
    const text = "services:\n  a: { url: \"https://${A}\" }\n  b: { url: \"${B}\" }\n  c: { host: \"${C}\" }\nroutes:\n"
      + ["a", "b", "c"].map((name) => `  - { path: /${name}, service: ${name} }\n`).join("");
    const servers = settingsOf(text, { allowUnset: true }).routes.map(({ service }) => service.kind === "fixed" && serverUrlOf(service.servers[0]!.address, service.servers[0]!.isSecure));
    expect(servers).toEqual(["https://${A}:443", "http://${B}:80", "http://${C}:80"]);
    expect(mistakesOf(text)).toHaveLength(3);
    expect(mistakesOf("services: { a: { url: nonsense } }\nroutes: [{ path: /, service: a }]\n", { allowUnset: true })).toHaveLength(1);
  });

  test("ask for a variable that stands for more than text also then", () => {
    expect(mistakesOf(`drainTimeout: "${"${"}DRAIN}"\n${TABLE}`, { allowUnset: true })).toEqual(["1:16: environment variable DRAIN is not set"]);
  });

  test("know a service that is called like a part of every object", () => {
    expect(mistakesOf("services: {}\nroutes:\n  - { path: /, service: constructor }\n")).toEqual(["3:25: unknown service \"constructor\""]);
    expect(settingsOf("services:\n  constructor: { text: a }\nroutes:\n  - { path: /, service: constructor }\n").routes).toHaveLength(1);
  });
});
