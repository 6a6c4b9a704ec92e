import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { RawClient } from "../support/raw.ts";
import { TestAdmin } from "./admin-client.ts";

const TOKEN = "0123456789-._~+/abcdef==";
const BODY = { name: "app", backends: ["http://10.0.0.1:9000"] };

describe("the token", () => {
  let admin: TestAdmin;
  beforeAll(async () => { admin = await TestAdmin.start({ token: TOKEN }, "0.0.0.0"); });
  afterAll(() => admin.stop());

  test.each([["GET", "/metrics"], ["GET", "/healthz"], ["GET", "/api/gateways"], ["PUT", "/api/gateways/w1"], ["DELETE", "/api/gateways/w1"], ["GET", "/nothing"], ["POST", "/metrics"], ["OPTIONS", "/metrics"]])(
    "is needed for %s %s, and nothing else is said", async (method, path) => {
      const { status, json, headers } = await admin.ask(method, path);
      expect([status, headers.get("www-authenticate")]).toEqual([401, 'Bearer realm="route admin"']);
      expect(json).toEqual({ error: "the admin API needs its token (Authorization: Bearer ...)" });
    });

  test.each([
    `Bearer ${TOKEN}x`, `Bearer ${TOKEN.slice(0, -1)}`, `Bearer ${TOKEN.toUpperCase()}`, "Bearer ", "Bearer", TOKEN, `Basic ${btoa(`admin:${TOKEN}`)}`,
    `Bearer ${TOKEN}, Bearer ${TOKEN}`, `Bearer ${TOKEN} ${TOKEN}`,
  ])("is not %j", async (authorization) => {
    const { status, headers } = await admin.ask("GET", "/metrics", { headers: { authorization } });
    expect([status, headers.get("www-authenticate")]).toEqual([401, 'Bearer realm="route admin", error="invalid_token"']);
  });

  test("cannot be given in the path", async () => {
    expect((await admin.ask("GET", `/metrics?token=${TOKEN}&access_token=${TOKEN}`)).status).toBe(401);
  });

  test.each([`Bearer ${TOKEN}`, `bearer ${TOKEN}`, `BEARER  ${TOKEN}`])("opens everything as %j", async (authorization) => {
    const headers = { authorization };
    expect((await admin.ask("GET", "/metrics", { headers })).status).toBe(200);
    expect((await admin.ask("PUT", "/api/gateways/w1", { headers, body: BODY })).status).toBeOneOf([200, 201]);
  });

  test("makes any name good", async () => {
    expect((await admin.ask("GET", "/metrics", { headers: { authorization: `Bearer ${TOKEN}`, host: "node7.example.org:9090" } })).status).toBe(200);
  });

  test("does not open the door for pages of other origins", async () => {
    expect((await admin.ask("GET", "/metrics", { headers: { authorization: `Bearer ${TOKEN}`, origin: "https://evil.example" } })).status).toBe(403);
  });
});

describe("a browser on the machine", () => {
  let admin: TestAdmin;
  beforeEach(async () => { admin = await TestAdmin.start({ hostNames: ["admin.example.org"] }); });
  afterEach(() => admin.stop());

  test.each(["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp", "text/json", ""])(
    "cannot register with the type %j, which needs no permission", async (type) => {
      const { status, json, headers } = await admin.ask("PUT", "/api/gateways/w1", { body: BODY, headers: { "content-type": type } });
      expect([status, headers.get("accept")]).toEqual([415, "application/json"]);
      expect(json.error).toContain("application/json");
      expect(admin.registry.list()).toEqual([]);
    });

  test("may say the character set of its JSON", async () => {
    expect((await admin.ask("PUT", "/api/gateways/w1", { body: BODY, headers: { "content-type": "Application/JSON; charset=utf-8" } })).status).toBe(201);
  });

  test.each(["https://evil.example", "null", "http://localhost", "http://localhost:1", "http://127.0.0.1", "file://"])("cannot do anything from the origin %s", async (origin) => {
    for (const [method, body] of [["PUT", BODY], ["DELETE", undefined], ["GET", undefined]] as const) {
      const { status, headers } = await admin.ask(method, "/api/gateways/w1", { ...(body ? { body } : {}), headers: { origin } });
      expect([status, headers.get("access-control-allow-origin")]).toEqual([403, null]);
    }
    expect(admin.registry.list()).toEqual([]);
  });

  test("gets no permission when it asks first", async () => {
    const headers = { origin: "https://evil.example", "access-control-request-method": "PUT", "access-control-request-headers": "content-type" };
    const answer = await admin.ask("OPTIONS", "/api/gateways/w1", { headers });
    expect(answer.status).toBe(403);
    expect([...answer.headers.keys()].filter((name) => name.startsWith("access-control"))).toEqual([]);
  });

  test.each(["cross-site", "same-site"])("takes no scrape along with an image of a %s page", async (site) => {
    expect((await admin.ask("GET", "/metrics", { headers: { "sec-fetch-site": site } })).status).toBe(403);
  });

  test.each([["none"], ["same-origin"]])("may look when the operator asks for it (%s)", async (site) => {
    expect((await admin.ask("GET", "/metrics", { headers: { "sec-fetch-site": site, origin: admin.server.url } })).status).toBe(200);
  });

  test.each(["evil.example", "evil.example:9090", "localhost.evil.example", "127.0.0.1.evil.example", "admin.example.org.evil.example", "foo.localhost"])(
    "is not led here by the name %s", async (host) => {
      const { status, json } = await admin.ask("PUT", "/api/gateways/w1", { body: BODY, headers: { host, origin: `http://${host}` } });
      expect(status).toBe(421);
      expect(json.error).toContain("the admin API is not called");
      expect(admin.registry.list()).toEqual([]);
    });

  test.each(["localhost", "LOCALHOST:9090", "127.0.0.1:9090", "10.1.2.3", "[::1]:9090", "[::1]", "admin.example.org", "Admin.Example.org.:80"])("finds it as %s", async (host) => {
    expect((await admin.ask("GET", "/healthz", { headers: { host } })).status).toBe(200);
  });

  test.each([
    "GET /healthz HTTP/1.0\r\n", "GET /healthz HTTP/1.1\r\nhost:\r\n", "GET /healthz HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n",
    "GET /healthz HTTP/1.1\r\nhost: a@localhost\r\n", "GET /healthz HTTP/1.1\r\nhost: localhost/x\r\n", "GET /healthz HTTP/1.1\r\nhost: localhost:99999999\r\n",
    "GET /healthz HTTP/1.1\r\nhost: 127.1\r\n", "GET /healthz HTTP/1.1\r\nhost: 2130706433\r\n", "CONNECT localhost:80 HTTP/1.1\r\nhost: localhost:80\r\n",
  ])("is refused with a Host that says nothing certain: %j", async (head) => {
    const client = await RawClient.ask(admin.server.port, `${head}connection: close\r\n\r\n`);
    expect(client.status).toBe(400);
  });

  test("finds the Host that counts in an absolute target to be the header's", async () => {
    const client = await RawClient.ask(admin.server.port, "GET http://localhost/healthz HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
    expect(client.status).toBe(421);
  });
});
