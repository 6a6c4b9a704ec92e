// What the log says about requests: one JSON object a line with every field, whatever clients send, and never a secret.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { ask, Cluster, converse, head, ok } from "../support/http.ts";

let cluster: Cluster;
beforeAll(async () => { cluster = await Cluster.start(); });
afterAll(() => cluster.stop());
beforeEach(() => cluster.reset());

/** Access lines, oldest first, as text. */
function accessLines(): string[] {
  cluster.router.app.log.close();
  return cluster.router.log.text.split("\n").filter((line) => line.includes('"message":"access"'));
}

async function lineOf(request: string): Promise<Record<string, unknown>> {
  const before = accessLines().length;
  await converse(cluster.port, request);
  const lines = accessLines().slice(before);
  expect(lines).toHaveLength(1);
  return JSON.parse(lines[0] as string) as Record<string, unknown>;
}

describe("an access line", () => {
  test("tells everything about a request to a desktop", async () => {
    const token = cluster.router.token();
    const line = await lineOf(`${head("POST", "/filer/x?secret=1", [`AbcAuthorization: ${token}`, "Content-Length: 5"])}hello`);
    expect(line).toEqual({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as string, level: "info",
        message: "access", request_id: expect.stringMatching(/^[0-9a-f]{13,32}$/) as string, client: "127.0.0.1",
      method: "POST", path: "/filer/x", route: "/filer", service: "filer",
        target: `127.0.1.1:${cluster.pod.port("file_service_tcp_port")}`, status: 200, bytes_in: 5,
      bytes_out: "file_service_tcp_port POST /filer/x?secret=1".length, duration_ms: expect.any(Number) as number,
        upstream_ms: expect.any(Number) as number,
      token: createHash("sha256").update(token).digest("hex").slice(0, 8),
    });
    expect(Math.abs(Date.parse(line["time"] as string) - Date.now())).toBeLessThan(5000);
  });

  test("of a fixed service has no token, and one of ours no target", async () => {
    expect(await lineOf(head("GET", "/API/x"))).toMatchObject({ token: null, service: "pyos",
      target: `127.0.1.2:${cluster.services.port("pyos")}` });
    expect(await lineOf(head("GET", "/healthz"))).toMatchObject({ token: null, service: "healthz", target: null,
      upstream_ms: null, status: 200 });
  });

  test("of a refusal has the reason", async () => {
    expect(await lineOf(head("GET", "/filer"))).toMatchObject({ status: 401, reason: "no token", target: null });
    expect(await lineOf(head("GET", "/API", ["Host: a,b"]))).toMatchObject({ status: 400,
      reason: "missing or malformed Host", route: null });
  });

  test("counts the bytes of streamed bodies in both directions", async () => {
    const body = "x".repeat(1024 ** 2);
    cluster.services.answer((_seen, connection) => connection.write(ok(body + body)));
    await converse(cluster.port, head("POST", "/API", [`Content-Length: ${body.length}`]) + body);
    for (const until = Date.now() + 5000; cluster.router.app.counts.running > 0 && Date.now() < until;) await Bun.sleep(5);
    expect(JSON.parse(accessLines().at(-1) as string)).toMatchObject({ bytes_in: body.length,
      bytes_out: 2 * body.length });
  });

  test("has the status that the upstream gave", async () => {
    cluster.services.answer((_seen, connection) => connection.write(ok("x", [], "418 I'm a teapot")));
    expect(await lineOf(head("GET", "/API"))).toMatchObject({ status: 418 });
  });
});

describe("log injection", () => {
  const EVIL: ReadonlyArray<readonly [name: string, request: string]> = [
    ["encoded CR and LF in the path", head("GET", "/API/%0d%0a{\"level\":\"error\"}")],
    ["quotes and braces in the path", head("GET", "/API/\"},{\"status\":\"1")],
    ["backslashes in the query", head("GET", "/API?\\\"\\n")],
    ["an escape sequence, encoded", head("GET", "/API/%1b[2J%9b31m")],
    ["bytes above 7F in the path", head("GET", "/API/\x9b\xff\xe2\x80\xa8")],
    ["quotes in Host", head("GET", "/API", ["Host: a\"b"])],
    ["bytes above 7F in Host", head("GET", "/API", ["Host: \x9b"])],
    ["quotes in a request id", head("GET", "/API", ["X-Request-Id: \"},{"])],
    ["10 kB of User-Agent", head("GET", "/API", [`User-Agent: ${"\"\\\x9b<".repeat(2500)}`])],
    ["a chain that is no chain", head("GET", "/API", ["X-Forwarded-For: \",\"admin\":\"1"])],
    ["a method of its own", head("M-SEARCH", "/API")], ["a path of 10 kB", head("GET", `/API/${"\"".repeat(3000)}`)],
    ["quotes in an Origin that is refused",
      head("GET", `/websockify?x`,
      ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Origin: http://\"evil\x9b"])],
    ["quotes in a port", head("GET", "/container/\"\x9b", [])],
  ];
  test.each(EVIL)("%s makes one line of JSON", async (_name, request) => {
    const line = await lineOf(request);
    expect(line).toMatchObject({ level: "info", message: "access" });
    expect(line["status"]).toBeNumber();
    expect(accessLines().at(-1)).not.toMatch(/[\0-\x1f\x7f]/);
  });

  test("the whole log is lines of JSON with a level and a time", () => {
    cluster.router.app.log.close();
    for (const line of cluster.router.log.text.trimEnd().split("\n")) expect(JSON.parse(line)).toMatchObject({ time: expect.any(String) as string, level: expect.stringMatching(/^(info|warn|error)$/) as string });
  });
});

describe("a secret never gets into the log", () => {
  const PLACES: ReadonlyArray<readonly [name: string, request: (token: string) => string]> = [
    ["Authorization", (token) => head("GET", "/filer", [`Authorization: Bearer ${token}`])],
    ["AbcAuthorization", (token) => head("GET", "/filer", [`AbcAuthorization: ${token}`])],
    ["jwt_token", (token) => head("GET", `/websockify?jwt_token=${token}`)],
    ["the whole query", (token) => head("GET", `/terminals/7?${token}`)],
    ["a forwarded query", (token) => head("GET", `/broadcast?${token}`)],
    ["the path", (token) => head("GET", `/container/${token}/22/x`)],
    ["the path of another route", (token) => head("GET", `/container/${token}`)],
    ["the path of no such route", (token) => head("GET", `/x/${token}/y`)],
    ["the path in part", (token) => head("GET", `/container/${token}/`)],
    ["a query of another route", (token) => head("GET", `/API?jwt_token=${token}`)],
    ["Referer", (token) => head("GET", "/API", [`Referer: http://x/?${token}`])],
    ["a cookie", (token) => head("GET", "/filer", [`Cookie: token=${token}`])],
    ["a token twice", (token) => head("GET", `/websockify?jwt_token=${token}&jwt_token=${token}x`)],
    ["Authorization twice", (token) => head("GET", "/filer",
      [`Authorization: Bearer ${token}`, `Authorization: Bearer ${token}x`])],
    ["a token with an extra part", (token) => head("GET", "/filer", [`AbcAuthorization: ${token}.x`])],
  ];
  test.each(PLACES)("a token in %s", async (_name, request) => {
    const token = cluster.router.token();
    await ask(cluster.port, request(token));
    cluster.router.app.log.close();
    const [, payload = "", signature = ""] = token.split(".");
    expect(cluster.router.log.text).not.toContain(signature);
    expect(cluster.router.log.text).not.toContain(payload.slice(0, 40));
  });

  test("nor does a query, a cookie or a password", async () => {
    await ask(cluster.port,
      head("GET", "/API?password=hunter2", ["Cookie: session=hunter2", "Authorization: Basic hunter2"]));
    cluster.router.app.log.close();
    expect(cluster.router.log.text).not.toContain("hunter2");
  });
});
