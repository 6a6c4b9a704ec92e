// What happens to headers on their way up and down, judged by the bytes on both sides.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { ask, Cluster, head, inTurn, ok } from "../support/http.ts";

let cluster: Cluster;
beforeAll(async () => { cluster = await Cluster.start(); });
afterAll(() => cluster.stop());
beforeEach(() => cluster.reset());

/** The header lines that the upstream got, without the request line. */
async function upstreamLines(lines: readonly string[], from: Cluster = cluster): Promise<string[]> {
  from.reset();
  expect((await ask(from.port, head("GET", "/API", lines))).status).toBe(200);
  return (from.services.seen[0]?.head.slice(0, -4).split("\r\n") ?? []).slice(1);
}

async function answerTo(answer: string, request = head("GET", "/API")): ReturnType<typeof ask> {
  cluster.services.answer((_seen, connection) => connection.write(answer));
  return await ask(cluster.port, request);
}

describe("to the upstream", () => {
  test("goes what the client sent, who it is, and nothing else", async () => {
    const lines = await upstreamLines(["Host: desk.example", "User-Agent: a/1", "Accept-Language: de",
      "Origin: http://desk.example"]);
    const id = lines.find((line) => line.startsWith("X-Request-Id: "));
    expect(lines.toSorted()).toEqual([
      "Host: desk.example", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: desk.example", "X-Forwarded-Proto: http",
      "X-Real-IP: 127.0.0.1", id as string,
      "accept-language: de", "origin: http://desk.example", "user-agent: a/1",
    ].toSorted());
  });

  test("goes no User-Agent, Accept or Accept-Encoding that the client did not send", async () => {
    expect((await upstreamLines([])).join("\n")).not.toMatch(/^(user-agent|accept|accept-encoding|connection):/im);
  });

  test("values arrive byte for byte, those above 7F included", async () => {
    expect(await upstreamLines(["X-A: \xc3\xa9\xff  two  spaces", "X-B:tight",
      "X-C: \t trimmed \t "])).toEqual(expect.arrayContaining(["x-a: \xc3\xa9\xff  two  spaces", "x-b: tight",
      "x-c: trimmed"]));
  });

  test("cookies and repeated headers arrive complete", async () => {
    const lines = await upstreamLines(["Cookie: a=1", "Cookie: b=2", "X-Dup: 1", "X-Dup: 2"]);
    expect(lines).toEqual(expect.arrayContaining(["cookie: a=1; b=2", "x-dup: 1, 2"]));
  });

  test("no hop-by-hop header arrives", async () => {
    const lines = await upstreamLines(["Connection: keep-alive, X-Hop", "X-Hop: 1", "Keep-Alive: timeout=5",
      "TE: trailers", "Trailer: X", "Proxy-Connection: keep-alive", "Proxy-Authorization: Basic x",
      "Proxy-Authenticate: x", "Upgrade: foo", "X-Stays: 1"]);
    expect(lines.join("\n")).not.toMatch(/^(connection|x-hop|keep-alive|te|trailer|proxy-.*|upgrade):/im);
    expect(lines).toContain("x-stays: 1");
  });

  test("Connection cannot strip what we set", async () => {
    const lines = await upstreamLines(["Connection: close, X-Real-IP, X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, X-Request-Id, Host"]);
    expect(lines.map((line) => line.split(":")[0] as string)).toEqual(["Host", "X-Real-IP", "X-Forwarded-For",
      "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-Id"]);
  });

  const ALIASES = ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix",
    "X-Forwarded-User", "X-Forwarded-Server", "Forwarded", "X-Real-IP", "X-Request-Id",
    "X_Forwarded_For", "X_Forwarded-For", "X-Forwarded_User", "X_Real_IP", "X_Request_Id", "X.Forwarded.For",
    "X.Forwarded.User", "X.Real.IP", "X-Forwarded.For", "X.Request.Id", "Some_Header"];
  test.each(ALIASES)("a stranger's %s does not arrive, in any spelling", async (name) => {
    expect((await upstreamLines([`${name}: 6.6.6.6`])).join("\n")).not.toContain("6.6.6.6");
  });

  test("a stranger's request id is replaced by ours, which is returned and logged", async () => {
    const answer = await ask(cluster.port, head("GET", "/API", ["X-Request-Id: theirs"]));
    const id = answer.one("x-request-id") as string;
    expect(id).toMatch(/^[0-9a-f]{13,32}$/);
    expect(cluster.services.seen[0]?.headers["x-request-id"]).toEqual([id]);
    expect(cluster.router.lines.some((line) => line["request_id"] === id)).toBe(true);
  });

  test("request ids differ", async () => {
    const ids = new Set<string | null>();
    for (let i = 0; i < 20; i += 1) ids.add((await ask(cluster.port, head("GET", "/healthz"))).one("x-request-id"));
    expect(ids.size).toBe(20);
  });
});

describe("to the upstream, from a trusted proxy", () => {
  let behind: Cluster;
  beforeAll(async () => { behind = await Cluster.start({ env: { ROUTE_TRUSTED_PROXIES: "127.0.0.0/8" } }); });
  afterAll(() => behind.stop());

  test("the chain is appended to, and the rest is kept", async () => {
    const lines = await upstreamLines(["X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https",
      "X-Forwarded-Host: front.example", "X-Forwarded-Prefix: /p", "Forwarded: for=203.0.113.9"], behind);
    expect(lines).toEqual(expect.arrayContaining(["X-Real-IP: 203.0.113.9", "X-Forwarded-For: 203.0.113.9, 127.0.0.1",
      "X-Forwarded-Proto: https", "X-Forwarded-Host: front.example",
      "x-forwarded-prefix: /p", "forwarded: for=203.0.113.9"]));
  });

  test("its own word about X-Real-IP is not needed and not taken", async () => {
    expect(await upstreamLines(["X-Real-IP: 6.6.6.6", "X-Forwarded-For: 203.0.113.9"],
      behind)).toContain("X-Real-IP: 203.0.113.9");
  });

  test("without a chain the proxy is the client, and protocol and Host are the request's own", async () => {
    expect(await upstreamLines(["Host: desk.example"],
      behind)).toEqual(expect.arrayContaining(["X-Real-IP: 127.0.0.1", "X-Forwarded-For: 127.0.0.1",
      "X-Forwarded-Proto: http", "X-Forwarded-Host: desk.example"]));
  });

  test.each(["a", "0123456789abcdef", "a.b-c_d", "x".repeat(64)])("its request id %p is kept", async (id) => {
    behind.reset();
    expect((await ask(behind.port, head("GET", "/API", [`X-Request-Id: ${id}`]))).one("x-request-id")).toBe(id);
    expect(behind.services.seen[0]?.headers["x-request-id"]).toEqual([id]);
  });

  test.each(["", "x".repeat(65), "a b", "a\"b", "<b>", "a,b", "\xe9", "a;b", "{\"level\":1}",
    "a%0d%0ab"])("a request id like %p is replaced", async (id) => {
    behind.reset();
    const answer = await ask(behind.port, head("GET", "/API", [`X-Request-Id: ${id}`]));
    expect(answer.one("x-request-id")).toMatch(/^[0-9a-f]{13,32}$/);
    expect(behind.services.seen[0]?.headers["x-request-id"]).toEqual([answer.one("x-request-id") as string]);
  });
});

describe("to the client", () => {
  test("go the upstream's headers, byte for byte", async () => {
    const answer = await answerTo(ok("x",
      ["Content-Type: text/html", "Content-Disposition: attachment; filename=\"\xc3\xa9\xff\"", "ETag: \"a\"",
      "X-Any_Thing: 1", "X-Empty:"]));
    expect(answer.headers).toEqual(expect.arrayContaining([["content-type", "text/html"],
      ["content-disposition", "attachment; filename=\"\xc3\xa9\xff\""], ["etag", "\"a\""], ["x-any_thing", "1"]]));
  });

  test("several Set-Cookie stay several, in their order", async () => {
    expect((await answerTo(ok("x",
      ["Set-Cookie: a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT", "X: y",
      "Set-Cookie: b=2; Path=/"]))).all("set-cookie")).toEqual(
      ["a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT", "b=2; Path=/"]);
  });

  test("goes no Server and no X-Powered-By", async () => {
    for (const answer of [await answerTo(ok("x", ["Server: nginx/1.0", "X-Powered-By: PHP"])),
      await ask(cluster.port, head("GET", "/healthz")), await ask(cluster.port, head("GET", "/filer"))]) {
      expect([answer.one("server"), answer.one("x-powered-by")]).toEqual([null, null]);
    }
  });

  test("goes Date exactly once, whatever the upstream sent and whatever the method", async () => {
    const dated = "Date: Mon, 01 Jan 2024 00:00:00 GMT";
    for (const method of ["GET", "HEAD"]) {
      for (const lines of [[], [dated], [dated, dated]]) {
        const answer = await answerTo(method === "HEAD" ? ok("", lines) : ok("x", lines), head(method, "/API"));
        expect(answer.all("date")).toHaveLength(1);
        expect(Math.abs(Date.parse(answer.one("date") as string) - Date.now())).toBeLessThan(5000);
      }
      for (const path of ["/healthz",
        "/filer"]) expect((await ask(cluster.port, head(method, path))).all("date")).toHaveLength(1);
    }
  });

  test("go our own headers, in place of the upstream's, on answers of every kind", async () => {
    const answers = [await answerTo(ok("x",
      ["X-Frame-Options: ALLOWALL", "x-frame-options: DENY", "X-XSS-Protection: 0"])),
      await ask(cluster.port, head("GET", "/healthz")),
      await ask(cluster.port, head("GET", "/filer")), await ask(cluster.port, head("GET", "/.well-known/x")),
        await ask(cluster.port, head("HEAD", "/healthz"))];
    for (const answer of answers) {
      expect(answer.one("x-frame-options")).toBe("SAMEORIGIN");
      expect(answer.one("x-xss-protection")).toBe("1; mode=block");
    }
  });

  test("goes the request id once, ours and not the upstream's", async () => {
    const answer = await answerTo(ok("x", ["X-Request-Id: theirs"]));
    expect(answer.one("x-request-id")).toMatch(/^[0-9a-f]{13,32}$/);
  });

  test("goes no hop-by-hop header, nor what the upstream's Connection names", async () => {
    const answer = await answerTo(ok("x",
      ["Connection: X-Hop, keep-alive", "X-Hop: 1", "Keep-Alive: timeout=9", "Upgrade: h2c", "Trailer: X",
      "Proxy-Authenticate: Basic", "TE: x"]));
    expect(answer.headers.map(([name]) => name).filter((name) => /^(x-hop|keep-alive|upgrade|trailer|te|proxy-.*|transfer-encoding)$/.test(name))).toEqual([]);
  });

  test("interim answers stay between the upstream and us", async () => {
    expect((await answerTo(`HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n${ok("x")}`)).headers.map(([name]) => name)).not.toContain("link");
  });

  test("the configured set is sent, names in any case", async () => {
    const other = await Cluster.start({ config: `
entrypoints: { http: "127.0.0.1:0" }
services: { a: { text: a } }
routes: [{ path: /, service: a }]
headers: { response: { X-Content-Type-Options: nosniff, Strict-Transport-Security: max-age=1 } }
` });
    try {
      const answer = await ask(other.port, head("GET", "/"));
      expect([answer.one("x-content-type-options"), answer.one("strict-transport-security"),
        answer.one("x-frame-options")]).toEqual(["nosniff", "max-age=1", null]);
    } finally {
      await other.stop();
    }
  });

  test("a redirect of a service to its own address leads to the path that the client knows", async () => {
    const own = `http://127.0.1.2:${cluster.services.port("console")}`;
    expect((await answerTo(ok("", [`Location: ${own}/login`], "302 Found"),
      head("GET", "/console/x"))).one("location")).toBe("/console/login");
    expect((await answerTo(ok("", ["Location: https://idp.example/login"], "302 Found"),
      head("GET", "/console/x"))).one("location")).toBe("https://idp.example/login");
  });

  test("any status that is one is passed on; its reason phrase is the standard one", async () => {
    for (const status of [200, 201, 202, 206, 300, 301, 307, 400, 401, 402, 403, 404, 409, 410, 418, 422, 429, 451, 499,
      500, 501, 503, 511, 599]) {
      expect((await answerTo(ok("body", [], `${status} Their Phrase`))).statusLine).toStartWith(`HTTP/1.1 ${status} `);
    }
  });
});

describe("lengths of answers", () => {
  const TYPE = "Content-Type: text/plain";

  test.each([0, 1, 300, 65_536, 1024 ** 2])("a body of %d bytes keeps its Content-Length", async (bytes) => {
    const answer = await answerTo(ok("x".repeat(bytes), [TYPE]));
    expect([answer.one("content-length"), answer.body.length, answer.isChunked]).toEqual([String(bytes), bytes, false]);
  });

  test("a body over 1 MiB is sent in chunks, and whole", async () => {
    const body = Buffer.alloc(3 * 1024 ** 2 + 7, "0123456789abcdef").toString();
    const answer = await answerTo(ok(body, [TYPE]));
    expect([answer.isChunked, answer.one("content-length"), answer.body === body]).toEqual([true, null, true]);
  });

  test("a short chunked body that came in one piece is sent with its length", async () => {
    const answer = await answerTo(`HTTP/1.1 200 OK\r\n${TYPE}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: x\r\n\r\n`);
    expect([answer.body, answer.one("content-length"), answer.one("trailer")]).toEqual(["hello world", "11", null]);
  });

  test("a body that ends with the connection is sent whole", async () => {
    cluster.services.answer((_seen, connection) => { connection.write(`HTTP/1.0 200 OK\r\n${TYPE}\r\n\r\nhello`); connection.close(); });
    expect((await ask(cluster.port, head("GET", "/API"))).body).toBe("hello");
  });

  test.each([["a short one", 2],
    ["a long one", 2 * 1024 ** 2]])("a typeless body, %s, stays typeless", async (_name, bytes) => {
    const answer = await answerTo(ok("x".repeat(bytes)));
    expect([answer.one("content-type"), answer.body.length]).toEqual([null, bytes]);
  });

  test("a part of a file keeps its range and its length", async () => {
    const answer = await answerTo(ok("lo", [TYPE, "Content-Range: bytes 3-4/5", "Accept-Ranges: bytes"],
      "206 Partial Content"), head("GET", "/API", ["Range: bytes=3-4"]));
    expect([answer.status, answer.body, answer.one("content-length"), answer.one("content-range")]).toEqual([206, "lo",
      "2", "bytes 3-4/5"]);
    expect(cluster.services.seen[0]?.headers["range"]).toEqual(["bytes=3-4"]);
  });

  test.each([["5", "5"], ["0", "0"],
    ["123456789012", "123456789012"]])("the answer to HEAD keeps Content-Length %s", async (sent, got) => {
    const answer = await answerTo(`HTTP/1.1 200 OK\r\n${TYPE}\r\nContent-Length: ${sent}\r\n\r\n`,
      head("HEAD", "/API"));
    expect([answer.one("content-length"), answer.one("transfer-encoding")]).toEqual([got, null]);
  });

  test("the answer to HEAD claims no length that nobody knows", async () => {
    for (const line of ["Transfer-Encoding: chunked\r\n", ""]) {
      expect((await answerTo(`HTTP/1.1 200 OK\r\n${TYPE}\r\n${line}\r\n`,
        head("HEAD", "/API"))).one("content-length")).toBeNull();
    }
  });

  test("a 304 keeps the length of what it stands for, and invents none", async () => {
    const answer = await answerTo("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 99\r\n\r\n");
    expect([answer.status, answer.one("content-length"), answer.one("etag")]).toEqual([304, "99", "\"a\""]);
    expect((await answerTo("HTTP/1.1 304 Not Modified\r\n\r\n")).one("content-length")).toBeNull();
  });

  test.each(["", "Content-Length: 0\r\n"])("a 204 has no length (upstream sent %p)", async (line) => {
    const answer = await answerTo(`HTTP/1.1 204 No Content\r\n${line}\r\n`);
    expect([answer.status, answer.one("content-length"), answer.one("transfer-encoding"),
      answer.one("content-type")]).toEqual([204, null, null, null]);
  });

  test("after each of these the client's connection serves the next request", async () => {
    const bodiless = ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
      ok(""), "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc"];
    for (const answer of bodiless) {
      cluster.services.answer((seen, connection) => connection.write(seen.target === "/API/next" ? ok("next") : answer));
      const { answers } = await inTurn(cluster.port,
        [head("GET", "/API"), head("HEAD", "/API/next"), head("GET", "/API/next")]);
      expect(answers.map(({ status, body }) => [status, body])).toEqual([[Number(answer.slice(9, 12)), ""], [200, ""],
        [200, "next"]]);
    }
  });

  test("an HTTP/1.0 client gets a large body without chunks, ended by the connection", async () => {
    const body = "y".repeat(2 * 1024 ** 2);
    cluster.services.answer((_seen, connection) => connection.write(ok(body, [TYPE])));
    const { RawClient } = await import("../support/raw.ts");
    const client = await RawClient.open(cluster.port);
    client.write("GET /API HTTP/1.0\r\nHost: localhost\r\n\r\n");
    await client.until(() => client.isClosed);
    expect(client.header("transfer-encoding")).toBeNull();
    expect(client.body === body).toBe(true);
  });
});
