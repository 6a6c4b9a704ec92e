// Framing under attack, judged by the bytes that an upstream got: every byte value in every place where parsers were caught
// disagreeing about it, over plain HTTP/1.1 and inside TLS. http-smuggling.test.ts has the cases that have names; this is the
// sweep around them, the methods one by one, and what exactly goes upstream for what is allowed.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { converse, head, inTurn, readAnswers } from "../support/http.ts";
import { RawClient } from "../support/raw.ts";
import { type Recorded, valuesOf } from "../support/recorder.ts";
import { RecordingRouter } from "../support/recording-router.ts";

let router: RecordingRouter;
beforeAll(async () => { if (HAS_OPENSSL) router = await RecordingRouter.start(); });
afterAll(() => router?.stop());
beforeEach(() => router?.reset());

const SMUGGLED = "GET /API/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
const BYTES = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code));
const shown = (text: string): string => JSON.stringify(text);

/**
 * Sends one attack and, where the connection is kept, one honest request behind its answer.
 * @returns the attack's status, 0 for none, and whether the connection was kept
 */
async function attack(bytes: string, port = router.port): Promise<{ status: number; isKept: boolean; next: string | null }> {
  const client = await RawClient.open(port);
  try {
    client.write(bytes);
    await client.until(() => client.isClosed || readAnswers(client.text).length > 0);
    const status = readAnswers(client.text)[0]?.status ?? 0;
    client.write(head("GET", "/API/next"));
    await client.until(() => client.isClosed || readAnswers(client.text).length > 1);
    return { status, isKept: !client.isClosed, next: readAnswers(client.text)[1]?.body ?? null };
  } finally {
    client.close();
  }
}

/** Nothing that no strict server takes, nothing that was hidden in a body, and nobody's answer for somebody else. */
async function expectUnpoisoned(what: string, next: string | null): Promise<void> {
  expect([what, router.faults]).toEqual([what, []]);
  expect([what, router.targets.filter((target) => target.includes("smuggled"))]).toEqual([what, []]);
  if (next !== null) expect([what, next]).toEqual([what, "pyos GET /API/next"]);
  await router.expectClean();
}

const post = (lines: readonly string[], body: string): string => head("POST", "/API/a", lines) + body;
/** Read by its length it is one body; read as chunks it is an end and then a request. */
const TWO_FACED = `0\r\n\r\n${SMUGGLED}`;

/** @param taken bytes with which it is one clear request; @param body of that request; @param skipped bytes that make it wait for more */
type Place = readonly [name: string, make: (byte: string) => string, taken: RegExp, body: string, skipped?: RegExp];
const LENGTH = `Content-Length: ${TWO_FACED.length}`;
const CHUNKS = "3\r\nabc\r\n0\r\n\r\n";

describe.skipIf(!HAS_OPENSSL)("every byte beside the name and the value of a framing header", () => {
  const NONE = /^$/;
  const BLANK = /^[\t ]$/;
  // An empty element of a list says nothing (RFC 9110 section 5.6.1).
  const BLANK_OR_COMMA = /^[\t ,]$/;
  const DIGIT = /^\d$/;
  // Beside a name a token character makes it another header, which says nothing about framing.
  const TCHAR = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]$/;
  const TCHAR_OR_COLON = /^[!#$%&'*+\-.^_`|~0-9A-Za-z:]$/;
  const PLACES: readonly Place[] = [
    ["before chunked, with a length", (byte) => post([LENGTH, `Transfer-Encoding:${byte}chunked`], TWO_FACED), NONE, ""],
    ["after chunked, with a length", (byte) => post([LENGTH, `Transfer-Encoding: chunked${byte}`], TWO_FACED), NONE, ""],
    ["within chunked, with a length", (byte) => post([LENGTH, `Transfer-Encoding: chu${byte}nked`], TWO_FACED), NONE, ""],
    ["before Transfer-Encoding, with a length", (byte) => post([LENGTH, `${byte}Transfer-Encoding: chunked`], TWO_FACED), TCHAR, TWO_FACED],
    ["after Transfer-Encoding, with a length", (byte) => post([LENGTH, `Transfer-Encoding${byte}: chunked`], TWO_FACED), TCHAR, TWO_FACED],
    ["for the hyphen of Transfer-Encoding, with a length", (byte) => post([LENGTH, `Transfer${byte}Encoding: chunked`], TWO_FACED), TCHAR_OR_COLON, TWO_FACED, /^-$/],
    ["at the start of a line, with a length", (byte) => post([LENGTH, `X: y\r\n${byte}Transfer-Encoding: chunked`], TWO_FACED), TCHAR, TWO_FACED],
    ["between the lines, with a length", (byte) => post([LENGTH, `X: y${byte}Transfer-Encoding: chunked`], TWO_FACED), /^[\t\x20-\xff]$/, TWO_FACED],
    ["before chunked", (byte) => post([`Transfer-Encoding:${byte}chunked`], CHUNKS), BLANK_OR_COMMA, "abc"],
    ["after chunked", (byte) => post([`Transfer-Encoding: chunked${byte}`], CHUNKS), BLANK_OR_COMMA, "abc"],
    ["before a length", (byte) => post([`Content-Length:${byte}3`], "abc"), BLANK, "abc", DIGIT],
    ["after a length", (byte) => post([`Content-Length: 3${byte}`], "abc"), BLANK, "abc", DIGIT],
    ["after Content-Length", (byte) => post([`Content-Length${byte}: 3`], "abc"), TCHAR, ""],
    ["before Content-Length", (byte) => post([`${byte}Content-Length: 3`], "abc"), TCHAR, ""],
    ["for the hyphen of Content-Length", (byte) => post([`Content${byte}Length: 3`], "abc"), TCHAR_OR_COLON, "", /^-$/],
  ];
  test.each(PLACES)("%s is a clear request or none at all", async (name, make, taken, body, skipped = NONE) => {
    for (const byte of BYTES) {
      if (skipped.test(byte)) continue;
      router.reset();
      const { status, isKept, next } = await attack(make(byte));
      const what = `${name} ${shown(byte)}`;
      if (taken.test(byte)) expect([what, status, router.pyos.requests[0]?.body]).toEqual([what, 200, body]);
      else expect([what, status === 0 || status >= 400, isKept, router.targets]).toEqual([what, true, false, []]);
      await expectUnpoisoned(what, next);
    }
  }, 60_000);
});

describe.skipIf(!HAS_OPENSSL)("every byte within a chunked body", () => {
  const chunked = (body: string): string => post(["Transfer-Encoding: chunked"], body);
  const NONE = /^$/;
  // RFC 9112 section 7.1.1 has chunk extensions; whatever they say ends here.
  const EXTENSION = /^[\x21-\xff]$/;
  const PLACES: readonly Place[] = [
    ["before a size", (byte) => chunked(`${byte}3\r\nabc\r\n0\r\n\r\n`), /^0$/, "abc", /^[1-9A-Fa-f]$/],
    ["after a size", (byte) => chunked(`3${byte}\r\nabc\r\n0\r\n\r\n`), /^;$/, "abc", /^[0-9A-Fa-f]$/],
    ["in an extension", (byte) => chunked(`3;a${byte}b\r\nabc\r\n0\r\n\r\n`), EXTENSION, "abc"],
    ["in an extension's value", (byte) => chunked(`3;a="${byte}"\r\nabc\r\n0\r\n\r\n`), EXTENSION, "abc"],
    ["for the CR after a size", (byte) => chunked(`3${byte}\nabc\r\n0\r\n\r\n`), /^\r$/, "abc", /^[0-9A-Fa-f]$/],
    ["for the LF after a size", (byte) => chunked(`3\r${byte}abc\r\n0\r\n\r\n`), /^\n$/, "abc"],
    ["after the data", (byte) => chunked(`3\r\nabc${byte}\r\n0\r\n\r\n`), NONE, ""],
    ["for the CR after the data", (byte) => chunked(`3\r\nabc${byte}\n0\r\n\r\n`), /^\r$/, "abc"],
    ["for the LF after the data", (byte) => chunked(`3\r\nabc\r${byte}0\r\n\r\n`), /^\n$/, "abc"],
    ["after the last size", (byte) => chunked(`3\r\nabc\r\n0${byte}\r\n\r\n`), /^[;0]$/, "abc", /^[1-9A-Fa-f]$/],
  ];
  test.each(PLACES)("%s gives the body that was meant, or none at all", async (name, make, taken, body, skipped = NONE) => {
    for (const byte of BYTES) {
      if (skipped.test(byte)) continue;
      router.reset();
      const { status, isKept, next } = await attack(make(byte));
      const what = `${name} ${shown(byte)}`;
      if (taken.test(byte)) expect([what, status, router.pyos.requests[0]?.body]).toEqual([what, 200, body]);
      else expect([what, isKept, router.pyos.requests.filter(({ target }) => target === "/API/a")]).toEqual([what, false, []]);
      await eventually("the end of what was begun", () => router.faults, (faults) => faults.length === 0);
      await expectUnpoisoned(what, next);
    }
  }, 60_000);

  // Bun.serve takes the body for whole at its last size (oven-sh/bun pull request 32887), and closes for what follows wrongly.
  const ENDS: readonly Place[] = [
    ["for the last CR", (byte) => chunked(`3\r\nabc\r\n0\r\n${byte}\n`), /^\r$/, "abc"],
    ["for the last LF", (byte) => chunked(`3\r\nabc\r\n0\r\n\r${byte}`), /^\n$/, "abc"],
    ["before the last CR", (byte) => chunked(`3\r\nabc\r\n0\r\n${byte}\r\n`), NONE, "abc"],
  ];
  test.each(ENDS)("%s ends the connection, and what is behind it is never read", async (name, make, taken, body) => {
    for (const byte of BYTES) {
      router.reset();
      const { isKept, next } = await attack(make(byte));
      const what = `${name} ${shown(byte)}`;
      expect([what, isKept]).toEqual([what, taken.test(byte)]);
      for (const request of router.pyos.requests.filter(({ method }) => method === "POST")) expect([what, request.body]).toEqual([what, body]);
      await eventually("the end of what was begun", () => router.faults, (faults) => faults.length === 0);
      await expectUnpoisoned(what, next);
    }
  }, 60_000);
});

describe.skipIf(!HAS_OPENSSL)("what is known to have fooled others", () => {
  const TE = "Transfer-Encoding: chunked";
  const two = (...lines: string[]): string => post([LENGTH, ...lines], TWO_FACED);
  /** Refused, and closed: what is behind it is nobody's request. */
  const REFUSED: ReadonlyArray<readonly [name: string, bytes: string]> = [
    ["Transfer-Encoding that Connection names", two("Connection: Transfer-Encoding", TE)],
    ["a length that Connection names, beside chunks", two("Connection: Content-Length", TE)],
    ["Transfer-Encoding on a line that folds", two("Transfer-Encoding: chunked\r\n\t")],
    ["Transfer-Encoding whose value begins on the next line", two("Transfer-Encoding:\r\n\tchunked")],
    ["a fold of a vertical tab", two("Transfer-Encoding: \n\x0bchunked")],
    ["a line without a name before Transfer-Encoding", two("Garbage", TE)],
    ["a CR within Transfer-Encoding", two("TRANSFER\r-ENCODING: chunked")],
    ["chunked, cow", two("Transfer-Encoding: chunked, cow")], ["cow, chunked", two("Transfer-Encoding: cow, chunked")],
    ["cow and then chunked", two("Transfer-Encoding: cow", TE)], ["chunked and then cow", two(TE, "Transfer-Encoding: cow")],
    ["chunked in quotes", two("Transfer-Encoding: \"chunked\"")], ["an empty Transfer-Encoding", two("Transfer-Encoding:")],
    ["identity beside a length", two("Transfer-Encoding: identity")],
    ["a length above 2^64 that wraps to 3", post(["Content-Length: 18446744073709551619"], "abc")],
    ["a length above 2^63", post(["Content-Length: 9223372036854775811"], "abc")],
    ["a length of a thousand digits", post([`Content-Length: ${"0".repeat(999)}3x`], "abc")],
    ["an empty length after a good one", post(["Content-Length: 3", "Content-Length:"], "abc")],
    ["an empty length before a good one", post(["Content-Length:", "Content-Length: 3"], "abc")],
    ["a chunk size above 2^64 that wraps to 3", post([TE], "10000000000000003\r\nabc\r\n0\r\n\r\n")],
    ["a line end in the quotes of an extension", post([TE], "3;a=\"x\r\ny\"\r\nabc\r\n0\r\n\r\n")],
    ["a bare LF for a size's line end, the smuggled request in the extension", post([TE], `3;\nxx\r\nabc\r\n0\r\n\r\n${SMUGGLED}`)],
    ["a head that ends in bare LFs", `POST /API/a HTTP/1.1\r\nHost: localhost\r\n${LENGTH}\r\n\n${TWO_FACED}`],
    ["two line ends where one is due, within the head", `POST /API/a HTTP/1.1\r\nHost: localhost\r\r\n${LENGTH}\r\n\r\n${TWO_FACED}`],
    ["Transfer-Encoding in HTTP/1.0 that wants to be kept", `POST /API/a HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n${TE}\r\n\r\n${TWO_FACED}`],
  ];
  const refuse = async (port: number, what: string, bytes: string): Promise<void> => {
    const { status, isKept, next } = await attack(bytes, port);
    expect([what, isKept, status === 0 || (status >= 400 && status < 500), router.targets]).toEqual([what, false, true, []]);
    await eventually("the end of what was begun", () => router.faults, (faults) => faults.length === 0);
    await expectUnpoisoned(what, next);
  };
  test.each(REFUSED)("%s is refused, closed, and never sent on", async (name, bytes) => {
    await refuse(router.port, name, bytes);
    router.reset();
    await refuse(router.door.port, `${name}, inside TLS`, bytes);
  });

  test.each(REFUSED)("%s as the second request of a connection is refused as well, and the first one has its answer", async (name, bytes) => {
    const client = await RawClient.open(router.port);
    client.write(head("GET", "/API/first"));
    await client.until(() => readAnswers(client.text).length === 1);
    client.write(bytes);
    await client.until(() => client.isClosed);
    expect([name, readAnswers(client.text)[0]?.body]).toEqual([name, "pyos GET /API/first"]);
    expect(router.targets).toEqual(["pyos GET /API/first"]);
    await router.expectClean();
  });

  test.each([
    ["a length in the spelling of CGI", ["Content_Length: 3", LENGTH]], ["Transfer-Encoding in the spelling of CGI", [LENGTH, "Transfer_Encoding: chunked"]],
    ["Content-Encoding: chunked", [LENGTH, "Content-Encoding: chunked"]], ["an escaped name", [LENGTH, "Transfer-%45ncoding: chunked"]],
    ["a length that Connection names", ["Connection: close, Content-Length", LENGTH]],
  ])("%s changes nothing: one request, framed by us", async (_name, lines) => {
    await attack(post(lines, TWO_FACED));
    const [request] = router.pyos.requests;
    expect([request?.target, request?.body, valuesOf(request as Recorded, "content-length"), valuesOf(request as Recorded, "transfer-encoding")])
      .toEqual(["/API/a", TWO_FACED, [String(TWO_FACED.length)], []]);
    expect(request?.text).not.toMatch(/_length|_encoding/i);
    expect(router.targets.filter((target) => target.includes("smuggled"))).toEqual([]);
  });
});

describe.skipIf(!HAS_OPENSSL)("what arrives, byte for byte", () => {
  const OURS = "Host: localhost\r\n";
  const WHO = "X-Real-IP: 127.0.0.1\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: localhost\r\nX-Forwarded-Proto: http\r\nX-Request-Id: -\r\n";
  const CASES: ReadonlyArray<readonly [name: string, sent: string, arrived: string]> = [
    ["a GET", head("GET", "/API/a?b=c"), `GET /API/a?b=c HTTP/1.1\r\n${OURS}${WHO}\r\n`],
    ["a body of known length", post(["Content-Length: 3"], "abc"), `POST /API/a HTTP/1.1\r\n${OURS}${WHO}Content-Length: 3\r\n\r\nabc`],
    ["chunks", post(["Transfer-Encoding: chunked"], "003;x=y\r\nabc\r\n0\r\n\r\n"), `POST /API/a HTTP/1.1\r\n${OURS}${WHO}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`],
    ["an empty chunked body", post(["Transfer-Encoding: chunked"], "0\r\n\r\n"), `POST /API/a HTTP/1.1\r\n${OURS}${WHO}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ["a POST without a body", head("POST", "/API/a"), `POST /API/a HTTP/1.1\r\n${OURS}${WHO}Content-Length: 0\r\n\r\n`],
    ["a DELETE without a body", head("DELETE", "/API/a"), `DELETE /API/a HTTP/1.1\r\n${OURS}${WHO}\r\n`],
    ["a GET with a body", `${head("GET", "/API/a", ["Content-Length: 3"])}abc`, `GET /API/a HTTP/1.1\r\n${OURS}${WHO}\r\n`],
    ["a GET with chunks", `${head("GET", "/API/a", ["Transfer-Encoding: chunked"])}3\r\nabc\r\n0\r\n\r\n`, `GET /API/a HTTP/1.1\r\n${OURS}${WHO}\r\n`],
    ["an offer of h2c", head("GET", "/API/a", ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"]), `GET /API/a HTTP/1.1\r\n${OURS}${WHO}\r\n`],
    ["an offer of h2c with a body", post(["Connection: Upgrade", "Upgrade: h2c", "Content-Length: 3"], "abc"), `POST /API/a HTTP/1.1\r\n${OURS}${WHO}Content-Length: 3\r\n\r\nabc`],
    ["Expect", post(["Expect: 100-continue", "Content-Length: 3"], "abc"), `POST /API/a HTTP/1.1\r\n${OURS}${WHO}Content-Length: 3\r\n\r\nabc`],
    ["HTTP/1.0", "GET /API/a HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n", `GET /API/a HTTP/1.1\r\n${OURS}${WHO}\r\n`],
  ];
  test.each(CASES)("%s", async (_name, sent, arrived) => {
    const { answers } = await converse(router.port, sent);
    expect([answers[0]?.status, router.arrived.map(({ text }) => text), router.faults]).toEqual([200, [arrived], []]);
  });

  test("a body with trailers arrives without them; its client gets Bun.serve's 400 in place of the answer, and is closed", async () => {
    const { answers, isClosed } = await converse(router.port, post(["Transfer-Encoding: chunked", "Trailer: X-T"], `3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n${SMUGGLED}`), { answers: 9 });
    expect([answers.map(({ status }) => status), isClosed]).toEqual([[400], true]);
    await eventually("the end of what was begun", () => router.faults, (faults) => faults.length === 0);
    for (const { text } of router.arrived) expect(text).toBe(`POST /API/a HTTP/1.1\r\n${OURS}${WHO}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`);
    expect(router.arrived.length).toBeLessThanOrEqual(1);
    await router.expectClean();
  });
});

/** The tokens that Bun.serve's parser knows: those of WebDAV, CalDAV and UPnP among them. Any other never reaches our handler. */
const PASSED = [
  "ACL", "BIND", "CHECKOUT", "COPY", "DELETE", "GET", "HEAD", "LINK", "LOCK", "M-SEARCH", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE", "NOTIFY", "OPTIONS",
  "PATCH", "POST", "PROPFIND", "PROPPATCH", "PURGE", "PUT", "QUERY", "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE",
];
const UNKNOWN = [
  "FOO", "get", "Get", "GETT", "GE", "PROPFINDX", "propfind", "VERSION-CONTROL", "BASELINE-CONTROL", "CHECKIN", "UNCHECKOUT", "MKWORKSPACE", "MKREDIRECTREF", "UPDATE",
  "UPDATEREDIRECTREF", "LABEL", "ORDERPATCH", "PRI", "TRACK", "DEBUG", "BREW", "RPC_IN_DATA", "X".repeat(10_000),
];

describe.skipIf(!HAS_OPENSSL)("methods", () => {
  test.each(PASSED)("%s goes upstream as it is, over HTTP/1.1 and HTTP/2", async (method) => {
    const { answers } = await converse(router.port, head(method, "/API/a"), { methods: [method] });
    const client = await router.h2();
    const { status } = await client.ended(client.request(client.fields(method, "/API/b")));
    client.close();
    expect([answers[0]?.status, status]).toEqual([200, 200]);
    expect(router.targets).toEqual([`pyos ${method} /API/a`, `pyos ${method} /API/b`]);
  });

  test.each(PASSED.filter((method) => method !== "GET" && method !== "HEAD"))("%s takes its body along, announced or chunked", async (method) => {
    const { answers } = await inTurn(router.port, [`${head(method, "/API/a", ["Content-Length: 3"])}abc`, `${head(method, "/API/b", ["Transfer-Encoding: chunked"])}3\r\nabc\r\n0\r\n\r\n`]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    expect(router.arrived.map(({ method: arrived, target, body }) => [arrived, target, body])).toEqual([[method, "/API/a", "abc"], [method, "/API/b", "abc"]]);
  });

  test.each(UNKNOWN)("%s, which Bun.serve does not know, is refused without a guess: closed over HTTP/1.1, 501 over HTTP/2", async (method) => {
    const { answers, isClosed } = await converse(router.port, `${head(method, "/API/a", ["Content-Length: 3"])}abc${SMUGGLED}`, { answers: 9 });
    expect([isClosed, answers.every(({ status }) => status >= 400)]).toEqual([true, true]);
    const client = await router.h2();
    expect((await client.ended(client.request(client.fields(method, "/API/b")))).status).toBe(501);
    client.close();
    expect(router.arrived).toEqual([]);
  });

  test.each(["TRACE", "CONNECT"])("%s gets 405 without reaching anybody, and what it had for a body is no request", async (method) => {
    for (const [lines, body] of [[[], ""], [[`Content-Length: ${SMUGGLED.length}`], SMUGGLED], [["Transfer-Encoding: chunked"], `3\r\nabc\r\n0\r\n\r\n`]] as const) {
      const { status, next } = await attack(head(method, "/API/a", lines) + body);
      expect([method, status]).toEqual([method, 405]);
      expect(router.targets.filter((target) => target !== "pyos GET /API/next")).toEqual([]);
      await expectUnpoisoned(method, next);
      router.reset();
    }
  });

  test("CONNECT to an authority opens no tunnel, and what is sent into it reaches nobody", async () => {
    for (const target of [`127.0.1.1:${router.pyos.port}`, "localhost:443", "*"]) {
      const { answers } = await converse(router.port, `CONNECT ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      expect([target, answers[0]?.status]).toEqual([target, 405]);
      await converse(router.port, `CONNECT ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n\x16\x03\x01\x02\x00\x01`);
    }
    expect(router.arrived).toEqual([]);
  });

  test("OPTIONS for the whole server is nobody's, for a path it is the service's", async () => {
    expect((await converse(router.port, head("OPTIONS", "*"))).answers[0]?.status).toBe(400);
    expect(router.arrived).toEqual([]);
    expect((await converse(router.port, head("OPTIONS", "/API/a", ["Origin: https://a.test", "Access-Control-Request-Method: PUT"]))).answers[0]?.status).toBe(200);
    expect(router.targets).toEqual(["pyos OPTIONS /API/a"]);
  });
});

describe.skipIf(!HAS_OPENSSL)("an upgrade that is none", () => {
  const WEBSOCKET = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];

  test.each([
    ["h2c by prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"], ["TLS", "\x16\x03\x01\x00\x05hello"], ["SSH", "SSH-2.0-x\r\n"], ["SMTP", "EHLO x\r\nMAIL FROM:<a>\r\n"],
    ["PROXY protocol 1 that nobody asked for", `PROXY TCP4 6.6.6.6 127.0.0.1 1 2\r\n${head("GET", "/API/a")}`],
    ["PROXY protocol 2 that nobody asked for", `\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x06\x06\x06\x06\x7f\0\0\x01\0\x01\0\x02${head("GET", "/API/a")}`],
  ])("%s on the plain port is no request", async (_name, bytes) => {
    for (const port of [router.port, router.door.port]) {
      const { isClosed } = await converse(port, bytes, { answers: 9 });
      expect([isClosed, router.arrived]).toEqual([true, []]);
    }
  });

  test.each([200, 204, 304, 403, 426, 500])("an upgrade that is answered with %d is no tunnel: what its client sent into it arrives nowhere", async (status) => {
    router.pyos.answer = (request, connection) => connection.write(request.target === "/API/next" ? "HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\npyos GET /API/next" : `HTTP/1.1 ${status} X\r\nContent-Length: 0\r\n\r\n`);
    const client = await RawClient.open(router.port);
    client.write(head("GET", "/API/up", WEBSOCKET));
    await client.until(() => readAnswers(client.text).length === 1);
    expect(client.status).not.toBe(101);
    client.write(SMUGGLED.replace("smuggled", "mine"));
    await client.until(() => client.isClosed || readAnswers(client.text).length === 2);
    client.close();
    // Its own next request, read as one; not bytes of a tunnel, which the first one's connection would have got.
    expect(router.pyos.requests.filter(({ target }) => target === "/API/mine").length).toBeLessThanOrEqual(1);
    await expectUnpoisoned(String(status), null);
  });

  test("a version that the service does not know either opens no tunnel", async () => {
    const lines = WEBSOCKET.map((line) => line.replace("13", "777"));
    const { answers } = await converse(router.port, head("GET", "/API/up", lines) + SMUGGLED, { answers: 1 });
    expect([answers[0]?.status, answers[0]?.one("sec-websocket-version")]).toEqual([426, "13"]);
    expect(router.targets).not.toContain("pyos GET /API/up");
  });
});

describe.skipIf(!HAS_OPENSSL)("Expect: 100-continue", () => {
  const expecting = post([`Content-Length: ${SMUGGLED.length}`, "Expect: 100-continue"], "");

  test("with a client that sends its next request in place of the body: it is the body", async () => {
    const client = await RawClient.open(router.port);
    client.write(expecting);
    await client.until(() => client.text.includes("100 Continue"));
    client.write(SMUGGLED);
    await client.until(() => readAnswers(client.text).length === 1);
    client.close();
    expect(router.arrived.map(({ target, body }) => [target, body])).toEqual([["/API/a", SMUGGLED]]);
    await router.expectClean();
  });

  test("with an upstream that answers before the body is there: nothing is left of it on either side", async () => {
    router.pyos.answer = (request, connection) => connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${`pyos GET ${request.target}`.length}\r\n\r\npyos GET ${request.target}`);
    const client = await RawClient.open(router.port);
    // Long enough to be streamed: the upstream gets its head before its body.
    client.write(post(["Content-Length: 200000", "Expect: 100-continue"], ""));
    await eventually("the head upstream", () => router.pyos.unfinished.length, (count) => count === 1);
    const [connection] = [...router.pyos.connections].filter(({ rest }) => rest !== "");
    connection?.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    await client.until(() => readAnswers(client.text).length === 1);
    await eventually("the end of the upstream's connection", () => connection?.isClosed, (isClosed) => isClosed === true);
    client.write(SMUGGLED.padEnd(200_000, "x") + head("GET", "/API/next"));
    await client.until(() => client.isClosed || readAnswers(client.text).length === 2);
    client.close();
    expect(router.targets.filter((target) => target !== "pyos GET /API/next")).toEqual([]);
    await router.expectClean();
  });
});

describe.skipIf(!HAS_OPENSSL)("a length that is not kept", () => {
  test.each([100, 70_000])("by a client that leaves after half of %d bytes: nothing whole arrives, and nothing of it stays", async (bytes) => {
    const client = await RawClient.open(router.port);
    client.write(post([`Content-Length: ${bytes}`], "x".repeat(bytes / 2)));
    if (bytes > 65_536) await eventually("half of it upstream", () => router.pyos.unfinished.join("").length, (length) => length > bytes / 2);
    client.close();
    await eventually("nothing running", () => router.router.app.counts.running, (running) => running === 0);
    await eventually("the end of what was begun", () => router.faults, (faults) => faults.length === 0);
    expect(router.arrived).toEqual([]);
    await router.expectClean();
  });

  test("by a client that sends more: the rest is its next request, and malformed", async () => {
    const { answers, isClosed } = await converse(router.port, `${post(["Content-Length: 3"], "abc")}more\r\n\r\n`, { answers: 9 });
    expect([isClosed, answers.length <= 2]).toEqual([true, true]);
    for (const { body } of router.arrived) expect(body).toBe("abc");
    await router.expectClean();
  });
});
