// What the project relies on in Bun.serve, bare: a Bun that behaves otherwise must fail here, loudly and by name, before it
// fails in front of a desktop. Where a test pins down a flaw, the code that lives with it is named; when Bun mends the flaw,
// that code can go.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { type Answer, ask, converse, head, inTurn } from "../support/http.ts";
import { RawClient } from "../support/raw.ts";

type Handler = (request: Request, server: Bun.Server<undefined>) => Response | Promise<Response>;

let handler: Handler;
let server: Bun.Server<undefined>;
/** Requests that reached the handler. */
let handled = 0;
beforeAll(() => {
  server = Bun.serve({
    hostname: "127.0.0.1", port: 0, development: false, reusePort: false, maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    fetch: (request, self) => { handled += 1; return handler(request, self); },
    error: () => new Response("error", { status: 500 }),
  });
});
afterAll(() => server.stop(true));
beforeEach(() => { handled = 0; });

const port = (): number => server.port as number;
const answerWith = async (make: () => Response,
  method = "GET"): Promise<Answer> => { handler = make; return await ask(port(), head(method, "/")); };

/** What the handler saw of one request. */
async function seenBy(request: string): Promise<{ url: string; headers: Record<string,
  string>; body: string; method: string }> {
  handler = async (raw) => Response.json({ url: raw.url, headers: raw.headers.toJSON(), method: raw.method,
    body: await raw.text() });
  return JSON.parse(Buffer.from((await ask(port(), request)).body,
    "latin1").toString()) as { url: string; headers: Record<string, string>; body: string; method: string };
}

describe("request.url (proxy/request.ts rests on it)", () => {
  const CASES: ReadonlyArray<readonly [target: string, url: string]> = [
    ["/a/../b", "/b"], ["/a/%2e%2E/b", "/b"], ["/a/./b", "/a/b"], ["/a\\b", "/a/b"], ["/\\evil", "//evil"],
    ["/a/%2e", "/a/"], ["/<x>", "/%3Cx%3E"], ["/\xe9", "/%EF%BF%BD"],
    ["//a//b", "//a//b"], ["/a%2Fb", "/a%2Fb"], ["/%zz", "/%zz"], ["/%00", "/%00"], ["/a;b", "/a;b"],
    ["/..;/a", "/..;/a"], ["/..%2fa", "/..%2fa"], ["/a?b\\c/../d", "/a?b\\c/../d"], ["/a#b", "/a#b"],
    ["http://evil.example/a", "/a"],
  ];
  test.each(CASES)("%s is handed out as %s", async (target, path) => {
    expect((await seenBy(head("GET", target))).url).toBe(`http://localhost${path}`);
  });

  test.each(["", "a b", "a/b",
    "a@b"])("is a bare path when Host is %p, so an address never comes out of a bad Host", async (host) => {
    expect((await seenBy(head("GET", "/x", [`Host: ${host}`]))).url).toBe("/x");
  });
});

describe("request headers", () => {
  test("two Hosts are joined by a comma, which no host contains", async () => {
    expect((await seenBy(head("GET", "/", ["Host: a.test", "Host: b.test"]))).headers["host"]).toBe("a.test, b.test");
  });

  test("names are in lower case, values joined, and bytes above 7F kept", async () => {
    const { headers } = await seenBy(head("GET", "/",
      ["X-Dup: 1", "x-dup: 2", "Cookie: a", "Cookie: b", "X-Latin: \xe9\xff", "X_Under: 1"]));
    expect(headers).toMatchObject({ "x-dup": "1, 2", cookie: "a; b", "x-latin": "\xe9\xff", "x_under": "1" });
  });

  test("blanks around a value are gone, a no-break space is not", async () => {
    expect((await seenBy(head("GET", "/", ["X: \t a\xa0 \t"]))).headers["x"]).toBe("a\xa0");
  });
});

describe("request bodies", () => {
  test.each(["GET",
    "HEAD"])("that of a %s is thrown away while its Content-Length stays: framing cannot be copied (proxy/request-body.ts)", async (method) => {
    let seen: { length: string | null; body: unknown } | null = null;
    handler = (raw) => { seen ??= { length: raw.headers.get("content-length"),
      body: raw.body }; return new Response("ok"); };
    const { answers } = await inTurn(port(),
      [`${head(method, "/", ["Content-Length: 5"])}hello`, head("GET", "/next")]);
    expect(seen as unknown).toEqual({ length: "5", body: null });
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
  });

  test("the same length twice is let through as \"3, 3\" (proxy/request-body.ts refuses it)", async () => {
    expect((await seenBy(`${head("POST", "/", ["Content-Length: 3", "Content-Length: 3"])}abc`)).headers["content-length"]).toBe("3, 3");
  });

  test("a length of 8 GiB is accepted: every route has its own limit", async () => {
    handler = (raw) => new Response(raw.headers.get("content-length"));
    expect((await ask(port(), head("POST", "/", ["Content-Length: 8589934592"]))).body).toBe("8589934592");
  });

  test("one that is not read is read over, and the next request is its own", async () => {
    handler = (raw) => new Response(new URL(raw.url).pathname);
    const { answers } = await inTurn(port(),
      [head("POST", "/a", ["Content-Length: 300000"]) + "GET /x HTTP/1.1\r\nHost: x\r\n\r\n".padEnd(300_000, "x"),
      head("GET", "/b")]);
    expect(answers.map(({ body }) => body)).toEqual(["/a", "/b"]);
    expect(handled).toBe(2);
  });

  test("Expect: 100-continue is answered by Bun", async () => {
    handler = async (raw) => new Response(await raw.text());
    const { text } = await converse(port(), `${head("POST", "/", ["Expect: 100-continue", "Content-Length: 3"])}abc`);
    expect(text).toStartWith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK");
  });

  test("one that its client leaves in the middle of fails to read: it is never taken for whole", async () => {
    const { promise, resolve } = Promise.withResolvers<string>();
    const started = Promise.withResolvers<void>();
    handler = async (raw) => {
      started.resolve();
      resolve(await raw.bytes().then(() => "whole", () => "failed"));
      return new Response();
    };
    const client = await RawClient.open(port());
    client.write(`${head("POST", "/", ["Content-Length: 10"])}hello`);
    await started.promise;
    client.close();
    expect(await promise).toBe("failed");
  });
});

describe("the parser refuses before the handler sees anything", () => {
  const post = (lines: readonly string[], body = ""): string => head("POST", "/", lines) + body;
  const CASES: ReadonlyArray<readonly [name: string, bytes: string]> = [
    ["Content-Length and Transfer-Encoding", post(["Content-Length: 3", "Transfer-Encoding: chunked"], "0\r\n\r\n")],
    ["two different lengths", post(["Content-Length: 3", "Content-Length: 4"], "abcd")],
    ["a signed length", post(["Content-Length: +3"], "abc")],
    ["a hexadecimal length", post(["Content-Length: 0x3"], "abc")],
    ["a length list", post(["Content-Length: 3, 3"], "abc")],
    ["a list of codings", post(["Transfer-Encoding: gzip, chunked"], "0\r\n\r\n")],
    ["chunked twice", post(["Transfer-Encoding: chunked, chunked"], "0\r\n\r\n")],
    ["xchunked", post(["Transfer-Encoding: xchunked"], "0\r\n\r\n")],
    ["a space before the colon", post(["Transfer-Encoding : chunked"], "0\r\n\r\n")],
    ["a folded line", post(["X: a\r\n b: c"])], ["a bare LF", post(["X: a\nY: b"])], ["a bare CR", post(["X: a\rb"])],
    ["a NUL", post(["X: \0"])],
    ["an empty name", post([": x"])],
    ["chunked in HTTP/1.0", "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    ["no Host in HTTP/1.1", "GET / HTTP/1.1\r\n\r\n"],
    ["a space in the target", head("GET", "/a b")], ["a tab in the target", head("GET", "/a\tb")],
    ["a NUL in the target", head("GET", "/\0")], ["HTTP/0.9", "GET /\r\n\r\n"],
    ["HTTP/2.0", "GET / HTTP/2.0\r\nHost: x\r\n\r\n"],
    ["a head over 64 KiB", head("GET", "/", [`X: ${"x".repeat(70_000)}`])],
    ["200 header lines", head("GET", "/", Array.from({ length: 200 }, (_, i) => `X-${i}: y`))],
    ["an unknown method", head("FOO", "/")], ["a method in lower case", head("get", "/")],
  ];
  test.each(CASES)("%s", async (_name, bytes) => {
    handler = () => new Response("handled");
    const { text } = await converse(port(), bytes);
    expect(text).not.toContain("handled");
    expect(handled).toBe(0);
  });

  test("malformed chunks fail the body that is being read", async () => {
    for (const body of ["3 \r\nabc\r\n0\r\n\r\n", "3\nabc\r\n0\r\n\r\n", "3;a\nb\r\nabc\r\n0\r\n\r\n",
      "3\r\nabcX\r\n0\r\n\r\n", "0x3\r\nabc\r\n0\r\n\r\n"]) {
      handler = async (raw) => new Response(`whole: ${await raw.text()}`);
      const { text, isClosed } = await converse(port(), head("POST", "/", ["Transfer-Encoding: chunked"]) + body,
        { answers: 2 });
      expect([isClosed, text.includes("whole")]).toEqual([true, false]);
    }
  });
});

describe("pipelining", () => {
  test("a request behind one that is not answered yet closes the connection, without an answer to either (docs/ARCHITECTURE.md)", async () => {
    handler = async () => { await Bun.sleep(5); return new Response("late"); };
    const { answers, isClosed } = await converse(port(), head("GET", "/1") + head("GET", "/2"), { answers: 2 });
    expect([answers.length, isClosed]).toEqual([0, true]);
  });

  test("behind one that is answered at once is fine", async () => {
    handler = (raw) => new Response(new URL(raw.url).pathname);
    const { answers } = await converse(port(), head("GET", "/1") + head("GET", "/2"), { answers: 2 });
    expect(answers.map(({ body }) => body)).toEqual(["/1", "/2"]);
  });
});

/** A body that comes later, so that nobody can know its length. */
function late(...parts: string[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    async start(controller) {
      for (const part of parts) {
        await Bun.sleep(1);
        controller.enqueue(Buffer.from(part));
      }
      controller.close();
    },
  });
}

function complete(text: string): ReadableStream<Uint8Array> {
  return new ReadableStream({ start(controller) { controller.enqueue(Buffer.from(text)); controller.close(); } });
}

describe("answers (proxy/proxy.ts, #respond)", () => {
  const TYPE = { "content-type": "a/b" };

  test("a buffer keeps its length", async () => {
    const answer = await answerWith(() => new Response(Buffer.from("hello"), { headers: TYPE }));
    expect([answer.one("content-length"), answer.one("transfer-encoding")]).toEqual(["5", null]);
  });

  test("a stream loses the length that it was given, and is chunked", async () => {
    const answer = await answerWith(() => new Response(late("hel", "lo"),
      { headers: { ...TYPE, "content-length": "5" } }));
    expect([answer.one("content-length"), answer.isChunked, answer.body]).toEqual([null, true, "hello"]);
  });

  test("a typeless buffer is labelled octet-stream; a stream that is complete already is not, and keeps its length", async () => {
    expect((await answerWith(() => new Response(Buffer.from("hello")))).one("content-type")).toBe("application/octet-stream");
    const answer = await answerWith(() => new Response(complete("hello")));
    expect([answer.one("content-type"), answer.one("content-length"), answer.body]).toEqual([null, "5", "hello"]);
  });

  test("the answer to HEAD keeps the length of its header, claims 0 without one, and claims nothing with Transfer-Encoding", async () => {
    expect((await answerWith(() => new Response(null, { headers: { "content-length": "12345" } }),
      "HEAD")).one("content-length")).toBe("12345");
    expect((await answerWith(() => new Response(null), "HEAD")).one("content-length")).toBe("0");
    expect((await answerWith(() => new Response(null, { headers: { "transfer-encoding": "chunked" } }),
      "HEAD")).one("content-length")).toBeNull();
  });

  test("Date is added to every answer but that to HEAD, and one of our own takes its place", async () => {
    expect((await answerWith(() => new Response("x"))).all("date")).toHaveLength(1);
    expect((await answerWith(() => new Response("x"), "HEAD")).all("date")).toHaveLength(0);
    const date = "Mon, 01 Jan 2024 00:00:00 GMT";
    for (const method of ["GET",
      "HEAD"]) expect((await answerWith(() => new Response("x", { headers: { date } }),
      method)).all("date")).toEqual([date]);
  });

  test("304 keeps its length, 204 has none", async () => {
    expect((await answerWith(() => new Response(null,
      { status: 304, headers: { "content-length": "9" } }))).one("content-length")).toBe("9");
    expect((await answerWith(() => new Response(null, { status: 204 }))).one("content-length")).toBeNull();
  });

  test("a status above 599 cannot be made (upstream/response-head.ts refuses it)", () => {
    expect(() => new Response("x", { status: 600 })).toThrow(RangeError);
  });

  test("several Set-Cookie stay several, other headers keep their bytes, and no Server is added", async () => {
    const answer = await answerWith(() => new Response("x",
      { headers: [["set-cookie", "a=1"], ["set-cookie", "b=2"], ["x-latin", "\xe9\xff"]] }));
    expect([answer.all("set-cookie"), answer.one("x-latin"), answer.one("server")]).toEqual([["a=1", "b=2"], "\xe9\xff",
      null]);
  });

  test("a stream that fails cuts the connection: it is never a clean end", async () => {
    handler = () => new Response(new ReadableStream({
      async pull(controller) {
        await Bun.sleep(1);
        controller.enqueue(Buffer.from("hello"));
        await Bun.sleep(1);
        controller.error(new Error("upstream died"));
      },
    }));
    const client = await RawClient.open(port());
    client.write(head("GET", "/"));
    await client.until(() => client.isClosed);
    expect(client.text).toContain("hello");
    expect(client.text.endsWith("0\r\n\r\n")).toBe(false);
  });

  test("a stream is cancelled when its client leaves", async () => {
    const { promise, resolve } = Promise.withResolvers<string>();
    handler = () => new Response(new ReadableStream({
      start: (controller) => { controller.enqueue(Buffer.from("hello")); },
      cancel: () => resolve("cancelled"),
    }));
    const client = await RawClient.open(port());
    client.write(head("GET", "/"));
    await client.until(() => client.text.includes("hello"));
    client.close();
    expect(await promise).toBe("cancelled");
  });

  test("a stream is not pulled while its client does not read", async () => {
    let pulled = 0;
    handler = () => new Response(new ReadableStream({
      async pull(controller) {
        await Bun.sleep(0);
        controller.enqueue(Buffer.alloc(65_536));
        pulled += 65_536;
        if (pulled >= 256 * 1024 ** 2) controller.close();
      },
    }));
    const client = await RawClient.open(port());
    client.socket.pause();
    client.write(head("GET", "/"));
    let last = -1;
    for (let quietSince = Date.now(); Date.now() - quietSince < 300;) {
      if (pulled !== last) [last, quietSince] = [pulled, Date.now()];
      await Bun.sleep(10);
    }
    client.close();
    expect(pulled).toBeLessThan(32 * 1024 ** 2);
  });
});

describe("request.signal (proxy/visit.ts)", () => {
  test.each([["is listened to in time", true],
    ["is first looked at when the client is gone",
    false]])("tells that the client left when it %s", async (_name, early) => {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const hold = Promise.withResolvers<Response>();
    const started = Promise.withResolvers<void>();
    let look: () => void = () => {};
    handler = (raw) => {
      started.resolve();
      if (early) raw.signal.addEventListener("abort", () => resolve(true));
      else look = () => resolve(raw.signal.aborted);
      return hold.promise;
    };
    const client = await RawClient.open(port());
    client.write(head("GET", "/"));
    await started.promise;
    client.close();
    // The close has reached Bun when it answers a later connection.
    if (!early) {
      handler = () => new Response("later");
      for (let i = 0; i < 3; i += 1) await ask(port(), head("GET", "/"));
      look();
    }
    expect(await promise).toBe(true);
    hold.resolve(new Response());
  });
});

describe("listening", () => {
  test("without reusePort a second server on the same port is refused", () => {
    expect(() => Bun.serve({ hostname: "127.0.0.1", port: port(), reusePort: false, development: false,
      fetch: () => new Response() }))
      .toThrow(expect.objectContaining({ code: "EADDRINUSE" }) as unknown as Error);
  });

  test("on all addresses an IPv4 client is spelled ::ffff:a.b.c.d (lib/address.ts)", async () => {
    const all = Bun.serve({ hostname: "::", port: 0, reusePort: false, development: false,
      fetch: (raw, self) => new Response(self.requestIP(raw)?.address ?? "") });
    try {
      expect(["127.0.0.1", "::ffff:127.0.0.1"]).toContain((await ask(all.port as number, head("GET", "/"))).body);
    } finally {
      await all.stop(true);
    }
  });
});
