// Every refusal of the error table as a client sees it, what the log says about it, and what neither of them may say.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mintDesktopToken, signToken } from "../../src/token/mint.ts";
import { type Answer, ask, Cluster, converse, head } from "../support/http.ts";

let cluster: Cluster;
beforeAll(async () => { cluster = await Cluster.start(); });
afterAll(() => cluster.stop());
beforeEach(() => cluster.reset());

/** The access line of one answer. */
function lineOf(answer: Answer, from: Cluster = cluster): Record<string, unknown> {
  const id = answer.one("x-request-id");
  const lines = from.router.lines.filter((line) => line["message"] === "access" && line["request_id"] === id);
  expect(lines).toHaveLength(1);
  return lines[0] as Record<string, unknown>;
}

/** Status, one line of plain text, and the headers that every refusal has. */
function expectRefusal(answer: Answer, status: number, text: string): void {
  expect(answer).toMatchObject({ status, body: `${text}\n` });
  expect(answer.one("content-type")).toBe("text/plain; charset=utf-8");
  expect(answer.one("cache-control")).toBe("no-store");
  expect(answer.one("x-frame-options")).toBe("SAMEORIGIN");
  expect(answer.one("x-request-id")).toMatch(/^[\w.-]+$/);
  expect(answer.one("content-length")).toBe(String(text.length + 1));
}

describe("401", () => {
  const b64 = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const inAnHour = (): number => Math.floor(Date.now() / 1000) + 3600;
  const keys = (): Cluster["router"]["keys"] => cluster.router.keys;
  const hashOf = (token: string): string => (JSON.parse(Buffer.from(token.split(".")[1] ?? "",
    "base64url").toString()) as { hash: string }).hash;
  const TOKENS: ReadonlyArray<readonly [name: string, token: () => string]> = [
    ["garbage", () => "garbage"], ["three empty parts", () => ".."],
    ["an expired token", () => cluster.router.token("127.0.1.1", -1)],
    ["a token without its last character", () => cluster.router.token().slice(0, -1)],
    ["a token with two signatures", () => `${cluster.router.token()}.x`],
    ["alg none", () => `${b64({ alg: "none" })}.${b64({ hash: hashOf(cluster.router.token()), exp: inAnHour() })}.`],
    ["HS256 with the public key as its secret", () => {
      const signed = `${b64({ alg: "HS256", typ: "JWT" })}.${b64({ hash: hashOf(cluster.router.token()), exp: inAnHour() })}`;
      return `${signed}.${createHmac("sha256", keys().signingPublicKey).update(signed).digest("base64url")}`;
    }],
    ["no exp", () => signToken({ hash: hashOf(cluster.router.token()) }, keys().signingPrivateKey)],
    ["no hash", () => signToken({ exp: inAnHour() }, keys().signingPrivateKey)],
    ["a hash that does not open", () => signToken({ hash: Buffer.alloc(256, 7).toString("base64"), exp: inAnHour() },
      keys().signingPrivateKey)],
    ["a hash that is no base64", () => signToken({ hash: "!!!", exp: inAnHour() }, keys().signingPrivateKey)],
    ...["http://10.0.0.1/", "10.0.0.1:6443", "a@b", "host/path", "0x7f.1", "2130706433", "a b", "a\r\nb", "", "[::1",
      "pod。example"].map(
      (host): readonly [string, () => string] => [`a hash that opens to ${JSON.stringify(host)}`, () => cluster.router.token(host)]),
  ];

  test("is the same answer for every reason: only the log tells them apart", async () => {
    const missing = await ask(cluster.port, head("GET", "/filer"));
    expectRefusal(missing, 401, "unauthorized");
    expect(lineOf(missing)["reason"]).toBe("no token");
    const shape = (answer: Answer): unknown => [answer.statusLine, answer.body,
      answer.headers.map(([name, value]) => (/^(x-request-id|date)$/.test(name) ? name : `${name}: ${value}`))];
    for (const [name, token] of TOKENS) {
      const given = token();
      const answer = await ask(cluster.port, head("GET", "/filer", [`Authorization: Bearer ${given}`]));
      expect([name, shape(answer)]).toEqual([name, shape(missing)]);
      expect(String(lineOf(answer)["reason"]).length).toBeGreaterThan(3);
    }
    expect(cluster.seenCount).toBe(0);
  });

  test("never quotes the token, in the body or in the log", async () => {
    for (const [, token] of TOKENS) {
      const given = token();
      if (given.length < 20) continue;
      for (const request of [head("GET", "/filer", [`AbcAuthorization: ${given}`]), head("GET", `/websockify?${given}`),
        head("GET", `/container/${given}/6081/x`),
        head("GET", `/broadcast?jwt_token=${given}`, ["Accept: text/html"]), head("GET", `/container/${given}`)]) {
        const answer = await ask(cluster.port, request);
        expect(JSON.stringify(answer.headers) + answer.body).not.toContain(given.slice(-40));
      }
      cluster.router.app.log.close();
      expect(cluster.router.log.text).not.toContain(given.slice(-40));
    }
  });

  test("closes nothing: the next request on the connection is served", async () => {
    const { answers } = await converse(cluster.port,
      `${head("POST", "/filer", ["Content-Length: 5"])}hello${head("GET", "/healthz")}`, { answers: 2 });
    expect(answers.map(({ status }) => status)).toEqual([401, 200]);
    expect(cluster.seenCount).toBe(0);
  });

  test("a token that was good is refused from the second it expires", async () => {
    const token = cluster.router.token("127.0.1.1", 2);
    const request = head("GET", "/filer", [`AbcAuthorization: ${token}`]);
    expect((await ask(cluster.port, request)).status).toBe(200);
    const exp = (JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as { exp: number }).exp;
    while (Date.now() < exp * 1000) await Bun.sleep(exp * 1000 - Date.now());
    expectRefusal(await ask(cluster.port, request), 401, "unauthorized");
  });
});

describe("403", () => {
  // CIDR 127.0.1.0/24 alone is lifted in these tests.
  test.each(["127.0.0.1", "127.0.2.1", "0.0.0.0", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fe80::1", "224.0.0.1",
    "255.255.255.255", "localhost", "a.localhost", "64:ff9b::a9fe:a9fe"])(
    "for a token that leads to %s; nothing is dialled, and the client does not hear where it led", async (host) => {
      const answer = await ask(cluster.port,
        head("GET", "/filer", [`AbcAuthorization: ${cluster.router.token(host)}`]));
      expectRefusal(answer, 403, "forbidden");
      expect(lineOf(answer)["reason"]).toContain(host.split(".")[0] as string);
      expect(cluster.seenCount).toBe(0);
    });

  test("for a port that a path may not name", async () => {
    expectRefusal(await ask(cluster.port, head("GET", "/container/22", [cluster.bearer()])), 403, "forbidden");
  });
});

describe("404 and 405", () => {
  const CONFIG = `
entrypoints: { http: "127.0.0.1:0" }
services: { hello: { text: "hello" } }
routes:
  - { path: /hello, service: hello }
`;
  test("a path without a route is not found", async () => {
    const other = await Cluster.start({ config: CONFIG });
    try {
      const answer = await ask(other.port, head("GET", "/nothing/here"));
      expectRefusal(answer, 404, "not found");
      expect(lineOf(answer, other)).toMatchObject({ route: null, service: null, target: null, status: 404,
        path: "/nothing/here", reason: "no route" });
      expect((await ask(other.port, head("GET", "/hello/x"))).body).toBe("hello");
    } finally {
      await other.stop();
    }
  });

  test.each(["TRACE"])("%s is not offered anywhere", async (method) => {
    const answer = await ask(cluster.port, head(method, "/API"));
    expectRefusal(answer, 405, "method not allowed");
    expect(answer.one("allow")).toBe("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    expect(cluster.seenCount).toBe(0);
  });

  test("CONNECT opens no tunnel", async () => {
    for (const target of ["127.0.1.2:80", "/API"]) {
      const { answers } = await converse(cluster.port, head("CONNECT", target));
      expect([target, answers[0]?.status]).toEqual([target, 405]);
    }
    expect(cluster.seenCount).toBe(0);
  });
});

describe("413", () => {
  const LIMITS: ReadonlyArray<readonly [path: string, limitBytes: number]> = [
    ["/API/x", 1024 ** 2], ["/API/manager/image", 16 * 1024 ** 2], ["/spawner", 8 * 1024 ** 2],
    ["/speedtest", 256 * 1024 ** 2], ["/filer", 8 * 1024 ** 3], ["/printerfiler", 1024 ** 2], ["/", 1024 ** 2],
  ];
  test.each(LIMITS)("%s refuses an announced body of more than %d bytes before reading it", async (path, limitBytes) => {
    const answer = await ask(cluster.port, head("POST", path, [cluster.bearer(), `Content-Length: ${limitBytes + 1}`]));
    expectRefusal(answer, 413, "request body too large");
    expect(cluster.seenCount).toBe(0);
  });

  test("a body of exactly the limit passes, announced or chunked", async () => {
    const body = "x".repeat(1024 ** 2);
    expect((await ask(cluster.port,
      head("POST", "/API/x", [`Content-Length: ${body.length}`]) + body)).status).toBe(200);
    expect((await ask(cluster.port,
      `${head("POST", "/API/x", ["Transfer-Encoding: chunked"])}100000\r\n${body}\r\n0\r\n\r\n`)).status).toBe(200);
    expect(cluster.services.seen.map((seen) => seen.body.length)).toEqual([body.length, body.length]);
  });

  test("a chunked body is refused when it crosses the limit, and the upstream's connection is cut", async () => {
    const chunk = `10000\r\n${"x".repeat(65_536)}\r\n`;
    const answer = await ask(cluster.port,
      `${head("POST", "/API/x", ["Transfer-Encoding: chunked"])}${chunk.repeat(16)}1\r\nx\r\n0\r\n\r\n`);
    expectRefusal(answer, 413, "request body too large");
    await cluster.services.until(() => cluster.services.open.size === 0);
    expect(cluster.seenCount).toBe(0);
  });

  test("what follows on the connection is read as body, then as the next request; never mixed up", async () => {
    const body = "GET /API/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n".padEnd(1024 ** 2 + 1, "x");
    const { answers } = await converse(cluster.port,
      head("POST", "/API/x", [`Content-Length: ${body.length}`]) + body + head("GET", "/healthz"), { answers: 2 });
    expect(answers.map(({ status }) => status)).toEqual([413, 200]);
    expect(cluster.seenCount).toBe(0);
  });
});

describe("414 and 431", () => {
  test("a request target over the limit of the configuration", async () => {
    const other = await Cluster.start({ config: "entrypoints: { http: '127.0.0.1:0' }\nlimits: { requestTarget: 100B, headers: 500B, headerCount: 5 }\nservices: { a: { text: a } }\nroutes: [{ path: /, service: a }]\n" });
    try {
      expect((await ask(other.port, head("GET", `/${"x".repeat(99)}`))).status).toBe(200);
      expectRefusal(await ask(other.port, head("GET", `/${"x".repeat(100)}`)), 414, "request target too long");
      expectRefusal(await ask(other.port, head("GET", `/?${"x".repeat(99)}`)), 414, "request target too long");
      expect((await ask(other.port, head("GET", "/", ["A: 1", "B: 1", "C: 1", "D: 1"]))).status).toBe(200);
      expectRefusal(await ask(other.port, head("GET", "/", ["A: 1", "B: 1", "C: 1", "D: 1", "E: 1"])), 431,
        "request headers too large");
      expectRefusal(await ask(other.port, head("GET", "/", [`A: ${"x".repeat(500)}`])), 431,
        "request headers too large");
    } finally {
      await other.stop();
    }
  });

  test("the largest limits that can be set are reached, and what is beyond the runtime's own gets its 431", async () => {
    const other = await Cluster.start({ config: "entrypoints: { http: '127.0.0.1:0' }\nlimits: { requestTarget: 60KiB, headers: 60KiB, headerCount: 190 }\nservices: { a: { text: a } }\nroutes: [{ path: /, service: a }]\n" });
    const lines = (count: number): string[] => Array.from({ length: count }, (_, index) => `X-${index}: 1`);
    try {
      expect((await ask(other.port, head("GET", `/${"x".repeat(60 * 1024 - 1)}`))).status).toBe(200);
      expect((await ask(other.port, head("GET", "/", [`A: ${"x".repeat(60 * 1024 - 100)}`]))).status).toBe(200);
      expect((await ask(other.port, head("GET", "/", lines(189)))).status).toBe(200);
      expectRefusal(await ask(other.port, head("GET", "/", lines(190))), 431, "request headers too large");
      for (const beyond of [head("GET", "/", lines(200)), head("GET", `/${"x".repeat(64 * 1024)}`)]) expect((await ask(other.port, beyond)).status).toBe(431);
    } finally {
      await other.stop();
    }
  });

  test.each([["36 KiB of URL", head("GET", `/${"x".repeat(36 * 1024)}`)],
    ["64 KiB in one header", head("GET", "/", [`X: ${"x".repeat(65_536)}`])],
    ["2000 headers", head("GET", "/", Array.from({ length: 2000 }, (_, i) => `X-${i}: y`))],
    ["150 headers", head("GET", "/", Array.from({ length: 150 }, (_, i) => `X-${i}: y`))]])(
    "%s get nowhere with the defaults", async (_name, request) => {
      const { answers } = await converse(cluster.port, request);
      expect([414, 431]).toContain(answers[0]?.status as number);
      expect(cluster.seenCount).toBe(0);
    });
});

describe("400", () => {
  test.each(["", "a b", "a/b", "a@b", "a,b", "[::1", "..", "a:99999", "a:b", "a:80:80", "\xe9", "a?b", "a#b", "a\\b",
    "a:", "[a]:1"])("for Host %p", async (host) => {
    const answer = await ask(cluster.port, head("GET", "/API", [`Host: ${host}`]));
    expectRefusal(answer, 400, "bad request");
    expect(cluster.seenCount).toBe(0);
  });

  test.each([["different ones", ["Host: a", "Host: b"]],
    ["the same one", ["Host: a", "Host: a"]]])("for two Hosts, %s", async (_name, lines) => {
    expect((await ask(cluster.port, head("GET", "/API", lines))).status).toBe(400);
    expect(cluster.seenCount).toBe(0);
  });

  test("for no Host, in HTTP/1.1 and in HTTP/1.0", async () => {
    for (const version of ["1.1", "1.0"]) {
      const { answers } = await converse(cluster.port, `GET /API HTTP/${version}\r\n\r\n`);
      expect(answers[0]?.status).toBe(400);
    }
    expect(cluster.seenCount).toBe(0);
  });

  test.each(["localhost", "LOCALHOST:80", "10.0.0.1:8080", "[::1]", "[2001:db8::1]:443", "a_b.example.",
    "xn--bcher-kva.example"])("but not for Host %p", async (host) => {
    expect((await ask(cluster.port, head("GET", "/API", [`Host: ${host}`]))).status).toBe(200);
    expect(cluster.services.seen[0]?.headers["host"]).toEqual([host]);
  });
});

describe("502 and 504", () => {
  test("an upstream that refuses the connection", async () => {
    const other = await Cluster.start({ env: { PYOS_FQDN: "127.0.1.2", PYOS_SERVICE_PORT: "1" } });
    try {
      const answer = await ask(other.port, head("GET", "/API/x"));
      expectRefusal(answer, 502, "bad gateway");
      expect(lineOf(answer, other)).toMatchObject({ target: "127.0.1.2:1", status: 502, upstream_ms: null });
    } finally {
      await other.stop();
    }
  });

  test("a name that nobody knows", async () => {
    const other = await Cluster.start({ env: { NAMESERVER_RESOLVER: "system" } });
    try {
      const answer = await ask(other.port,
        head("GET", "/filer", [`AbcAuthorization: ${other.router.token("no-such-pod.invalid")}`]), 10_000);
      expect([502, 504]).toContain(answer.status);
      expect(answer.body).not.toContain("no-such-pod");
    } finally {
      await other.stop();
    }
  }, 15_000);

  const TIMEOUTS = (extra: string): string => `
entrypoints: { http: "127.0.0.1:0" }
upstream: { connectTimeout: 300ms }
services:
  slow: { host: 127.0.1.2, port: "\${PYOS_SERVICE_PORT}" }
${extra}
routes:
  - { path: /, service: slow, readTimeout: 300ms }
`;
  test("an upstream that takes the request and never answers: 504 after the route's read timeout", async () => {
    const other = await Cluster.start({ config: TIMEOUTS("") });
    try {
      other.services.answer(() => {});
      const answer = await ask(other.port, head("GET", "/x"));
      expectRefusal(answer, 504, "gateway timeout");
      expect(Number(lineOf(answer, other)["duration_ms"])).toBeGreaterThanOrEqual(290);
      await other.services.until(() => other.services.open.size === 0);
    } finally {
      await other.stop();
    }
  });

  test("an upstream that starts an answer's head and never ends it", async () => {
    const other = await Cluster.start({ config: TIMEOUTS("") });
    try {
      other.services.answer((_seen, connection) => connection.write("HTTP/1.1 200 OK\r\nX: "));
      expectRefusal(await ask(other.port, head("GET", "/x")), 504, "gateway timeout");
    } finally {
      await other.stop();
    }
  });

  test("an upstream that does not take the connection: 504 after the connect timeout", async () => {
    // A listener whose backlog is full: the kernel answers no further SYN.
    const listener = Bun.spawn(["python3", "-c", `
import socket, sys
server = socket.socket(); server.bind(("127.0.1.3", 0)); server.listen(0)
clients = []
for _ in range(2):
    c = socket.socket(); c.setblocking(False); c.connect_ex(server.getsockname()); clients.append(c)
print(server.getsockname()[1], flush=True); sys.stdin.read()`], { stdin: "pipe", stdout: "pipe" });
    const { value } = await listener.stdout.getReader().read();
    const port = new TextDecoder().decode(value).trim();
    const other = await Cluster.start({ config: `
entrypoints: { http: "127.0.0.1:0" }
upstream: { connectTimeout: 300ms }
services: { full: { host: 127.0.1.3, port: ${port} } }
routes: [{ path: /, service: full }]
` });
    try {
      const answer = await ask(other.port, head("GET", "/x"));
      expectRefusal(answer, 504, "gateway timeout");
      expect(lineOf(answer, other)["reason"]).toBe("connecting took too long");
    } finally {
      await other.stop();
      listener.stdin.end();
      await listener.exited;
    }
  });
});

describe("503", () => {
  test("keys that cannot be loaded, when the start does not ask for them, until they can be read", async () => {
    const keys = cluster.router.keys;
    const directory = mkdtempSync(join(tmpdir(), "route-keys-"));
    const other = await Cluster.start({ env: { ROUTE_REQUIRE_KEYS_AT_START: "false",
      JWT_DESKTOP_SIGNING_PUBLIC_KEY: join(directory, "late.pem") } });
    try {
      const request = head("GET", "/filer", [other.bearer()]);
      expectRefusal(await ask(other.port, request), 503, "service unavailable");
      expect((await ask(other.port, head("GET", "/API"))).status).toBe(200);
      expect((await ask(other.port, head("GET", "/healthz"))).status).toBe(200);
      writeFileSync(join(directory, "late.pem"), keys.signingPublicKey);
      let { status } = await ask(other.port, request);
      for (const until = Date.now() + 10_000; status === 503 && Date.now() < until; { status } = await ask(other.port,
        request)) await Bun.sleep(20);
      expect(status).toBe(200);
    } finally {
      await other.stop();
      rmSync(directory, { recursive: true });
    }
  });

  test("is not for a start that asks for its keys: there is none", async () => {
    await expect(Cluster.start({ env: { JWT_DESKTOP_SIGNING_PUBLIC_KEY: join("/", "nowhere",
      "key.pem") } })).rejects.toThrow("cannot load signing public key");
  });

  test("keys that vanish while running stay in use", async () => {
    const other = await Cluster.start();
    try {
      renameSync(join(other.router.directory, "signing.pem"), join(other.router.directory, "gone.pem"));
      expect((await ask(other.port, head("GET", "/filer", [other.bearer()]))).status).toBe(200);
    } finally {
      await other.stop();
    }
  });
});

describe("an error page", () => {
  test("is a small HTML page for a browser, with the same words and the request's id", async () => {
    const answer = await ask(cluster.port,
      head("GET", "/filer", ["Accept: text/html,application/xhtml+xml,*/*;q=0.8"]));
    expect(answer.status).toBe(401);
    expect(answer.one("content-type")).toBe("text/html; charset=utf-8");
    expect(answer.body).toContain("<h1>401 unauthorized</h1>");
    expect(answer.body).toContain(answer.one("x-request-id") as string);
    expect(answer.body).not.toMatch(/<script|src=|href=|style=/i);
    expect(answer.body.length).toBeLessThan(1000);
  });

  test.each(["*/*", "application/json", "text/plain",
    "image/png"])("is plain text for a program that accepts %s", async (accept) => {
    expectRefusal(await ask(cluster.port, head("GET", "/filer", [`Accept: ${accept}`])), 401, "unauthorized");
  });

  test("shows nothing of the request: no path, no Host, no header", async () => {
    const marker = "<b>marker</b>";
    for (const request of [head("GET", `/filer/${marker}?${marker}`,
      ["Accept: text/html", `User-Agent: ${marker}`, `Referer: ${marker}`]),
      head("GET", "/API", ["Accept: text/html", `Host: ${marker}`])]) {
      expect((await ask(cluster.port, request)).body).not.toContain("marker");
    }
  });

  test("never names an address, a file or a stack, whatever fails", async () => {
    const other = await Cluster.start({ env: { PYOS_FQDN: "127.0.1.2", PYOS_SERVICE_PORT: "1" } });
    try {
      for (const accept of ["text/html", "*/*"]) {
        const requests = [head("GET", "/API", [`Accept: ${accept}`]),
          head("GET", "/filer", [`Accept: ${accept}`, `AbcAuthorization: ${other.router.token("169.254.169.254")}`])];
        for (const request of requests) {
          const answer = await ask(other.port, request);
          expect(answer.body).not.toMatch(/\d+\.\d+\.\d+\.\d+|\.ts|\bat \w|\/(?:src|tmp|home|work)\b|ECONN/);
        }
      }
    } finally {
      await other.stop();
    }
  });
});

describe("keys of another platform", () => {
  test("open nothing here", async () => {
    const { generateKeys } = await import("../../src/token/mint.ts");
    const foreign = generateKeys(2048);
    const own = cluster.router.keys;
    const mint = (signingPrivateKey: string,
      payloadPublicKey: string): string => mintDesktopToken({ host: "127.0.1.1", signingPrivateKey, payloadPublicKey,
      ttlS: 60 });
    for (const token of [mint(foreign.signingPrivateKey, own.payloadPublicKey),
      mint(own.signingPrivateKey, foreign.payloadPublicKey)]) {
      expectRefusal(await ask(cluster.port, head("GET", "/filer", [`AbcAuthorization: ${token}`])), 401,
        "unauthorized");
    }
  });
});
