// Upstreams that attack: every byte in every place of an answer, framing that means two things, answers that cost more than
// they are worth. A desktop belongs to its user, so an upstream is no more trusted than a client: what it says is one clear
// answer or a 502, its connection then ends, and the next one's answer is his own. http-upstream.test.ts has the named cases.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { ask, converse, head, inTurn } from "../support/http.ts";
import { KeyFiles } from "../support/keys.ts";
import { RawClient } from "../support/raw.ts";
import { answerPlainly, type RecordedConnection, Recorder } from "../support/recorder.ts";
import { RecordingRouter } from "../support/recording-router.ts";
import { TestRouter } from "../support/router.ts";
import { ServeProcess, settled } from "../support/ws-client.ts";

let router: RecordingRouter;
beforeAll(async () => { if (HAS_OPENSSL) router = await RecordingRouter.start(); });
afterAll(() => router?.stop());
beforeEach(() => router?.reset(true));

const BYTES = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code));
const shown = (text: string): string => JSON.stringify(text);
const GET = head("GET", "/API/x");
const MIB = 1024 ** 2;

/** The answer to `/API/x` from now on; everything else is answered plainly. */
function answerWith(text: string, then: (connection: RecordedConnection) => void = () => {}): void {
  router.pyos.answer = (request, connection) => {
    if (request.target !== "/API/x") return answerPlainly(request, connection);
    connection.write(text);
    then(connection);
  };
}

type Place = readonly [name: string, make: (byte: string) => string, clear: RegExp, more?: RegExp];

describe.skipIf(!HAS_OPENSSL)("every byte of an answer", () => {
  const NONE = /^$/;
  const BLANK = /^[\t ]$/;
  const OK = "HTTP/1.1 200 OK\r\n";
  const PLAIN = `${OK}Content-Length: 3\r\n\r\nabc`;
  const TCHAR = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]$/;
  const VALUE = /^[\t\x20-\x7e\x80-\xff]$/;
  const chunked = (body: string): string => `${OK}Transfer-Encoding: chunked\r\n\r\n${body}`;
  /** @param clear bytes with which it is still an answer of "abc"; @param more those with which it asks for more bytes than come */
  const PLACES: readonly Place[] = [
    ["before it", (byte) => byte + PLAIN, NONE],
    ["in its version", (byte) => PLAIN.replace("1.1", `1${byte}1`), /^\.$/],
    ["as its minor version", (byte) => PLAIN.replace("1.1", `1.${byte}`), /^[01]$/],
    ["before its status", (byte) => PLAIN.replace(" 200", `${byte}200`), /^ $/],
    ["within its status", (byte) => PLAIN.replace("200", `2${byte}1`), /^[0-9]$/],
    ["behind its status", (byte) => PLAIN.replace("200 OK", `200${byte}OK`), /^ $/],
    ["in its reason", (byte) => PLAIN.replace("OK", `O${byte}K`), VALUE],
    ["in a name", (byte) => PLAIN.replace("Content-", `X${byte}A: y\r\nContent-`), /^[!#$%&'*+\-.^_`|~0-9A-Za-z:]$/],
    ["in a value", (byte) => PLAIN.replace("Content-", `X-A: a${byte}b\r\nContent-`), VALUE],
    ["at the start of a line", (byte) => PLAIN.replace("Content-", `X: y\r\n${byte}A: b\r\nContent-`), TCHAR],
    ["before its length", (byte) => PLAIN.replace(" 3", `${byte}3`), BLANK, /^\d$/],
    ["behind its length", (byte) => PLAIN.replace(" 3", ` 3${byte}`), BLANK, /^\d$/],
    ["before the colon of its length", (byte) => PLAIN.replace("Length:", `Length${byte}:`), NONE, TCHAR],
    ["for the hyphen of its length", (byte) => PLAIN.replace("Content-", `Content${byte}`), /^-$/, /^[!#$%&'*+.^_`|~0-9A-Za-z:]$/],
    ["before chunked", (byte) => chunked("3\r\nabc\r\n0\r\n\r\n").replace(" chunked", `${byte}chunked`), BLANK],
    ["behind chunked", (byte) => chunked("3\r\nabc\r\n0\r\n\r\n").replace("chunked", `chunked${byte}`), BLANK],
    ["before a size", (byte) => chunked(`${byte}3\r\nabc\r\n0\r\n\r\n`), /^0$/, /^[1-9A-Fa-f]$/],
    ["behind a size", (byte) => chunked(`3${byte}\r\nabc\r\n0\r\n\r\n`), /^;$/, /^[0-9A-Fa-f]$/],
    ["in an extension", (byte) => chunked(`3;a${byte}b\r\nabc\r\n0\r\n\r\n`), /^[^\r\n]$/],
    ["behind the data", (byte) => chunked(`3\r\nabc${byte}\r\n0\r\n\r\n`), NONE],
    ["for a size's CR", (byte) => chunked(`3${byte}\nabc\r\n0\r\n\r\n`), /^\r$/, /^[0-9A-Fa-f]$/],
    ["for the last CR", (byte) => chunked(`3\r\nabc\r\n0\r\n${byte}\n`), /^\r$/],
    ["in the name of a trailer", (byte) => chunked(`3\r\nabc\r\n0\r\nX${byte}Y: z\r\n\r\n`), /^[!#$%&'*+\-.^_`|~0-9A-Za-z:]$/],
  ];
  test.each(PLACES)("%s leaves the answer that was meant, or makes it a 502 whose connection ends", async (name, make, clear, more = NONE) => {
    for (const byte of BYTES) {
      if (more.test(byte)) continue;
      answerWith(make(byte));
      const { answers } = await inTurn(router.port, [GET, head("GET", "/API/next")]);
      const what = `${name} ${shown(byte)}`;
      const [first, next] = answers;
      if (clear.test(byte)) expect([what, (first?.status ?? 0) < 300, first?.body]).toEqual([what, true, "abc"]);
      else {
        expect([what, first?.status, first?.body]).toEqual([what, 502, "bad gateway\n"]);
        await eventually("the end of its connection", () => router.pyos.connections.size, (open) => open <= 1);
      }
      expect([what, next?.body]).toEqual([what, "pyos GET /API/next"]);
      expect([what, router.faults]).toEqual([what, []]);
    }
  }, 60_000);

  test("in a value reaches the client as it was", async () => {
    for (const byte of BYTES.filter((one) => VALUE.test(one))) {
      answerWith(PLAIN.replace("Content-", `X-A: a${byte}b\r\nContent-`));
      expect((await ask(router.port, GET)).one("x-a")).toBe(`a${byte}b`);
    }
  });
});

describe.skipIf(!HAS_OPENSSL)("an answer that means two things is a 502, and its connection ends", () => {
  const OK = "HTTP/1.1 200 OK\r\n";
  const POISON = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
  const CASES: ReadonlyArray<readonly [name: string, bytes: string]> = [
    ["chunks in HTTP/1.0", `HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${POISON}`],
    ["chunks and a length", `${OK}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n${POISON}`],
    ["chunks that Connection names, and a length", `${OK}Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`],
    ["a length of 16 digits", `${OK}Content-Length: 9007199254740993\r\n\r\n`], ["a length in two parts", `${OK}Content-Length: 3, 3\r\n\r\nabc`],
    ["a status line twice", `${OK}${OK}\r\n`], ["an interim answer with a body", `HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\nabc${OK}Content-Length: 0\r\n\r\n`],
    ["an interim answer of two meanings", `HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n${OK}Content-Length: 0\r\n\r\n`],
    ["101 and then an answer", `HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n${POISON}`],
    ["an answer in HTTP/2 frames", "\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\x10\0\0\0\0\0\0\0\0"], ["an answer in TLS", "\x15\x03\x03\0\x02\x02\x46"], ["HTML without a head", "<html>hello</html>\r\n\r\n"],
    ["501 header lines", `${OK}${Array.from({ length: 501 }, (_, index) => `X-${index}: y\r\n`).join("")}Content-Length: 0\r\n\r\n`],
  ];
  test.each(CASES)("%s", async (_name, bytes) => {
    answerWith(bytes);
    const before = router.pyos.accepted;
    const { answers } = await inTurn(router.port, [GET, head("GET", "/API/next"), head("GET", "/API/last")]);
    expect(answers.map(({ status, body }) => [status, body])).toEqual([[502, "bad gateway\n"], [200, "pyos GET /API/next"], [200, "pyos GET /API/last"]]);
    expect(router.pyos.accepted - before).toBe(2);
    const client = await router.h2();
    expect((await client.ended(client.get("/API/x"))).status).toBe(502);
    client.close();
  });

  test("a trailer that is another answer is not read over: the stream is cut, or it is a 502", async () => {
    for (const pieces of [["3\r\nabc\r\n0\r\nHTTP/1.1 304 Not Modified\r\n\r\n"], ["3\r\nabc\r\n", "0\r\nHTTP/1.1 304 Not Modified\r\n\r\n"]]) {
      answerWith("HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n", (connection) => {
        for (const [index, piece] of pieces.entries()) setTimeout(() => connection.write(piece), index * 50);
      });
      const client = await RawClient.open(router.port);
      client.write(GET);
      await client.until(() => client.isClosed || client.status === 502);
      expect(client.text.endsWith("0\r\n\r\n")).toBe(false);
      client.close();
      await eventually("the end of its connection", () => router.pyos.connections.size, (open) => open === 0);
    }
  });
});

describe.skipIf(!HAS_OPENSSL)("an answer without a body", () => {
  const POISON = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
  const HEADS: ReadonlyArray<readonly [status: string, lines: string]> = ["204 No Content", "304 Not Modified"].flatMap((status) =>
    ["", "Content-Length: 0\r\n", `Content-Length: ${POISON.length}\r\n`, "Transfer-Encoding: chunked\r\n", "Connection: close\r\n"].map((lines): readonly [string, string] => [status, lines]));

  test.each(HEADS)("%s with %p takes nothing of what follows for one, and nobody else gets it", async (status, lines) => {
    for (const method of ["GET", "HEAD", "POST"]) {
      answerWith(`HTTP/1.1 ${status}\r\n${lines}\r\n${POISON}`);
      const { answers } = await inTurn(router.port, [head(method, "/API/x"), head("GET", "/API/next")]);
      expect([method, ...answers.map(({ status: got, body }) => [got, body])]).toEqual([method, [Number(status.slice(0, 3)), ""], [200, "pyos GET /API/next"]]);
    }
  });

  test.each(["", "Content-Length: 61\r\n", "Transfer-Encoding: chunked\r\n"])("to HEAD with %p neither", async (lines) => {
    answerWith(`HTTP/1.1 200 OK\r\n${lines}\r\n${POISON}`);
    const { answers } = await inTurn(router.port, [head("HEAD", "/API/x"), head("GET", "/API/next")]);
    expect(answers.map(({ status, body }) => [status, body])).toEqual([[200, ""], [200, "pyos GET /API/next"]]);
    const client = await router.h2();
    const { status, bytes, isEnded } = await client.ended(client.request(client.fields("HEAD", "/API/x")));
    expect([status, bytes, isEnded]).toEqual([200, 0, true]);
    client.close();
  });
});

describe.skipIf(!HAS_OPENSSL)("what an upstream says about the connection", () => {
  test("takes away nothing of ours, nothing that frames the answer, and gives the client nothing hop-by-hop", async () => {
    answerWith("HTTP/1.1 200 OK\r\nConnection: X-Request-Id, X-Frame-Options, Content-Length, Date, X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=1\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n"
      + "Proxy-Connection: close\r\nTrailer: X\r\nTE: trailers\r\nX-Stays: 1\r\nContent-Length: 3\r\n\r\nabc");
    const answer = await ask(router.port, GET);
    expect([answer.body, answer.one("x-frame-options"), answer.one("x-stays"), answer.all("date").length, answer.all("content-length")]).toEqual(["abc", "SAMEORIGIN", "1", 1, ["3"]]);
    expect(answer.one("x-request-id")).toMatch(/^[0-9a-f]{13,32}$/);
    for (const name of ["connection", "x-hop", "keep-alive", "proxy-authenticate", "proxy-connection", "upgrade", "trailer", "te", "transfer-encoding"]) expect([name, answer.all(name)]).toEqual([name, []]);
  });

  test("never makes the client's connection a tunnel or a different protocol", async () => {
    for (const lines of ["Upgrade: websocket\r\nConnection: Upgrade\r\n", "Alt-Svc: h2=\":1\"\r\nUpgrade: TLS/1.0\r\nConnection: Upgrade\r\n"]) {
      answerWith(`HTTP/1.1 200 OK\r\n${lines}Content-Length: 0\r\n\r\n`);
      const { answers } = await inTurn(router.port, [GET, head("GET", "/API/next")]);
      expect([answers[0]?.all("upgrade"), answers[0]?.all("connection"), answers[1]?.body]).toEqual([[], [], "pyos GET /API/next"]);
    }
  });
});

describe.skipIf(!HAS_OPENSSL)("a large answer", () => {
  test("of 500 header lines, or one of 60 KiB, arrives whole by both protocols", async () => {
    const client = await router.h2();
    for (const [lines, count] of [[Array.from({ length: 499 }, (_, index) => `X-${index}: y\r\n`).join(""), 499], [`X-Long: ${"y".repeat(60_000)}\r\n`, 1], ["Set-Cookie: a=b\r\n".repeat(400), 400]] as const) {
      answerWith(`HTTP/1.1 200 OK\r\n${lines}Content-Length: 2\r\n\r\nok`);
      const answer = await ask(router.port, GET);
      expect(answer.headers.filter(([name]) => /^x-\d|^x-long|^set-cookie/.test(name)).length).toBe(count);
      expect(await client.ended(client.get("/API/x"))).toMatchObject({ status: 200, bytes: 2 });
    }
    client.close();
  });

  test("that is coded is handed on as it is: nothing here unpacks a bomb", async () => {
    const bomb = Bun.gzipSync(Buffer.alloc(64 * MIB));
    router.pyos.answer = (_request, connection) => {
      connection.write(`HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: text/html\r\nContent-Length: ${bomb.length}\r\n\r\n`);
      connection.write(Buffer.from(bomb));
    };
    const answer = await ask(router.port, head("GET", "/API/x", ["Accept-Encoding: gzip"]));
    expect([answer.one("content-encoding"), answer.body === Buffer.from(bomb).toString("latin1")]).toEqual(["gzip", true]);
  });

  test("is asked for in as many parts as the client likes, once: ranges are the service's affair", async () => {
    const ranges = `bytes=${Array.from({ length: 1300 }, (_, index) => `${index}-`).join(",")}`;
    const before = router.pyos.requests.length;
    await ask(router.port, head("GET", "/API/x", [`Range: ${ranges}`]));
    expect(router.pyos.requests.slice(before).map(({ text }) => text.includes(`range: ${ranges}\r\n`))).toEqual([true]);
  });
});

const SLOW = (url: string): string => `
entrypoints: { http: "127.0.0.1:0" }
services: { web: { url: "${url}" } }
routes: [{ path: /, service: web, readTimeout: 400ms }]
`;

describe("an upstream that buys time", () => {
  /** Writes a piece every 50 ms until its connection ends. */
  function drip(connection: RecordedConnection, piece: string): void {
    const timer = setInterval(() => {
      if (connection.isClosed) clearInterval(timer);
      else connection.write(piece);
    }, 50);
  }

  test.each([
    ["by a head that comes byte by byte", "HTTP/1.1 200 OK\r\nX: ", "x"], ["by interim answers", "", "HTTP/1.1 102 Processing\r\n\r\n"], ["by empty lines", "", "\r\n"], ["by header lines", "HTTP/1.1 200 OK\r\n", "X: y\r\n"],
  ])("%s gets the route's time for an answer, and no more", async (_name, first, piece) => {
    const upstream = new Recorder("web");
    const slow = await TestRouter.start({ config: SLOW(upstream.url) });
    try {
      upstream.answer = (_request, connection) => {
        if (first !== "") connection.write(first);
        drip(connection, piece);
      };
      const startedMs = performance.now();
      const { answers } = await converse(slow.port, head("GET", "/x"));
      expect([502, 504]).toContain(answers[0]?.status as number);
      expect(performance.now() - startedMs).toBeLessThan(1500);
      await eventually("the end of its connection", () => upstream.connections.size, (open) => open === 0);
    } finally {
      await slow.stop();
      upstream.stop();
    }
  });
});

describe("what an answer costs the process", () => {
  const TABLE = (url: string): string => `entrypoints: { http: "127.0.0.1:0" }\nservices: { web: { url: "${url}" } }\nroutes: [{ path: /, service: web }]\n`;

  async function withProcess(use: (router: ServeProcess, upstream: Recorder) => Promise<void>): Promise<void> {
    const upstream = new Recorder("web");
    const files = new KeyFiles();
    await Bun.write(files.path("routes.yaml"), TABLE(upstream.url));
    const serving = await ServeProcess.start({}, ["--config", files.path("routes.yaml")]);
    try {
      await use(serving, upstream);
    } finally {
      await serving.stop();
      files.remove();
      upstream.stop();
    }
  }

  test("in memory is bounded while its client reads nothing, also when it comes byte by byte in chunks", async () => {
    await withProcess(async (serving, upstream) => {
      const STREAMS = 8;
      const bytewise = Buffer.from("1\r\nx\r\n".repeat(170_000));
      upstream.answer = (_request, connection) => {
        connection.write("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (let mib = 0; mib < 20; mib += 1) connection.write(bytewise);
      };
      const clients = await Promise.all(Array.from({ length: STREAMS }, () => RawClient.open(serving.port)));
      const before = serving.rssBytes();
      for (const client of clients) {
        client.socket.pause();
        client.write(head("GET", "/x"));
      }
      await eventually("all of them begun", () => upstream.requests.length, (count) => count === STREAMS);
      let peak = 0;
      await settled(() => {
        peak = Math.max(peak, serving.rssBytes());
        return upstream.sentBytes;
      }, 500, 25_000);
      for (const client of clients) client.close();
      // 13 MiB a stream before short chunks were handed on together.
      expect((peak - before) / STREAMS / MIB).toBeLessThan(4);
    });
  }, 40_000);

  test("in time is bounded: 64 KiB of header lines hold nobody else up", async () => {
    await withProcess(async (serving, upstream) => {
      let lines = "";
      for (let index = 0; lines.length < 64_000; index += 1) lines += `${index.toString(36)}:\r\n`;
      upstream.answer = (request, connection) => {
        if (request.target === "/x") connection.write(`HTTP/1.1 200 OK\r\n${lines}Content-Length: 0\r\n\r\n`);
        else answerPlainly(request, connection);
      };
      expect((await ask(serving.port, head("GET", "/warm"))).status).toBe(200);
      const startedMs = performance.now();
      const answers = await Promise.all(Array.from({ length: 20 }, () => ask(serving.port, GET.replace("/API", ""))));
      expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 20 }, () => 502));
      // A third of a second each, one after the other, before they were counted.
      expect(performance.now() - startedMs).toBeLessThan(3000);
    });
  }, 30_000);
});
