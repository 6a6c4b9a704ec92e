import { describe, expect, test } from "bun:test";
import type { FixedService } from "../../src/service.ts";
import { marked, mistakesOf, notesOf, settingsOf } from "./support.ts";

const table = (service: string): string => `services:\n s: ${service}\nroutes:\n - { path: /, service: s }\n`;

function fixed(service: string): FixedService {
  const found = settingsOf(table(service)).routes[0]?.service;
  if (found?.kind !== "fixed") throw new Error("not a fixed service");
  return found;
}

describe("a service", () => {
  test.each([
    ["{ url: \"http://a\" }", [{ address: { kind: "tcp", host: "a", port: 80 }, isSecure: false, weight: 1 }]],
    ["{ url: \"HTTPS://A.example\" }", [{ address: { kind: "tcp", host: "a.example", port: 443 }, isSecure: true, weight: 1 }]],
    ["{ url: \"https://[fd00::1]:8443/\" }", [{ address: { kind: "tcp", host: "fd00::1", port: 8443 }, isSecure: true, weight: 1 }]],
    ["{ url: \"unix:/run/my app.sock\" }", [{ address: { kind: "unix", path: "/run/my app.sock" }, isSecure: false, weight: 1 }]],
    ["{ host: a, port: 81 }", [{ address: { kind: "tcp", host: "a", port: 81 }, isSecure: false, weight: 1 }]],
    ["{ servers: [\"http://a\", { url: \"https://b\", weight: 3 }] }", [
      { address: { kind: "tcp", host: "a", port: 80 }, isSecure: false, weight: 1 }, { address: { kind: "tcp", host: "b", port: 443 }, isSecure: true, weight: 3 },
    ]],
  ])("%s has these servers", (text, servers) => {
    expect(fixed(text).servers).toEqual(servers as never);
  });

  test("without further keys takes turns, ejects after five failures, retries twice, asks nobody and has no bound", () => {
    expect(fixed("{ url: \"http://a\" }")).toMatchObject({
      policy: { kind: "round-robin" }, resolveAll: false, health: null, retries: 2, retryBudgetPercent: 20,
      ejection: { failures: 5, windowMs: 10_000, timeMs: 10_000, longestMs: 300_000, statuses: [] },
      trust: { caFile: null, serverName: null, skipsVerify: false }, limits: { maxConnections: 0, queue: 100, queueTimeoutMs: 5000 },
    });
  });

  test.each([
    ["round-robin", { kind: "round-robin" }], ["least-connections", { kind: "least-connections" }], ["random-two", { kind: "random-two" }],
    ["sticky", { kind: "sticky", cookie: "route_s", secret: null }],
    ["\"hash:client\"", { kind: "hash", by: { kind: "client" } }], ["\"hash:header:X-User\"", { kind: "hash", by: { kind: "header", name: "x-user" } }],
    ["\"hash:cookie:Sid_1\"", { kind: "hash", by: { kind: "cookie", name: "Sid_1" } }],
  ])("has the policy %s", (word, policy) => {
    expect(fixed(`{ servers: ["http://a", "http://b"], policy: ${word} }`).policy).toEqual(policy as never);
  });

  test("has its own cookie and secret", () => {
    const { policy } = fixed("{ servers: [\"http://a\", \"http://b\"], policy: sticky, sticky: { cookie: lb, secret: sixteen-bytes-12 } }");
    expect(policy).toEqual({ kind: "sticky", cookie: "lb", secret: "sixteen-bytes-12" });
  });

  test.each([["Shop.Example.org", "shop.example.org"], ["localhost", "localhost"], ["upstream", "upstream"], ["10.0.0.1", "10.0.0.1"], ["\"[fd00::1]\"", "fd00::1"]])(
    "may have a certificate for %s", (written, serverName) => {
      expect(fixed(`{ url: "https://a", tls: { serverName: ${written} } }`).trust.serverName).toBe(serverName);
    });

  test("is asked how it is", () => {
    expect(fixed("{ url: \"http://a\", health: { path: \"/up?x=1\", host: b.example, interval: 1s, timeout: 500ms, healthy: 1, unhealthy: 2, statuses: [204, 300-399] } }").health).toEqual({
      path: "/up?x=1", host: "b.example", intervalMs: 1000, timeoutMs: 500, healthyAfter: 1, unhealthyAfter: 2, statuses: [[204, 204], [300, 399]],
    });
  });

  test("of desktops has bounds for each desktop", () => {
    const settings = settingsOf("token: { desktop: { signingPublicKeys: [a], payloadPrivateKey: b } }\n"
      + "services: { s: { target: desktop, port: 80, maxConnections: 7, queue: 3, queueTimeout: 1s } }\nroutes: [{ path: /, service: s, token: [query] }]\n");
    expect(settings.routes[0]?.service).toMatchObject({ limits: { maxConnections: 7, queue: 3, queueTimeoutMs: 1000 } });
  });
});

describe("a mistake in a service's servers", () => {
  test.each([
    ["{ servers: ▸[] }", "expected a list that is not empty, each entry a URL such as http://host:8000, or a map of keys and values, found an empty list"],
    ["{ servers: [▸\"a:80\"] }", "expected a URL such as http://host:8000, https://host or unix:/run/app.sock, found \"a:80\" (did you mean \"http://a:80\"?)"],
    ["{ servers: [▸{ weight: 2 }] }", "missing key \"url\": a URL such as http://host:8000"],
    ["{ servers: [{ url: \"http://a\", weight: ▸0 }] }", "expected a whole number from 1 to 1000, found the number 0"],
    ["{ servers: ▸[\"http://a\", \"http://A:80/\"] }", "duplicate server \"http://a:80\" (give it a weight instead)"],
    ["{ url: ▸\"unix:relative\" }", "expected a URL such as http://host:8000, https://host or unix:/run/app.sock, found \"unix:relative\""],
    ["{ url: \"http://a\", policy: ▸roundrobin }", "expected one of round-robin, least-connections, random-two, sticky, hash:client, hash:header:NAME, hash:cookie:NAME, found \"roundrobin\" (did you mean \"round-robin\"?)"],
    ["{ url: \"http://a\", policy: ▸\"hash:header:X_User\" }", "expected one of round-robin, least-connections, random-two, sticky, hash:client, hash:header:NAME, hash:cookie:NAME, found \"hash:header:X_User\""],
    ["{ url: \"http://a\", health: ▸{} }", "missing key \"path\": a path such as /healthz"],
    ["{ url: \"http://a\", health: { path: ▸health } }", "expected a path such as /healthz, found \"health\""],
    ["{ url: \"http://a\", health: { path: /, statuses: [▸300-200] } }", "expected a status such as 200, or a range such as 200-399, found \"300-200\""],
    ["{ url: \"http://a\", ejection: { statuses: [▸200] } }", "expected a status from 400 to 599, found the number 200"],
    ["{ servers: [\"http://a\", \"http://b\"], policy: sticky, sticky: { secret: ▸fifteen-bytes-1 } }", "expected a secret of 16 bytes or more, found one of 15"],
    ["{ url: \"https://a\", tls: { serverName: ▸\"https://b\" } }", "expected a host name or IP address, found \"https://b\""],
    ["{ url: \"http://a\", retries: ▸11 }", "expected a whole number from 0 to 10, found the number 11"],
  ])("%s is reported with its place", (service, mistake) => {
    const { text, place } = marked(table(service));
    expect(mistakesOf(text)).toEqual([`${place}: ${mistake}`]);
  });

  test("a route with a token, or without an upstream, is not cached", () => {
    const token = "token: { desktop: { signingPublicKeys: [a], payloadPrivateKey: b } }\n";
    const asking = marked(`${token}services: { s: { target: desktop, port: 1 } }\nroutes: [{ path: /, service: s, token: [query], cache: ▸true }]\n`);
    expect(mistakesOf(asking.text)).toEqual([`${asking.place}: a route with a token is never cached`]);
    const text = marked("services: { s: { text: a } }\nroutes: [{ path: /, service: s, cache: ▸true }]\n");
    expect(mistakesOf(text.text)).toEqual([`${text.place}: service "s" has no upstream whose answers could be cached`]);
  });

  test.each([["▸50"], ["▸50/m"], ["▸0/s"], ["▸50/s burst 0"], ["▸fast"]])("the rate %s is refused", (rate) => {
    const { text, place } = marked(`limits: { requestsPerAddress: ${rate} }\n${table("{ url: \"http://a\" }")}`);
    expect(mistakesOf(text)).toEqual([`${place}: expected a rate such as 50/s or 50/s burst 200, found "${rate.slice(1)}"`]);
  });

  test("keys that have no effect are noted", () => {
    const notes = (service: string): string[] => notesOf(table(service)).map((note) => note.replace(/^[\d:]+ /, ""));
    expect(notes("{ url: \"http://a\", tls: { insecureSkipVerify: true }, sticky: { cookie: x }, policy: random-two, ejection: { failures: 1 }, queue: 5 }")).toEqual([
      "\"tls\" has no effect without an https server", "\"sticky\" has no effect without \"policy: sticky\"",
      "\"policy\" has no effect on a service with one server", "\"ejection\" has no effect on a service with one server", "\"queue\" has no effect without \"maxConnections\"",
    ]);
    expect(notes("{ servers: [\"https://a\", \"https://b\"], tls: { insecureSkipVerify: true }, policy: sticky, sticky: { cookie: x }, ejection: { failures: 1 }, maxConnections: 5, queue: 5 }")).toEqual([]);
    expect(notes("{ url: \"http://a\", resolveAll: true, policy: random-two }")).toEqual([]);
  });
});

describe("the rate", () => {
  test.each([["50/s", { perSecond: 50, burst: 100 }], ["50/s burst 200", { perSecond: 50, burst: 200 }]])("%s is read", (text, rate) => {
    const { limits } = settingsOf(`limits: { requestsPerAddress: ${text}, requestsPerToken: ${text} }\n${table("{ url: \"http://a\" }")}`);
    expect([limits.requestsPerAddress, limits.requestsPerToken]).toEqual([rate, rate]);
  });
});
