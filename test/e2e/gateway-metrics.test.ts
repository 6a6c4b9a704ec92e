// What the gateway counts, as a scraper and a biller see it, against what clients moved; and who may see it: the admin listener has a
// port of its own, and nothing leads to it through the addresses that everybody can reach.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { backendOf, clientHello, DOMAIN, makeRoot, TestGateway } from "../support/gateway.ts";
import { head } from "../support/http.ts";
import { answerRecord, Pod } from "../support/pod.ts";
import { RawClient } from "../support/raw.ts";
import { pattern, Peer, PeerServer } from "../support/tls-peer.ts";
import { OP } from "../support/ws-client.ts";

/** How zos reads them: one expression a series, with greedy groups. */
const SERIES = {
  Request: /traefik_service_requests_bytes_total\{code="(.*)",method="(.*)",protocol="(.*)",service="(.*)@file"\} (\S+)/g,
  Response: /traefik_service_responses_bytes_total\{code="(.*)",method="(.*)",protocol="(.*)",service="(.*)@file"\} (\S+)/g,
};

type Sample = { code: string; method: string; protocol: string; bytes: number };

let gateway: TestGateway;
let pod: Pod;
let count = 0;

beforeAll(async () => {
  pod = new Pod("127.0.0.1", ["web"]);
  gateway = await TestGateway.start();
});
afterEach(() => pod.answer(answerRecord));
afterAll(async () => {
  await gateway.stop();
  pod.stop();
});

/** A workload of this test's own. */
async function workload(backend = backendOf(pod), isPassthrough = false): Promise<{ id: string; name: string }> {
  count += 1;
  await gateway.set(`wl-${count}`, `name-${count}`, [backend], isPassthrough);
  return { id: `wl-${count}`, name: `name-${count}.${DOMAIN}` };
}

function parse(text: string, direction: keyof typeof SERIES, service: string): Sample[] {
  return [...text.matchAll(SERIES[direction])].filter(([, , , , found]) => found === service)
    .map(([, code = "", method = "", protocol = "", , value]) => ({ code, method, protocol, bytes: Number(value) }));
}

async function scrape(service: string): Promise<{ Request: Sample[]; Response: Sample[] }> {
  const text = await gateway.metrics();
  return { Request: parse(text, "Request", service), Response: parse(text, "Response", service) };
}

/** All bytes of a service, as Metrics() says them. */
async function totals(service: string): Promise<[bytesIn: number, bytesOut: number]> {
  const { Request, Response } = await gateway.json("/api/gateways/metrics") as { Request: Record<string, number>; Response: Record<string, number> };
  return [Request[service] ?? 0, Response[service] ?? 0];
}

async function untilTotals(service: string, expected: [number, number]): Promise<void> {
  await eventually(`${expected} bytes of ${service}`, () => totals(service), ([bytesIn, bytesOut]) => bytesIn === expected[0] && bytesOut === expected[1]);
}

describe("the two series of the original", () => {
  test("have the bytes of requests and responses, by code and method", async () => {
    const { id, name } = await workload();
    pod.answer((seen, connection) => {
      const status = seen.method === "PUT" ? "201 Created" : "200 OK";
      connection.write(`HTTP/1.1 ${status}\r\nContent-Length: 123456\r\n\r\n${"d".repeat(123_456)}`);
    });
    await gateway.curl(name, "/a", "-o", "/dev/null");
    await gateway.curl(name, "/b", "-o", "/dev/null", "--http1.1");
    const body = join(gateway.root, "body");
    writeFileSync(body, pattern(2_000_000));
    await gateway.curl(name, "/c", "-o", "/dev/null", "-T", body);
    await untilTotals(id, [2_000_000, 3 * 123_456]);
    const { Request, Response } = await scrape(id);
    expect(Request).toEqual([{ code: "200", method: "GET", protocol: "http", bytes: 0 }, { code: "201", method: "PUT", protocol: "http", bytes: 2_000_000 }]);
    expect(Response).toEqual([{ code: "200", method: "GET", protocol: "http", bytes: 2 * 123_456 }, { code: "201", method: "PUT", protocol: "http", bytes: 123_456 }]);
  });

  test("count a long download that goes in chunks", async () => {
    const { id, name } = await workload();
    pod.answer((_seen, connection) => {
      connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      for (let i = 0; i < 50; i += 1) connection.write(`10000\r\n${"c".repeat(0x10000)}\r\n`);
      connection.write("0\r\n\r\n");
    });
    expect((await gateway.curl(name, "/")).length).toBe(50 * 0x10000);
    await untilTotals(id, [0, 50 * 0x10000]);
  });

  test("count the messages of a WebSocket while it is open", async () => {
    const { id, name } = await workload();
    const session = await gateway.webSocket(name);
    session.send(OP.text, "t".repeat(1000));
    session.send(OP.binary, pattern(200_000));
    session.send(OP.ping, "not a message");
    await session.until(() => session.dataBytes === 201_000);
    await untilTotals(id, [201_000, 201_000]);
    const { Request, Response } = await scrape(id);
    expect(Request).toEqual([{ code: "101", method: "GET", protocol: "websocket", bytes: 201_000 }]);
    expect(Response).toEqual(Request);
    session.sendClose(1000);
    await session.ended();
    await gateway.logged("access", (line) => line["route"] === id && line["status"] === 101);
    expect(await totals(id)).toEqual([201_000, 201_000]);
  });

  test("count every byte of a passed-through connection while it is open", async () => {
    const backend = new PeerServer();
    const { id, name } = await workload(`127.0.0.1:${backend.port}`, true);
    const hello = await clientHello(name);
    const client = await Peer.connect(gateway.httpsPort);
    client.write(hello);
    client.write(pattern(3_000_000));
    const peer = await backend.peer();
    await peer.until(() => peer.receivedBytes === hello.length + 3_000_000);
    peer.write(pattern(1_000_000));
    await client.until(() => client.receivedBytes === 1_000_000);
    await untilTotals(id, [hello.length + 3_000_000, 1_000_000]);
    const { Request, Response } = await scrape(id);
    expect(Request).toEqual([{ code: "0", method: "", protocol: "tcp", bytes: hello.length + 3_000_000 }]);
    expect(Response).toEqual([{ code: "0", method: "", protocol: "tcp", bytes: 1_000_000 }]);
    client.end();
    peer.end();
    const line = await gateway.logged("tunnel", (found) => found["service"] === id);
    expect(line).toMatchObject({ client: "127.0.0.1", server_name: name, bytes_in: hello.length + 3_000_000, bytes_out: 1_000_000 });
    backend.stop();
  });

  test("say nothing of what is no service's: unknown hosts, redirects, /healthz", async () => {
    const { id, name } = await workload();
    await gateway.plain("/", name);
    await gateway.plain("/", "unknown.example");
    await gateway.plain("/healthz", "127.0.0.1");
    const text = await gateway.metrics();
    expect(parse(text, "Response", id)).toEqual([]);
    expect([...text.matchAll(SERIES.Response)].map(([, , , , service]) => service).filter((service) => !service?.startsWith("wl-"))).toEqual([]);
  });

  test("are summed by Metrics()", async () => {
    const { id, name } = await workload();
    await gateway.curl(name, "/", "-d", "1234567890");
    await gateway.curl(name, "/", "-o", "/dev/null");
    const session = await gateway.webSocket(name);
    session.send(OP.text, "five!");
    await session.until(() => session.messages.length === 1);
    session.close();
    const sum = (samples: Sample[]): number => samples.reduce((bytes, sample) => bytes + sample.bytes, 0);
    const { Request, Response } = await scrape(id);
    expect([Request.length, sum(Request)]).toEqual([3, 15]);
    expect(await totals(id)).toEqual([sum(Request), sum(Response)]);
  });

  test("of a deleted service are kept until they were scraped once", async () => {
    const { id, name } = await workload();
    await gateway.curl(name, "/", "-d", "1234567890");
    await gateway.delete(id);
    expect((await totals(id))[0]).toBe(10);
    expect((await scrape(id)).Request).toEqual([{ code: "200", method: "POST", protocol: "http", bytes: 10 }]);
    expect(await scrape(id)).toEqual({ Request: [], Response: [] });
    expect(await totals(id)).toEqual([0, 0]);
  });

  test("of a service that is deleted while it is at work go on until it is done", async () => {
    const { id, name } = await workload();
    const session = await gateway.webSocket(name);
    session.send(OP.text, "before");
    await session.until(() => session.messages.length === 1);
    await gateway.delete(id);
    expect((await scrape(id)).Request.map(({ bytes }) => bytes)).toEqual([6]);
    session.send(OP.text, "after all");
    await session.until(() => session.messages.length === 2);
    expect((await scrape(id)).Request.map(({ bytes }) => bytes)).toEqual([9]);
    expect((await scrape(id)).Request).toEqual([]);
    session.close();
  });
});

describe("the program's own series", () => {
  test("tell gateways by kind, sessions, and the end of certificates", async () => {
    const { name } = await workload();
    await workload("127.0.0.1:1", true);
    const before = await gateway.metrics();
    const session = await gateway.webSocket(name);
    const text = await gateway.metrics();
    const value = (from: string, series: string): number => Number(from.split("\n").find((line) => line.startsWith(`${series} `))?.slice(series.length + 1));
    expect(value(text, "route_sessions") - value(before, "route_sessions")).toBe(1);
    expect(value(text, 'route_gateways{tls="passthrough"}')).toBeGreaterThanOrEqual(1);
    expect(value(text, 'route_gateways{tls="terminated"}')).toBeGreaterThanOrEqual(1);
    expect(value(text, `route_certificate_expiry_seconds{name="*.${DOMAIN}"}`)).toBeGreaterThan(Date.now() / 1000 + 80 * 86_400);
    session.close();
  });
});

/** Anything of this in an answer means that the admin listener was reached. */
const OURS = /traefik_service|route_build_info|"gateways":|no workload|there is nothing here|admin/;

describe("the admin listener", () => {
  const PATHS = ["/metrics", "/healthz", "/api/gateways", "/api/certificates", "//metrics", "/./metrics", "/x/../metrics", "/%2e%2e/metrics", "/metrics?x", "/healthz/../metrics"];

  test.each(PATHS)("cannot be reached through the plain address by any Host: %s", async (path) => {
    const { host } = new URL(gateway.adminUrl);
    for (const name of [host, "127.0.0.1", "localhost", `localhost:${host.split(":")[1]}`, "[::1]", DOMAIN, "", "admin"]) {
      const { text } = await RawClient.ask(gateway.httpPort, head("GET", path, [`Host: ${name}`, `X-Forwarded-Host: ${host}`, "X-Forwarded-For: 127.0.0.1"]));
      expect(text).toMatch(/^HTTP\/1\.1 \d{3}/);
      expect(text).not.toMatch(OURS);
      // The plain address has a /healthz of its own, which says one word.
      if (text.startsWith("HTTP/1.1 200")) expect([path, text.endsWith("\r\n\r\nOK")]).toEqual(["/healthz", true]);
    }
  });

  test("cannot be reached by an absolute target, CONNECT or OPTIONS *", async () => {
    const { host } = new URL(gateway.adminUrl);
    for (const line of [`GET ${gateway.adminUrl}/metrics HTTP/1.1`, `CONNECT ${host} HTTP/1.1`, "OPTIONS * HTTP/1.1", `GET @${host}/metrics HTTP/1.1`]) {
      const { text } = await RawClient.ask(gateway.httpPort, `${line}\r\nHost: ${host}\r\nConnection: close\r\n\r\n`, 2000);
      expect(text).not.toMatch(/^HTTP\/1\.1 2/);
      expect(text).not.toMatch(OURS);
    }
  });

  test("cannot be reached through TLS: a path leads to the workload, another Host nowhere", async () => {
    const { name } = await workload();
    const { host } = new URL(gateway.adminUrl);
    for (const path of PATHS) {
      for (const http of ["--http1.1", "--http2"]) {
        const own = await gateway.curl(name, path, "--path-as-is", http);
        // Refused, or answered by the workload, which says what it was asked; the table's /healthz is for unknown hosts only.
        expect(own).not.toMatch(OURS);
        const other = await gateway.curl(name, path, "--path-as-is", http, "-H", `Host: ${host}`, "-w", " %{http_code}");
        expect(other).not.toMatch(OURS);
        if (path !== "/healthz") expect(other).toMatch(/ (4\d\d|000)$/);
      }
    }
  });

  test("cannot be made a backend, not even where loopback is none", async () => {
    const strict = await TestGateway.start({ allowLoopbackBackends: false });
    const { host } = new URL(strict.adminUrl);
    const refused = await strict.admin("PUT", "/api/gateways/spy", { name: "spy", backends: [`http://${host}`] });
    expect([refused.status, await refused.json()]).toMatchObject([400, { error: expect.stringContaining("is a loopback address, this gateway itself") }]);
    await strict.stop();
  });

  test("answers whoever it is meant for", async () => {
    expect(await gateway.json("/healthz")).toMatchObject({ status: "ok" });
  });

  test.each([
    ["a page that has been rebound to us", 421, { Host: "evil.example" }],
    ["a page of another origin", 403, { Origin: "https://evil.example" }],
    ["an image on a page of another site", 403, { "Sec-Fetch-Site": "cross-site" }],
    ["a registered name as its Host", 421, { Host: `name-1.${DOMAIN}` }],
    ["a Host that is none", 400, { Host: "a/b" }],
  ])("refuses %s", async (_who, status, headers: Record<string, string>) => {
    const { host } = new URL(gateway.adminUrl);
    const lines = Object.entries({ Host: host, ...headers }).map(([name, value]) => `${name}: ${value}`);
    for (const path of ["/metrics", "/api/gateways", "/healthz"]) {
      const answer = await RawClient.ask(Number(new URL(gateway.adminUrl).port), head("GET", path, lines));
      expect(answer.status).toBe(status);
      expect(answer.text).not.toMatch(/traefik_service|"gateways":/);
    }
    const deletion = await RawClient.ask(Number(new URL(gateway.adminUrl).port), head("DELETE", "/api/gateways/wl-1", lines));
    expect(deletion.status).toBe(status);
  });

  test("with a token answers nobody who has none, under any name", async () => {
    const root = makeRoot();
    writeFileSync(join(root, "token"), "a-token-of-the-operator\n");
    const guarded = await TestGateway.start({ root, adminTokenFile: join(root, "token"), admin: "0.0.0.0:0" });
    const ask = (authorization?: string): Promise<Response> => fetch(`${guarded.adminUrl}/metrics`, { headers: authorization === undefined ? {} : { authorization } });
    expect([(await ask()).status, (await ask("Bearer wrong")).status, (await ask("Bearer a-token-of-the-operator")).status]).toEqual([401, 401, 200]);
    const { code, stderr } = await guarded.cli("gateways", "list");
    expect([code, stderr]).toEqual([1, "the admin API needs its token (Authorization: Bearer ...): give it with --admin-token FILE\n"]);
    expect((await guarded.cli("gateways", "list", "--admin-token", join(root, "token"))).code).toBe(0);
    await guarded.stop();
  });
});
