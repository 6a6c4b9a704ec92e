// The clients that people have, at the edges where frames by hand prove less: curl by both protocols (methods, ranges, Expect,
// uploads without a length, answers that break off), nghttp (padding, trailers, small windows, GOAWAY), h2load for load without
// a single failure. What arrived is read at upstreams that record.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { curl, type Ran, run } from "../support/https-client.ts";
import { type RecordedConnection, valuesOf } from "../support/recorder.ts";
import { DESK, RecordingRouter } from "../support/recording-router.ts";

const HAS_CURL = HAS_OPENSSL && Bun.which("curl") !== null;
const HAS_NGHTTP = HAS_OPENSSL && Bun.which("nghttp") !== null;
const HAS_H2LOAD = HAS_OPENSSL && Bun.which("h2load") !== null;
const MIB = 1024 ** 2;
const PROTOCOLS = [["--http1.1", "1.1"], ["--http2", "2"]] as const;

let router: RecordingRouter;
beforeAll(async () => {
  if (!HAS_OPENSSL) return;
  router = await RecordingRouter.start({
    tls: (files) => {
      files.put("local", "localhost");
      return files.section(["desk", "local"]);
    },
  });
});
afterAll(() => router?.stop());
beforeEach(() => router?.reset(true));

const get = (path: string, ...options: string[]): Promise<Ran> => curl(router.router, DESK, path, "-q", ...options);
const answerWith = (head: string, ...pieces: string[]): void => {
  router.pyos.answer = (_request, connection) => {
    connection.write(head);
    for (const [index, piece] of pieces.entries()) setTimeout(() => connection.write(piece), 30 * (index + 1));
  };
};

describe.skipIf(!HAS_CURL)("curl", () => {
  for (const [protocol, version] of PROTOCOLS) {
    describe(protocol, () => {
      test.each(["PROPFIND", "MKCOL", "LOCK", "UNLOCK", "COPY", "MOVE", "REPORT", "SEARCH", "QUERY", "PURGE", "M-SEARCH", "OPTIONS", "PATCH"])("-X %s arrives as it is, with its body", async (method) => {
        const { stdout } = await get("/API/x", protocol, "-X", method, "-H", "Depth: 1", "-d", "<x/>", "-w", " %{http_code} %{http_version}");
        expect(stdout).toBe(`pyos ${method} /API/x 200 ${version}`);
        const [request] = router.arrived;
        expect([request?.method, request?.body, valuesOf(request as never, "depth")]).toEqual([method, "<x/>", ["1"]]);
      });

      test("-X with a token that nobody knows gets no answer of another method", async () => {
        const { code, stdout } = await get("/API/x", protocol, "-X", "BREW", "-o", "/dev/null", "-w", "%{http_code}");
        expect([code === 0, stdout]).toEqual(version === "2" ? [true, "501"] : [false, "000"]);
        expect(router.arrived).toEqual([]);
      });

      test("--head sees lengths, codings and no body, and goes on with its connection", async () => {
        router.pyos.answer = ({ method, target }, connection) => connection.write(method === "HEAD" ? "HTTP/1.1 200 OK\r\nContent-Length: 123456\r\nETag: \"a\"\r\n\r\n" : `HTTP/1.1 200 OK\r\nContent-Length: ${target.length}\r\n\r\n${target}`);
        const url = (path: string): string => `https://${DESK}:${router.router.port}${path}`;
        const { stdout } = await get("/API/y", protocol, "-I", "-w", "%{size_download} %{num_connects}\n", url("/API/x"), "--next", "-sS", "--cacert", router.router.caFile, protocol, "-w", " %{num_connects}");
        expect(stdout).toMatch(/content-length: 123456\r\n/i);
        expect(stdout).toMatch(/etag: "a"\r\n/i);
        expect(stdout).toMatch(/\r\n0 1\n\/API\/y 0$/);
      });

      test("--range gets the part that the service gave, as 206", async () => {
        answerWith("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-8/100\r\nContent-Length: 4\r\n\r\n5678");
        const { stdout } = await get("/API/x", protocol, "--range", "5-8", "-w", " %{http_code}");
        expect(stdout).toBe("5678 206");
        expect(valuesOf(router.arrived[0] as never, "range")).toEqual(["bytes=5-8"]);
      });

      test("with Expect: 100-continue sends its body, and the service never hears of it", async () => {
        const { stdout, stderr } = await get("/API/x", protocol, "-v", "-H", "Expect: 100-continue", "-d", "hello", "-w", " %{http_code}");
        expect(stdout).toBe("pyos POST /API/x 200");
        if (version === "1.1") expect(stderr).toContain("HTTP/1.1 100 Continue");
        expect([router.arrived[0]?.body, valuesOf(router.arrived[0] as never, "expect")]).toEqual(["hello", []]);
      });

      test.each([["of known length", false], ["in chunks", true]])("uploads a body %s", async (_name, isChunked) => {
        const file = router.router.files.file("upload");
        const body = Buffer.alloc(900_000, "0123456789abcdef");
        writeFileSync(file, body);
        const source = isChunked ? ["-T", "-", "-H", "Transfer-Encoding: chunked"] : ["-T", file];
        const { stdout } = isChunked
          ? await run(["sh", "-c", "exec \"$0\" \"$@\" < \"$UPLOAD\"".replace("$UPLOAD", file), ...curlWords("/API/x", protocol, ...source.filter((word) => version === "1.1" || !word.includes("chunked") && word !== "-H"))])
          : await get("/API/x", protocol, ...source);
        expect(stdout).toBe("pyos PUT /API/x");
        const [request] = router.arrived;
        expect([request?.body === body.toString("latin1"), valuesOf(request as never, isChunked ? "transfer-encoding" : "content-length")]).toEqual([true, [isChunked ? "chunked" : "900000"]]);
      });

      test("gets an answer without its trailers", async () => {
        answerWith("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n", "0\r\nX-T: 1\r\n\r\n");
        const { code, stdout } = await get("/API/x", protocol, "-i");
        expect([code, stdout.endsWith("\r\n\r\nhello"), /x-t|trailer/i.test(stdout)]).toEqual([0, true, false]);
      });

      test("hears that an answer broke off, whatever framed it", async () => {
        for (const [framing, piece] of [["Content-Length: 3000000", "x".repeat(100_000)], ["Transfer-Encoding: chunked", "5\r\nhello\r\n"], ["Transfer-Encoding: chunked", "5\r\nhello\r\nnonsense"]] as const) {
          router.pyos.answer = (_request, connection) => {
            connection.write(`HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n${framing}\r\n\r\n`);
            setTimeout(() => connection.write(piece), 30);
            setTimeout(() => connection.cut(), 80);
          };
          const { code } = await get("/API/x", protocol, "-o", "/dev/null");
          // Partial file, or a stream that was not closed cleanly.
          expect([framing, [18, 56, 92].includes(code)]).toEqual([framing, true]);
        }
      });

      test("sees events as they are sent", async () => {
        let connection: RecordedConnection | null = null;
        router.pyos.answer = (_request, upstream) => {
          connection = upstream;
          upstream.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n");
        };
        const child = Bun.spawn(curlWords("/API/x", protocol, "-N"), { stdout: "pipe" });
        let seen = "";
        const reading = (async () => { for await (const chunk of child.stdout) seen += Buffer.from(chunk).toString(); })();
        await eventually("the first event", () => seen, (text) => text === "data: 1\n\n");
        (connection as RecordedConnection | null)?.write("9\r\ndata: 2\n\n\r\n");
        await eventually("the second event", () => seen, (text) => text === "data: 1\n\ndata: 2\n\n");
        (connection as RecordedConnection | null)?.write("0\r\n\r\n");
        await reading;
        expect(await child.exited).toBe(0);
      });

      test("sends and gets large headers, and hears 431 and 414 when they are too large", async () => {
        answerWith(`HTTP/1.1 200 OK\r\nX-Long: ${"y".repeat(60_000)}\r\nContent-Length: 0\r\n\r\n`);
        expect((await get("/API/x", protocol, "-i", "-H", `X-Big: ${"x".repeat(30_000)}`)).stdout).toMatch(/^x-long: y{60000}\r$/im);
        expect(valuesOf(router.arrived[0] as never, "x-big")[0]?.length).toBe(30_000);
        const status = async (path: string, ...options: string[]): Promise<string> => (await get(path, protocol, "-o", "/dev/null", "-w", "%{http_code}", ...options)).stdout;
        expect(await status("/API/x", "-H", `X-Big: ${"x".repeat(33_000)}`)).toBe("431");
        expect(await status(`/API/${"x".repeat(17_000)}`)).toBe("414");
      });

      test("gets nothing that only concerns a connection", async () => {
        answerWith("HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
        const { code, stdout } = await get("/API/x", protocol, "-i");
        expect([code, stdout.endsWith("ok"), /^(?:x-hop|keep-alive|proxy-connection|upgrade|transfer-encoding):/im.test(stdout)]).toEqual([0, true, false]);
      });

      test("asks for many things one after the other on one connection, refusals among them", async () => {
        const paths = ["/API/1", "/filer/x", "/API/%00", "/API/2", "/healthz", "/API/..%2f", "/API/3"];
        const words = paths.flatMap((path) => ["-o", "/dev/null", `https://${DESK}:${router.router.port}${path}`]);
        const { stdout } = await run([...curlWords("/healthz", protocol, "-o", "/dev/null", "-w", "%{http_code} %{num_connects}\n"), ...words]);
        // What was malformed ends its connection, where that is not shared with others.
        const next = protocol === "--http1.1" ? "200 1" : "200 0";
        expect(stdout.trim().split("\n")).toEqual(["200 1", "200 0", "401 0", "400 0", next, "200 0", "400 0", next]);
        expect(router.targets).toEqual(["pyos GET /API/1", "pyos GET /API/2", "pyos GET /API/3"]);
      });
    });
  }

  test("--http2-prior-knowledge on the plain port gets nothing, and a token nowhere", async () => {
    const { code } = await run(["curl", "-q", "-sS", "--noproxy", "*", "--max-time", "10", "--http2-prior-knowledge", "-H", router.bearer(), `http://127.0.0.1:${router.port}/filer/x`]);
    expect([code === 0, router.arrived]).toEqual([false, []]);
  });

  /** The words of a curl command, for what runs beside it. */
  function curlWords(path: string, ...options: string[]): string[] {
    const { port, caFile } = router.router;
    return ["curl", "-q", "-sS", "--max-time", "60", "--noproxy", "*", "--cacert", caFile, "--resolve", `${DESK}:${port}:127.0.0.1`, ...options, `https://${DESK}:${port}${path}`];
  }
});

describe.skipIf(!HAS_NGHTTP)("nghttp", () => {
  const url = (path: string): string => `https://localhost:${router.router.port}${path}`;
  const nghttp = (path: string, ...options: string[]): Promise<Ran> => run(["nghttp", "-y", "-t", "30", ...options, url(path)]);

  test.each([["with padding", ["-b", "255"]], ["with windows of 1 byte", ["-w", "1", "-W", "1"]], ["with a table of nothing", ["-c", "0"]], ["with a table that shrinks", ["-c", "4096", "-c", "0"]], ["without priorities", ["--no-dep"]]])(
    "%s gets its answer whole", async (_name, options) => {
      const body = "0123456789".repeat(20);
      answerWith(`HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      expect((await nghttp("/API/x", ...options)).stdout).toBe(body);
    });

  test.each([["announced", []], ["not announced", ["--no-content-length"]], ["with a trailer", ["--trailer", "x-trailer: 1"]], ["with padding", ["-b", "100"]]])("uploads a body, %s", async (_name, options) => {
    const file = router.router.files.file("upload");
    const body = Buffer.alloc(700_000, "0123456789abcdef");
    writeFileSync(file, body);
    expect((await nghttp("/API/x", "-d", file, ...options)).stdout).toBe("pyos POST /API/x");
    const [request] = router.arrived;
    expect([request?.body === body.toString("latin1"), /x-trailer/i.test(request?.text.slice(0, 2000) ?? "")]).toEqual([true, false]);
  });

  test("hears GOAWAY when the program leaves, and still gets what it asked for", async () => {
    const leaving = await RecordingRouter.start({
      tls: (files) => {
        files.put("local", "localhost");
        return files.section(["local"]);
      },
    });
    try {
      const waiting: RecordedConnection[] = [];
      leaving.pyos.answer = (_request, connection) => waiting.push(connection);
      const child = Bun.spawn(["nghttp", "-v", "-y", "-t", "30", `https://localhost:${leaving.router.port}/API/x`], { stdout: "pipe" });
      let said = "";
      // oxlint-disable-next-line no-control-regex
      const reading = (async () => { for await (const chunk of child.stdout) said += Buffer.from(chunk).toString().replaceAll(/\x1b\[[0-9;]*m/g, ""); })();
      await eventually("the request upstream", () => waiting.length, (count) => count === 1);
      const stopped = leaving.router.app.stop(10_000);
      await eventually("GOAWAY", () => said, (text) => /recv GOAWAY frame[^]*error_code=NO_ERROR/.test(text));
      expect(said).not.toContain("done");
      waiting[0]?.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
      await Promise.all([reading, stopped]);
      expect([await child.exited, /:status: 200/.test(said), said.includes("done")]).toEqual([0, true, true]);
    } finally {
      await leaving.stop();
    }
  }, 20_000);
});

describe.skipIf(!HAS_H2LOAD)("h2load", () => {
  const all = (count: number): string => `requests: ${count} total, ${count} started, ${count} done, ${count} succeeded, 0 failed, 0 errored, 0 timeout`;
  const url = (path: string): string => `https://localhost:${router.router.port}${path}`;

  test.each([
    ["requests by HTTP/2, 100 at a time on each of 10 connections", 5000, ["-c", "10", "-m", "100"]], ["requests by HTTP/2, one at a time", 1000, ["-c", "20", "-m", "1"]], ["requests by HTTP/1.1", 3000, ["--h1", "-c", "50"]],
    ["requests with windows of 1 KiB", 1000, ["-c", "4", "-m", "20", "-w", "10", "-W", "10"]],
  ])("has every one of its %s answered with 200", async (_name, count, options) => {
    const { stdout } = await run(["h2load", "-n", String(count), ...options, url("/API/x")]);
    expect(stdout).toContain(all(count));
    expect(stdout).toContain(`status codes: ${count} 2xx, 0 3xx, 0 4xx, 0 5xx`);
    expect([router.pyos.requests.length, router.faults]).toEqual([count, []]);
  }, 60_000);

  test("has its uploads arrive whole, every one, with the pool's connections used again", async () => {
    const file = router.router.files.file("upload");
    writeFileSync(file, Buffer.alloc(100_000, "0123456789"));
    for (const options of [["-c", "4", "-m", "8"], ["--h1", "-c", "16"]]) {
      router.reset(true);
      const accepted = router.pyos.accepted;
      const { stdout } = await run(["h2load", "-n", "400", ...options, "-d", file, url("/API/x")]);
      expect(stdout).toContain(all(400));
      expect(router.pyos.requests.every(({ method, body }) => method === "POST" && body.length === 100_000)).toBe(true);
      expect([router.pyos.requests.length, router.faults, router.pyos.accepted - accepted <= 64]).toEqual([400, [], true]);
    }
  }, 60_000);

  test("has its large answers whole, at a time on one connection", async () => {
    const body = Buffer.alloc(3 * MIB, "x");
    router.pyos.answer = (_request, connection) => {
      connection.write(`HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: ${body.length}\r\n\r\n`);
      connection.write(body);
    };
    const { stdout } = await run(["h2load", "-n", "60", "-c", "2", "-m", "10", url("/API/x")]);
    expect(stdout).toContain(all(60));
    expect(stdout).toMatch(/traffic: .*\(188743680\) data/);
  }, 60_000);
});
