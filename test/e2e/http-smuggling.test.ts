// Request smuggling: whatever a client sends, an upstream gets either nothing or exactly the one request that was meant, in
// our own framing, and the next request on the client's connection is its own.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { ask, Cluster, converse, head, inTurn, ok } from "../support/http.ts";

let cluster: Cluster;
beforeAll(async () => { cluster = await Cluster.start(); });
afterAll(() => cluster.stop());
beforeEach(() => cluster.reset());

const SMUGGLED = "GET /API/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
const CHUNKED = "3\r\nabc\r\n0\r\n\r\n";
const post = (lines: readonly string[], body: string): string => head("POST", "/API/a", lines) + body;

/** Refused and closed, with nothing upstream, although a whole request follows on the connection. */
async function expectRefused(bytes: string): Promise<void> {
  const { answers, isClosed } = await converse(cluster.port, bytes + SMUGGLED, { answers: 99 });
  expect(isClosed).toBe(true);
  expect(answers.length).toBeLessThanOrEqual(1);
  for (const { status } of answers) expect([400, 413, 431, 501, 505]).toContain(status);
  expect(cluster.seenCount).toBe(0);
}

describe("an ambiguous length is refused and the connection closed", () => {
  const TE = "Transfer-Encoding: chunked";
  const CASES: ReadonlyArray<readonly [name: string, bytes: string]> = [
    ["Content-Length before Transfer-Encoding", post(["Content-Length: 6", TE], "0\r\n\r\nG")],
    ["Transfer-Encoding before Content-Length", post([TE, "Content-Length: 4"], CHUNKED)],
    ["two different lengths", post(["Content-Length: 3", "Content-Length: 4"], "abcd")],
    ["the same length twice", post(["Content-Length: 3", "Content-Length: 3"], "abc")],
    ["two lengths in one line", post(["Content-Length: 3, 3"], "abc")],
    ...["", "+3", "-3", "0x3", "3_0", "3;", "3.0", "1e1", "\xa03", "٣",
      "99999999999999999999"].map((length): readonly [string, string] => [`Content-Length ${JSON.stringify(length)}`,
      post([`Content-Length: ${length}`], "abc")]),
    ...["chunked, chunked", "xchunked", "gzip, chunked", "chunked, identity", "identity", "chunked;q=1", "\"chunked\"",
      "\x0bchunked", "\xa0chunked", "chunked\x00", "", "chunked,"].map(
      (coding): readonly [string, string] => [`Transfer-Encoding ${JSON.stringify(coding)}`,
        post([`Transfer-Encoding: ${coding}`], CHUNKED)]),
    ["Transfer-Encoding twice", post([TE, TE], CHUNKED)],
    ["Transfer-Encoding and then identity", post([TE, "Transfer-Encoding: identity"], CHUNKED)],
    ["a space before the colon of Transfer-Encoding", post(["Transfer-Encoding : chunked"], CHUNKED)],
    ["a space before the colon of Content-Length", post(["Content-Length : 3"], "abc")],
    ["a folded Transfer-Encoding", post(["Transfer-Encoding:\r\n chunked"], CHUNKED)],
    ["a folded header", post(["X-A: b\r\n c: d", "Content-Length: 3"], "abc")],
    ["Transfer-Encoding in HTTP/1.0", `POST /API/a HTTP/1.0\r\nHost: localhost\r\n${TE}\r\n\r\n${CHUNKED}`],
    ["both, with the second one hidden behind a tab",
      post(["Content-Length: 3", "Transfer-Encoding:\tchunked"], CHUNKED)],
  ];
  test.each(CASES)("%s", async (_name, bytes) => { await expectRefused(bytes); });
});

describe("a malformed head is refused and the connection closed", () => {
  const CASES: ReadonlyArray<readonly [name: string, bytes: string]> = [
    ["bare LF everywhere", "POST /API/a HTTP/1.1\nHost: localhost\nContent-Length: 3\n\nabc"],
    ["one bare LF", post(["X: a\nContent-Length: 3"], "abc")],
    ["a bare CR", post(["X: a\rb", "Content-Length: 3"], "abc")],
    ["a NUL in a value", post(["X: a\0b", "Content-Length: 3"], "abc")],
    ["a NUL in a name", post(["X\0: a", "Content-Length: 3"], "abc")],
    ["an empty name", post([": x", "Content-Length: 3"], "abc")],
    ["a line without a colon", post(["garbage", "Content-Length: 3"], "abc")],
    ["a space in a name", post(["X Y: z", "Content-Length: 3"], "abc")],
    ["a space before the first name",
      "POST /API/a HTTP/1.1\r\n X: y\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"],
    ["HTTP/1.2", "GET /API/a HTTP/1.2\r\nHost: localhost\r\n\r\n"],
    ["HTTP/2.0", "GET /API/a HTTP/2.0\r\nHost: localhost\r\n\r\n"], ["HTTP/0.9", "GET /API/a\r\n\r\n"],
    ["the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ["two spaces before the version", "GET /API/a  HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    ["lower-case http", "GET /API/a http/1.1\r\nHost: localhost\r\n\r\n"],
    ["a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
  ];
  test.each(CASES)("%s", async (_name, bytes) => { await expectRefused(bytes); });
});

describe("malformed chunks", () => {
  const CASES: ReadonlyArray<readonly [name: string, body: string]> = [
    ["a space after the size", "3 \r\nabc\r\n0\r\n\r\n"], ["0x", "0x3\r\nabc\r\n0\r\n\r\n"],
    ["a sign", "+3\r\nabc\r\n0\r\n\r\n"], ["an empty size", "\r\nabc\r\n0\r\n\r\n"],
    ["a size of 17 digits", "fffffffffffffffff\r\nabc"], ["an overflowing size", "ffffffffffffffff\r\nabc"],
    ["a bare LF after the size", "3\nabc\r\n0\r\n\r\n"], ["a bare LF in an extension", "3;a\nb\r\nabc\r\n0\r\n\r\n"],
    ["a bare CR in an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n"],
    ["more data than the size says", "3\r\nabcX\r\n0\r\n\r\n"], ["no CRLF after the data", "3\r\nabc0\r\n\r\n"],
    ["a bare LF after the data", "3\r\nabc\n0\r\n\r\n"],
    ["a bare LF at the end", "3\r\nabc\r\n0\r\n\n"],
    ["an endless extension", `3;${"a".repeat(20_000)}\r\nabc\r\n0\r\n\r\n`],
  ];
  test.each(CASES)("%s: the request never arrives whole, and nothing after it is read", async (_name, body) => {
    const { answers, isClosed } = await converse(cluster.port, post(["Transfer-Encoding: chunked"], body) + SMUGGLED,
      { answers: 99 });
    expect(isClosed).toBe(true);
    for (const { status } of answers) expect([400, 413]).toContain(status);
    await cluster.services.until(() => cluster.services.open.size === 0 || cluster.router.app.counts.upstream.open === cluster.router.app.counts.upstream.idle);
    expect(cluster.seenCount).toBe(0);
  });
});

describe("what is unusual but clear arrives as exactly one request in our own framing", () => {
  const CASES: ReadonlyArray<readonly [name: string, bytes: string, framing: "content-length" | "transfer-encoding",
    value: string]> = [
    ["a length with zeros in front", post(["Content-Length: 003"], "abc"), "content-length", "3"],
    ["blanks around a length", post(["Content-Length: \t3 \t"], "abc"), "content-length", "3"],
    ["chunked in capitals", post(["Transfer-Encoding: CHUNKED"], CHUNKED), "transfer-encoding", "chunked"],
    ["a tab after chunked", post(["Transfer-Encoding: chunked\t"], CHUNKED), "transfer-encoding", "chunked"],
    ["chunks of one byte", post(["Transfer-Encoding: chunked"], "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n"),
      "transfer-encoding", "chunked"],
    ["a chunk extension", post(["Transfer-Encoding: chunked"], "3;a=b\r\nabc\r\n0\r\n\r\n"), "transfer-encoding",
      "chunked"],
    ["Expect: 100-continue", post(["Expect: 100-continue", "Content-Length: 3"], "abc"), "content-length", "3"],
    ["another Expect", post(["Expect: 200-ok", "Content-Length: 3"], "abc"), "content-length", "3"],
  ];
  test.each(CASES)("%s", async (_name, bytes, framing, value) => {
    const { answers } = await inTurn(cluster.port, [bytes, head("GET", "/API/next")]);
    expect(answers.map(({ body }) => body)).toEqual(["pyos POST /API/a", "pyos GET /API/next"]);
    expect(cluster.services.seen.map(({ method, target, body }) => [method, target, body.toString()])).toEqual([["POST",
      "/API/a", "abc"], ["GET", "/API/next", ""]]);
    const [seen] = cluster.services.seen;
    expect(seen?.headers[framing]).toEqual([value]);
    expect(seen?.headers[framing === "content-length" ? "transfer-encoding" : "content-length"]).toBeUndefined();
    expect(seen?.headers["expect"]).toBeUndefined();
  });

  test("an obsolete chunked trailer never reaches the upstream", async () => {
    await converse(cluster.port,
      post(["Transfer-Encoding: chunked", "Trailer: X-Evil"], "3\r\nabc\r\n0\r\nX-Evil: 1\r\n\r\n") + SMUGGLED,
      { answers: 99 });
    for (const seen of cluster.services.seen) expect([seen.target, /evil/i.test(seen.head)]).toEqual(["/API/a", false]);
    expect(cluster.seenCount).toBeLessThanOrEqual(1);
  });
});

describe("a request whose method has no body", () => {
  const FRAMINGS: ReadonlyArray<readonly [name: string, lines: string[], body: string]> = [
    ["a length", ["Content-Length: 5"], "hello"],
    ["a length that covers a whole request", [`Content-Length: ${SMUGGLED.length}`], SMUGGLED],
    ["chunks", ["Transfer-Encoding: chunked"], "5\r\nhello\r\n0\r\n\r\n"],
  ];
  for (const method of ["GET", "HEAD"]) {
    test.each(FRAMINGS)(`${method} with %s goes upstream without it, and the next request is its own`, async (_name,
      lines, body) => {
      const { answers } = await inTurn(cluster.port, [head(method, "/API/a", lines) + body, head("GET", "/API/next")]);
      expect(answers.map(({ status }) => status)).toEqual([200, 200]);
      expect(cluster.services.seen.map(({ requestLine, body: got }) => [requestLine,
        got.length])).toEqual([[`${method} /API/a HTTP/1.1`, 0], ["GET /API/next HTTP/1.1", 0]]);
      expect(cluster.services.seen[0]?.head).not.toMatch(/content-length|transfer-encoding/i);
    });
  }

  test("a GET whose body never comes is answered, and what comes then is body, not a request", async () => {
    const { answers } = await inTurn(cluster.port,
      [head("GET", "/API/a", [`Content-Length: ${SMUGGLED.length}`]), SMUGGLED + head("GET", "/API/next")]);
    expect(cluster.services.seen.map(({ target }) => target)).not.toContain("/API/smuggled");
    expect(answers[0]?.status).toBe(200);
  });

  test.each(["DELETE", "OPTIONS", "PATCH", "PROPFIND"])("%s may have one, and it arrives", async (method) => {
    const { answers } = await inTurn(cluster.port,
      [`${head(method, "/API/a", ["Content-Length: 5"])}hello`,
      `${head(method, "/API/b", ["Transfer-Encoding: chunked"])}5\r\nhello\r\n0\r\n\r\n`]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    expect(cluster.services.seen.map(({ method: got, target, body }) => [got, target,
      body.toString()])).toEqual([[method, "/API/a", "hello"], [method, "/API/b", "hello"]]);
  });
});

describe("pipelined requests", () => {
  test("are served in order, or the connection is closed before any harm: never mixed up", async () => {
    const requests = ["/API/1", "/API/2", "/API/3"].map((path) => head("GET", path)).join("");
    const { answers, isClosed } = await converse(cluster.port, requests, { answers: 3 });
    expect(answers.length === 3 || isClosed).toBe(true);
    expect(answers.map(({ body }) => body)).toEqual(["pyos GET /API/1", "pyos GET /API/2", "pyos GET /API/3"].slice(0,
      answers.length));
    expect(new Set(cluster.services.seen.map(({ target }) => target)).size).toBe(cluster.services.seen.length);
  });

  test("behind a refusal are served on their own", async () => {
    const { answers } = await converse(cluster.port, head("GET", "/filer") + head("GET", "/healthz"), { answers: 2 });
    expect(answers.map(({ status }) => status)).toEqual([401, 200]);
  });
});

describe("upgrades that are none", () => {
  const KEY = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];

  test("h2c is not offered: the request goes on as the plain one that it also is", async () => {
    const { answers } = await inTurn(cluster.port,
      [head("GET", "/API/a",
      ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"]),
      head("GET", "/API/next")]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    expect(cluster.services.seen[0]?.head).not.toMatch(/upgrade|http2|connection/i);
  });

  test.each([["Content-Length", ["Content-Length: 5"], "hello"],
    ["chunks", ["Transfer-Encoding: chunked"], "5\r\nhello\r\n0\r\n\r\n"]])(
    "an upgrade with a body (%s) is refused, and nothing behind it is taken for frames or a tunnel", async (_name,
      lines, body) => {
      for (const path of [`/websockify?${cluster.router.token()}`, "/API/a", "/speedtest/a"]) {
        const { answers } = await converse(cluster.port, head("GET", path, [...KEY, ...lines]) + body + SMUGGLED,
          { answers: 1 });
        expect(answers[0]?.status ?? 400).not.toBe(101);
        expect(cluster.pod.seen).toHaveLength(0);
        for (const seen of cluster.services.seen) expect(seen.headers["upgrade"]).toBeUndefined();
      }
    });

  test("a request behind an upgrade that the upstream answers with 200 is not tunnelled", async () => {
    cluster.services.answer((_seen, connection) => connection.write(ok("no upgrade here")));
    const { answers, isClosed } = await converse(cluster.port, head("GET", "/API/a", KEY) + SMUGGLED,
      { answers: 99, timeoutMs: 500 }).catch(() => ({ answers: [], isClosed: false }));
    expect(answers.every(({ status }) => status !== 101)).toBe(true);
    expect(isClosed || answers.length <= 2).toBe(true);
    expect(cluster.services.seen.map(({ target }) => target)).not.toContain("/API/smuggled");
  });
});

describe("Expect: 100-continue", () => {
  test("with an early final answer does not poison the connections of client and upstream", async () => {
    cluster.services.answer((seen, connection) => connection.write(ok(seen.target, [],
      seen.target === "/API/a" ? "403 Forbidden" : "200 OK")));
    const { answers } = await inTurn(cluster.port,
      [post(["Expect: 100-continue", `Content-Length: ${SMUGGLED.length}`], SMUGGLED), head("GET", "/API/next"),
      head("GET", "/API/last")]);
    expect(answers.map(({ status, body }) => [status, body])).toEqual([[403, "/API/a"], [200, "/API/next"],
      [200, "/API/last"]]);
  });

  test("for a body that the route refuses: what the client sends all the same is not a request", async () => {
    const body = SMUGGLED.padEnd(1024 ** 2 + 1, "x");
    const { answers } = await inTurn(cluster.port,
      [post(["Expect: 100-continue", `Content-Length: ${body.length}`], ""), body + head("GET", "/healthz")]);
    expect(answers[0]?.status).toBe(413);
    expect(cluster.seenCount).toBe(0);
  });
});

describe("methods", () => {
  test.each(["get", "GE T", "FOO", "G@T", "GET\0",
    ""])("%p is no method that goes upstream as another one", async (method) => {
    const { isClosed, answers } = await converse(cluster.port, head(method, "/API/a"));
    expect(isClosed || (answers[0]?.status ?? 0) >= 400).toBe(true);
    expect(cluster.seenCount).toBe(0);
  });

  test("HTTP/1.0 with a Host is served, and the connection closed", async () => {
    const { answers, isClosed } = await converse(cluster.port, "GET /API/a HTTP/1.0\r\nHost: localhost\r\n\r\n",
      { answers: 2 });
    expect(answers.map(({ body }) => body)).toEqual(["pyos GET /API/a"]);
    expect(isClosed).toBe(true);
    expect((await ask(cluster.port, head("GET", "/healthz"))).status).toBe(200);
  });
});
