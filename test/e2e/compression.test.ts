// Compression on the way to the client: what is compressed and what is not, decoded by curl, and streams that are not held back.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { brotliDecompressSync, constants, gunzipSync, zstdDecompressSync } from "node:zlib";
import { Cluster, head, ok } from "../support/http.ts";
import { RawClient } from "../support/raw.ts";
import { TestRouter } from "../support/router.ts";

let cluster: Cluster;
beforeAll(async () => { cluster = await Cluster.start(); });
afterAll(() => cluster.stop());
beforeEach(() => { cluster.reset(); });

const JSON_BODY = JSON.stringify(Array.from({ length: 400 }, (_, index) => ({ id: index, name: `desktop-${index}`, state: "running" })));
const DECODE: Record<string, (bytes: Uint8Array) => Buffer> = { gzip: gunzipSync, br: brotliDecompressSync, zstd: zstdDecompressSync };

function answer(body: string, lines: readonly string[] = []): void {
  cluster.services.answer((seen, connection) => {
    const text = ok(body, lines);
    connection.write(seen.method === "HEAD" ? text.slice(0, text.length - body.length) : text);
  });
}

const TYPED = ["Content-Type: application/json"];
/** Without a library that decodes behind our back. */
const get = (path: string, accepted: string | null, init: RequestInit = {}): Promise<Response> => {
  return fetch(cluster.router.url(path), { decompress: false, ...init, headers: { "accept-encoding": accepted ?? "identity", ...init.headers } } as RequestInit);
};

describe("an answer in text", () => {
  test.each([
    ["gzip", "gzip"], ["br", "br"], ["zstd", "zstd"], ["gzip, deflate, br, zstd", "zstd"], ["gzip, deflate, br", "gzip"],
    ["gzip;q=0.5, br;q=0.9", "br"], ["*", "zstd"], ["identity;q=0, gzip", "gzip"], ["zstd;q=0, *;q=0.1", "gzip"],
  ])("for a client with Accept-Encoding %p is compressed with %s", async (accepted, coding) => {
    answer(JSON_BODY, TYPED);
    const response = await get("/API/list", accepted);
    expect([response.headers.get("content-encoding"), response.headers.get("vary")]).toEqual([coding, "Accept-Encoding"]);
    const bytes = await response.bytes();
    expect(response.headers.get("content-length")).toBe(String(bytes.length));
    expect(bytes.length).toBeLessThan(JSON_BODY.length / 4);
    expect((DECODE[coding] as (bytes: Uint8Array) => Buffer)(bytes).toString()).toBe(JSON_BODY);
  });

  test.each([["identity"], ["gzip;q=0, br;q=0, zstd;q=0"], ["deflate"], ["x-gzip;q=0"]])("for a client with Accept-Encoding %p goes as it is, and says that it depends on it", async (accepted) => {
    answer(JSON_BODY, TYPED);
    const response = await get("/API/list", accepted);
    expect([response.headers.get("content-encoding"), response.headers.get("vary"), await response.text()]).toEqual([null, "Accept-Encoding", JSON_BODY]);
  });

  test("gets a weak ETag, with which the client can ask again", async () => {
    cluster.services.answer((seen, connection) => {
      const isKnown = seen.headers["if-none-match"]?.[0] === "W/\"v1\"";
      connection.write(isKnown ? "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n" : ok(JSON_BODY, [...TYPED, "ETag: \"v1\"", "Vary: Cookie"]));
    });
    const response = await get("/API/list", "gzip");
    expect([response.headers.get("etag"), response.headers.get("vary")]).toEqual(["W/\"v1\"", "Cookie, Accept-Encoding"]);
    const again = await get("/API/list", "gzip", { headers: { "if-none-match": "W/\"v1\"" } });
    expect([again.status, again.headers.get("etag")]).toEqual([304, "W/\"v1\""]);
  });

  test("to HEAD has the head that it would have, and no body", async () => {
    answer(JSON_BODY, TYPED);
    const response = await get("/API/list", "gzip", { method: "HEAD" });
    expect([response.status, response.headers.get("content-encoding"), response.headers.get("vary"), response.headers.get("content-length"), await response.text()]).toEqual([200, "gzip", "Accept-Encoding", null, ""]);
  });

  test("out of the cache is compressed for the one and plain for the other", async () => {
    answer(JSON_BODY, [...TYPED, "Cache-Control: max-age=60"]);
    const plain = await get("/cached.json", null);
    expect([plain.headers.get("content-encoding"), await plain.text()]).toEqual([null, JSON_BODY]);
    const compressed = await get("/cached.json", "gzip");
    expect([compressed.headers.get("content-encoding"), gunzipSync(await compressed.bytes()).toString()]).toEqual(["gzip", JSON_BODY]);
    expect(compressed.headers.get("cache-status")).toMatch(/hit/);
    expect(cluster.services.seen.length).toBe(1);
  });
});

describe("an answer is left as it is", () => {
  test.each([
    ["that is short", "x".repeat(2047), TYPED, "200 OK"], ["that is a picture", JSON_BODY, ["Content-Type: image/png"], "200 OK"], ["without a type", JSON_BODY, [], "200 OK"],
    ["that is compressed already", JSON_BODY, [...TYPED, "Content-Encoding: gzip"], "200 OK"], ["that must not be transformed", JSON_BODY, [...TYPED, "Cache-Control: no-transform"], "200 OK"],
    ["that is a part", JSON_BODY, [...TYPED, "Content-Range: bytes 0-9/99999"], "206 Partial Content"],
  ])("%s", async (_what, body, lines, status) => {
    cluster.services.answer((_seen, connection) => connection.write(ok(body, lines, status)));
    const response = await get("/API/list", "gzip");
    const expected = lines.some((line) => line.startsWith("Content-Encoding")) ? "gzip" : null;
    expect([response.headers.get("content-encoding"), response.headers.get("vary"), await response.text()]).toEqual([expected, null, body]);
  });

  test("on a route that says so: the speed test measures the line, not the compressor", async () => {
    answer(JSON_BODY, TYPED);
    const response = await get("/speedtest/x", "gzip");
    expect([response.headers.get("content-encoding"), response.headers.get("vary"), await response.text()]).toEqual([null, null, JSON_BODY]);
  });

  test("however large it would become: what an upstream compressed is not unpacked here", async () => {
    const bomb = Bun.gzipSync(new Uint8Array(50_000_000));
    cluster.services.answer((_seen, connection) => {
      connection.write(`HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nContent-Length: ${bomb.length}\r\n\r\n`);
      connection.write(Buffer.from(bomb));
    });
    const response = await get("/API/bomb", null);
    expect((await response.bytes()).length).toBe(bomb.length);
  });
});

/** What a browser could show of a chunked, gzipped answer that has not ended. */
function unpackedSoFar(text: string): string {
  const body = text.slice(text.indexOf("\r\n\r\n") + 4);
  const bytes = Buffer.concat(readChunks(body));
  return bytes.length === 0 ? "" : gunzipSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH }).toString();
}

function readChunks(body: string): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0; at < body.length;) {
    const end = body.indexOf("\r\n", at);
    const size = Number.parseInt(body.slice(at, end), 16);
    chunks.push(Buffer.from(body.slice(end + 2, end + 2 + size), "latin1"));
    at = end + 4 + size;
  }
  return chunks;
}

describe("the minimum", () => {
  test.each([["100B", 150, "gzip"], ["100B", 99, null], ["5000B", 4000, null]])("of %s decides about %d bytes", async (minimum, bytes, coding) => {
    const own = await TestRouter.start({ config: `compression: { minimum: ${minimum} }\nservices:\n  s: { url: "http://127.0.1.2:${cluster.services.port("website")}" }\nroutes:\n  - { path: /, service: s }\n` });
    try {
      answer("x".repeat(bytes), TYPED);
      const response = await fetch(own.url("/"), { headers: { "accept-encoding": "gzip" } });
      expect([response.headers.get("content-encoding"), (await response.text()).length]).toEqual([coding, bytes]);
    } finally {
      await own.stop();
    }
  });
});

describe("a stream", () => {
  test("of events is compressed line by line: each is there before the next one is sent", async () => {
    const lines: Array<(text: string) => void> = [];
    cluster.services.answer((_seen, connection) => {
      connection.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
      lines.push((text) => connection.write(text === "" ? "0\r\n\r\n" : `${text.length.toString(16)}\r\n${text}\r\n`));
    });
    const client = await RawClient.open(cluster.port);
    client.write(head("GET", "/API/events", ["Accept-Encoding: gzip"]));
    await cluster.services.until(() => lines.length === 1);
    const send = lines[0] as (text: string) => void;
    for (const expected of ["data: first\n\n", "data: first\n\ndata: second\n\n"]) {
      send(expected.slice(expected.lastIndexOf("data:")));
      await client.until(() => unpackedSoFar(client.text) === expected);
    }
    expect(client.header("content-encoding")).toBe("gzip");
    send("");
    await client.until(() => client.text.endsWith("\r\n0\r\n\r\n"));
    client.close();
  });

  test("that is cut is cut for the client as well, never ended", async () => {
    cluster.services.answer((_seen, connection) => {
      connection.write(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9000000\r\n\r\n${JSON_BODY}`);
      setTimeout(() => connection.cut(), 20);
    });
    const client = await RawClient.open(cluster.port);
    client.write(head("GET", "/API/big", ["Accept-Encoding: gzip"]));
    await client.until(() => client.isClosed);
    expect(client.text).toContain("Transfer-Encoding: chunked");
    expect(client.text.endsWith("\r\n0\r\n\r\n")).toBe(false);
  });

  test("of many megabytes comes out whole, and its size on the wire is in the log", async () => {
    const body = JSON_BODY.repeat(300);
    answer(body, TYPED);
    const response = await get("/API/big", "zstd");
    const bytes = await response.bytes();
    expect(zstdDecompressSync(bytes).toString()).toBe(body);
    expect(cluster.router.lines.filter(({ path }) => path === "/API/big").at(-1)).toMatchObject({ bytes_out: bytes.length });
  });
});

describe.skipIf(Bun.which("curl") === null)("curl", () => {
  test.each([["gzip"], ["br"], ["zstd"]])("decodes %s, as far as it was built with it", async (coding) => {
    if (!(await Bun.$`curl --version`.text()).includes(coding === "br" ? "brotli" : coding === "zstd" ? "zstd" : "libz")) return;
    answer(JSON_BODY, TYPED);
    expect(await Bun.$`curl -sS --compressed -H ${`Accept-Encoding: ${coding}`} ${cluster.router.url("/API/list")}`.text()).toBe(JSON_BODY);
  });
});
