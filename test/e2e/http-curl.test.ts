// The same router through clients that people use: curl and fetch.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Cluster, ok } from "../support/http.ts";

let cluster: Cluster;
let directory: string;
beforeAll(async () => {
  cluster = await Cluster.start();
  directory = mkdtempSync(join(tmpdir(), "route-curl-"));
});
afterAll(async () => {
  await cluster.stop();
  rmSync(directory, { recursive: true });
});
beforeEach(() => cluster.reset());

const FORMAT = "%{http_code} %{size_download} %{num_connects}";

/** curl's output, without its progress; everything on loopback, no proxy, no configuration of its own. */
async function curl(...options: string[]): Promise<string> {
  const child = Bun.spawn(["curl", "-q", "-sS", "--noproxy", "*", "--max-time", "10", ...options],
    { stdout: "pipe", stderr: "pipe" });
  const output = await new Response(child.stdout).text();
  await child.exited;
  return output;
}

describe.skipIf(!Bun.which("curl"))("curl", () => {
  const token = (): string => `AbcAuthorization: Bearer ${cluster.router.token()}`;

  test("gets a file of the desktop", async () => {
    expect(await curl("-H", token(), cluster.router.url("/filer/x?y"))).toBe("file_service_tcp_port GET /filer/x?y");
  });

  test("gets the same by way of /container", async () => {
    const url = cluster.router.url(`/container/${cluster.router.token()}/${cluster.pod.port("file_service_tcp_port")}/a/b`);
    expect(await curl(url)).toBe("file_service_tcp_port GET /a/b");
  });

  test.each([["of known length", []], ["in chunks", ["-H", "Transfer-Encoding: chunked"]],
    ["announced with Expect", ["-H", "Expect: 100-continue"]]])("uploads a file %s", async (_name, options) => {
    const file = join(directory, "upload");
    const body = Buffer.alloc(3_000_000, "0123456789");
    writeFileSync(file, body);
    expect(await curl("-H", token(), ...options, "-T", file, "-o", "/dev/null", "-w", FORMAT,
      cluster.router.url("/filer/upload"))).toStartWith("200 ");
    const [seen] = cluster.pod.seen;
    expect([seen?.method, seen?.body.equals(body)]).toEqual(["PUT", true]);
  });

  test("keeps its connection over answers of every kind", async () => {
    const urls = ["/healthz", "/API", "/filer", "/nowhere", "/.well-known/x",
      "/healthz"].flatMap((path) => [cluster.router.url(path), "-o", "/dev/null"]);
    expect((await curl("-w", `${FORMAT}\n`, ...urls)).trim().split("\n").map((line) => [line.split(" ")[0],
      line.split(" ")[2]])).toEqual(
      [["200", "1"], ["200", "0"], ["401", "0"], ["200", "0"], ["404", "0"], ["200", "0"]]);
  });

  test("sees the length of a HEAD", async () => {
    cluster.services.answer((_seen, connection) => connection.write("HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n"));
    expect(await curl("-I", cluster.router.url("/API"))).toMatch(/^content-length: 42\r$/im);
  });

  test("gets nowhere by a path as it is", async () => {
    for (const path of ["/.well-known/../../etc/passwd", "/API/..%2f..%2fetc/passwd", "/filer/../filer/x"]) {
      const status = await curl("--path-as-is", "-o", "/dev/null", "-w", "%{http_code}", cluster.router.url(path));
      expect(["200", "400", "401", "404"]).toContain(status);
    }
    expect(cluster.pod.seen).toHaveLength(0);
  });

  test("that offers an upgrade to HTTP/2 is answered in HTTP/1.1", async () => {
    expect(await curl("--http2", "-o", "/dev/null", "-w", "%{http_code} %{http_version}",
      cluster.router.url("/API"))).toBe("200 1.1");
  });

  test("reports a body that was cut", async () => {
    cluster.services.answer((_seen, connection) => {
      connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
      connection.onRaw = () => {};
      setImmediate(() => connection.cut());
    });
    const child = Bun.spawn(["curl", "-q", "-sS", "--noproxy", "*", "--max-time", "10", cluster.router.url("/API")],
      { stdout: "ignore", stderr: "ignore" });
    expect(await child.exited).not.toBe(0);
  });
});

describe("fetch", () => {
  test("gets JSON, posts JSON, and reads what the desktop answered", async () => {
    const headers = { ABCAuthorization: `Bearer ${cluster.router.token()}`, "content-type": "application/json" };
    const response = await fetch(cluster.router.url("/terminals"),
      { method: "POST", headers, body: JSON.stringify({ cols: 80 }) });
    expect([response.status, await response.text()]).toEqual([200, "xterm_tcp_port POST /terminals"]);
    expect(cluster.pod.seen[0]?.body.toString()).toBe("{\"cols\":80}");
  });

  test("gets a coded body as it was coded: nothing is decoded on the way", async () => {
    const zipped = Buffer.from(Bun.gzipSync(Buffer.from("hello".repeat(1000))));
    cluster.services.answer((_seen, connection) => connection.write(Buffer.concat([
      Buffer.from(`HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: text/plain\r\nContent-Length: ${zipped.length}\r\n\r\n`), zipped])));
    const raw = await fetch(cluster.router.url("/API"), { decompress: false } as RequestInit);
    expect([raw.headers.get("content-length"),
      Buffer.from(await raw.arrayBuffer()).equals(zipped)]).toEqual([String(zipped.length), true]);
    expect(await (await fetch(cluster.router.url("/API"))).text()).toBe("hello".repeat(1000));
  });

  test("that is aborted is an abort for the upstream", async () => {
    cluster.services.answer(() => {});
    const controller = new AbortController();
    const pending = fetch(cluster.router.url("/API"), { signal: controller.signal });
    await cluster.services.until(() => cluster.services.seen.length === 1);
    controller.abort();
    await expect(pending).rejects.toThrow();
    await cluster.services.until(() => cluster.router.app.counts.running === 0);
  });

  test.each([200, 204, 205, 304, 404, 500])("gets status %d with whatever body there can be", async (status) => {
    cluster.services.answer((_seen, connection) => connection.write(status === 204 || status === 304 ? `HTTP/1.1 ${status} X\r\n\r\n` : ok("body", [], `${status} X`)));
    const response = await fetch(cluster.router.url("/API"));
    expect(response.status).toBe(status);
    if (status !== 205) expect(await response.text()).toBe(status === 204 || status === 304 ? "" : "body");
  });
});
