// Upstreams that answer badly, twice, too early, or not at all: the client gets a whole answer or an error, never somebody
// else's bytes, and a connection that is in doubt is not used again.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import type { PodConnection, Seen } from "../support/pod.ts";
import { ask, Cluster, head, inTurn, ok } from "../support/http.ts";
import { RawClient } from "../support/raw.ts";

let cluster: Cluster;
beforeAll(async () => { cluster = await Cluster.start(); });
afterAll(() => cluster.stop());
beforeEach(() => {
  cluster.reset();
  // Every test begins without connections.
  for (const socket of cluster.services.open) socket.terminate();
});

const GET = head("GET", "/API");

/** Answers the first request with `bytes` and later ones plainly. */
function answerOnce(bytes: string, then: (connection: PodConnection) => void = () => {}): void {
  cluster.services.answer((seen, connection) => {
    if (seen.target !== "/API") return connection.write(ok(seen.target));
    connection.write(bytes);
    then(connection);
  });
}

/** What the client gets, and then the next client, whose request must not meet the first one's connection. */
async function expectBadGateway(): Promise<void> {
  const before = cluster.services.accepted;
  const answer = await ask(cluster.port, GET);
  expect([answer.status, answer.body]).toEqual([502, "bad gateway\n"]);
  expect((await ask(cluster.port, head("GET", "/API/next"))).body).toBe("/API/next");
  expect(cluster.services.accepted - before).toBe(2);
  await cluster.services.until(() => cluster.services.open.size === 1);
}

describe("an answer that is no clear answer is a 502, and its connection is closed", () => {
  const OK = "HTTP/1.1 200 OK\r\n";
  const CASES: ReadonlyArray<readonly [name: string, bytes: string]> = [
    ["Content-Length and Transfer-Encoding",
      `${OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`],
    ["two different lengths", `${OK}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!`],
    ["a malformed length", `${OK}Content-Length: 5x\r\n\r\nhello`],
    ["an unknown transfer coding", `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n`],
    ["a folded header", `${OK}X: a\r\n b\r\nContent-Length: 0\r\n\r\n`],
    ["a bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"], ["a NUL", `${OK}X: \0\r\nContent-Length: 0\r\n\r\n`],
    ["a space before the colon", `${OK}Content-Length : 0\r\n\r\n`],
    ["status 600", "HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n"],
    ["status 999 with an endless body", "HTTP/1.1 999 X\r\nContent-Length: 99999999\r\n\r\nxxx"],
    ["status 42", "HTTP/1.1 42 X\r\nContent-Length: 0\r\n\r\n"],
    ["101 that nobody asked for",
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"],
    ["nine interim answers", `${"HTTP/1.1 100 Continue\r\n\r\n".repeat(9)}${OK}Content-Length: 0\r\n\r\n`],
    ["HTTP/2", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"], ["no HTTP at all", "SSH-2.0-OpenSSH_9.9\r\n\r\n"],
    ["a head of more than 64 KiB", `${OK}X: ${"x".repeat(70_000)}\r\n\r\n`],
    ["a malformed first chunk in the same read", `${OK}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n`],
  ];
  test.each(CASES)("%s", async (_name, bytes) => {
    answerOnce(bytes);
    await expectBadGateway();
  });

  test.each([["ends", (connection: PodConnection) => connection.close()],
    ["is reset", (connection: PodConnection) => connection.cut()]])("a connection that %s before the head is whole", async (_name, end) => {
    for (const bytes of ["", "HTTP/1.1 200 OK\r\nX: y\r\n"]) {
      answerOnce(bytes, end);
      const answer = await ask(cluster.port, GET);
      expect([answer.status, answer.body]).toEqual([502, "bad gateway\n"]);
    }
  });

  test("a short body that breaks off is a 502: nothing of it was sent yet", async () => {
    answerOnce("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nhello", (connection) => connection.close());
    expect((await ask(cluster.port, GET)).status).toBe(502);
  });
});

describe("an answer with more than was asked for", () => {
  test("bytes behind the body are nobody's answer: the connection is closed", async () => {
    answerOnce(ok("mine") + ok("poison"));
    const before = cluster.services.accepted;
    const { answers } = await inTurn(cluster.port, [GET, head("GET", "/API/next"), head("GET", "/API/last")]);
    expect(answers.map(({ body }) => body)).toEqual(["mine", "/API/next", "/API/last"]);
    expect(cluster.services.accepted - before).toBe(2);
  });

  test.each([["a 204", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"],
    ["a 304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello"],
    ["a last chunk",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"]])("bytes behind %s, too", async (_name, bytes) => {
    answerOnce(bytes);
    const before = cluster.services.accepted;
    const { answers } = await inTurn(cluster.port, [GET, head("GET", "/API/next")]);
    expect(answers.map(({ body }) => body)).toEqual(["", "/API/next"]);
    expect(cluster.services.accepted - before).toBe(2);
  });

  test("a body behind the answer to HEAD, too", async () => {
    cluster.services.answer((seen, connection) => connection.write(seen.method === "HEAD" ? ok("body to a HEAD") : ok(seen.target)));
    const { answers } = await inTurn(cluster.port, [head("HEAD", "/API"), head("GET", "/API/next")]);
    expect(answers.map(({ status, body }) => [status, body])).toEqual([[200, ""], [200, "/API/next"]]);
  });

  test("bytes that come while the connection is idle close it", async () => {
    let idle: PodConnection | null = null;
    answerOnce(ok("mine"), (connection) => { idle = connection; });
    expect((await ask(cluster.port, GET)).body).toBe("mine");
    (idle as PodConnection | null)?.write(ok("poison"));
    await cluster.services.until(() => cluster.services.open.size === 0);
    expect((await ask(cluster.port, head("GET", "/API/next"))).body).toBe("/API/next");
  });

  test("interim answers before the final one are fine, up to eight", async () => {
    answerOnce(`${"HTTP/1.1 102 Processing\r\n\r\n".repeat(7)}HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n${ok("final")}`);
    expect(await ask(cluster.port, GET)).toMatchObject({ status: 200, body: "final" });
  });
});

describe("an answer in pieces", () => {
  const ANSWER = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";

  test("is the same answer, cut anywhere", async () => {
    for (let cut = 1; cut < ANSWER.length; cut += 3) {
      cluster.services.answer((_seen, connection) => {
        connection.write(ANSWER.slice(0, cut));
        setImmediate(() => setImmediate(() => connection.write(ANSWER.slice(cut))));
      });
      expect((await ask(cluster.port, GET)).body).toBe("hello world");
    }
  });
});

describe("connections to upstreams", () => {
  test("are kept and used again", async () => {
    const before = cluster.services.accepted;
    for (let i = 0; i < 5; i += 1) expect((await ask(cluster.port, GET)).status).toBe(200);
    expect(cluster.services.accepted - before).toBe(1);
  });

  test.each(["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"])("are not kept after %p", async (bytes) => {
    answerOnce(bytes);
    const before = cluster.services.accepted;
    await ask(cluster.port, GET);
    await ask(cluster.port, GET);
    expect(cluster.services.accepted - before).toBe(2);
  });

  test("that the upstream closed while they were idle are not used: the next request is served", async () => {
    for (let i = 0; i < 5; i += 1) {
      expect((await ask(cluster.port, GET)).status).toBe(200);
      for (const socket of cluster.services.open) socket.end();
      await cluster.services.until(() => cluster.services.open.size === 0);
    }
    const post = await ask(cluster.port, `${head("POST", "/API", ["Content-Length: 1"])}x`);
    expect(post.status).toBe(200);
  });

  /** The upstream answers the first request of a connection and closes upon the second one, unanswered. */
  function closeUponSecond(): void {
    const used = new Set<PodConnection>();
    cluster.services.answer((seen: Seen, connection: PodConnection) => {
      if (used.has(connection)) return connection.close();
      used.add(connection);
      connection.write(ok(seen.method === "HEAD" ? "" : seen.target));
    });
  }

  test.each(["GET", "HEAD", "OPTIONS", "PUT",
    "DELETE"])("that close under a %s: it is sent once more, on a new one", async (method) => {
    closeUponSecond();
    const request = head(method, "/API/again",
      method === "PUT" ? ["Content-Length: 3"] : []) + (method === "PUT" ? "abc" : "");
    await ask(cluster.port, GET);
    expect((await ask(cluster.port, request)).status).toBe(200);
    expect(cluster.services.seen.map(({ target }) => target)).toEqual(["/API", "/API/again", "/API/again"]);
    if (method === "PUT") expect(cluster.services.seen.slice(1).map(({ body }) => body.toString())).toEqual(["abc",
      "abc"]);
  });

  test.each(["POST",
    "PATCH"])("that close under a %s: nobody knows whether it was done, so it is a 502 and never sent twice", async (method) => {
    closeUponSecond();
    await ask(cluster.port, GET);
    expect((await ask(cluster.port, `${head(method, "/API/again", ["Content-Length: 3"])}abc`)).status).toBe(502);
    expect(cluster.services.seen.map(({ target }) => target)).toEqual(["/API", "/API/again"]);
  });

  test("that close under a body which is being streamed: it cannot be sent again, so it is a 502", async () => {
    closeUponSecond();
    await ask(cluster.port, GET);
    const answer = await ask(cluster.port,
      `${head("PUT", "/API/again", ["Transfer-Encoding: chunked"])}3\r\nabc\r\n0\r\n\r\n`);
    expect(answer.status).toBe(502);
    expect(cluster.services.seen.map(({ target }) => target)).toEqual(["/API", "/API/again"]);
  });

  test("that close under the first request of a connection: it is not sent again", async () => {
    cluster.services.answer((_seen, connection) => connection.close());
    expect((await ask(cluster.port, GET)).status).toBe(502);
    expect(cluster.services.seen).toHaveLength(1);
  });

  test("are never shared by two requests at a time", async () => {
    const waiting: Array<() => void> = [];
    cluster.services.answer((seen, connection) => { waiting.push(() => connection.write(ok(seen.target))); });
    const before = cluster.services.accepted;
    const answers = Array.from({ length: 8 }, (_, i) => ask(cluster.port, head("GET", `/API/${i}`)));
    await cluster.services.until(() => waiting.length === 8);
    for (const answer of waiting.toReversed()) answer();
    expect((await Promise.all(answers)).map(({ body }) => body)).toEqual(Array.from({ length: 8 }, (_, i) => `/API/${i}`));
    expect(cluster.services.accepted - before).toBe(8);
  });

  test("of one service are not those of another", async () => {
    const { answers } = await inTurn(cluster.port,
      ["/API/1", "/console/2", "/speedtest/3", "/4", "/API/5"].map((path) => head("GET", path)));
    expect(answers.map(({ body }) => body)).toEqual(["pyos GET /API/1", "console GET /2", "speedtest GET /3",
      "website GET /4", "pyos GET /API/5"]);
  });
});

describe("an answer that comes before the request is whole", () => {
  test("reaches the client, and the connection to the upstream is not used again", async () => {
    const port = cluster.services.port("pyos");
    const early = Bun.listen<{ got: string }>({
      hostname: "127.0.1.5", port: 0,
      socket: {
        open: (socket) => { socket.data = { got: "" }; },
        data: (socket, chunk) => {
          const isFirst = socket.data.got === "";
          socket.data.got += chunk.toString("latin1");
          if (isFirst) socket.write(ok("too much for me", ["Content-Type: text/plain"], "413 Payload Too Large"));
        },
      },
    });
    expect(port).not.toBe(early.port);
    const other = await Cluster.start({ env: { PYOS_FQDN: "127.0.1.5", PYOS_SERVICE_PORT: String(early.port) } });
    const client = await RawClient.open(other.port);
    try {
      client.write(`${head("POST", "/API", ["Content-Length: 500000"])}${"x".repeat(100_000)}`);
      await client.until(() => client.text.includes("too much for me"));
      expect(client.status).toBe(413);
      for (const until = Date.now() + 5000; other.router.app.counts.upstream.open > 0 && Date.now() < until;) await Bun.sleep(5);
      expect(other.router.app.counts.upstream).toEqual({ open: 0, idle: 0 });
      // The rest of the body is still body; the request behind it is served or the connection is closed.
      client.write("y".repeat(400_000) + head("GET", "/healthz"));
      await client.until(() => client.isClosed || client.text.includes("OK\n"));
      expect(other.router.lines.filter((line) => line["message"] === "access").every((line) => line["path"] === "/API" || line["path"] === "/healthz")).toBe(true);
    } finally {
      client.close();
      await other.stop();
      early.stop(true);
    }
  });
});
