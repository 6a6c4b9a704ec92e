import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BODY_LIMIT_BYTES } from "../../src/admin/api.ts";
import { RegistryError } from "../../src/registry/errors.ts";
import { eventually } from "../support/eventually.ts";
import { RawClient } from "../support/raw.ts";
import { TestAdmin } from "./admin-client.ts";

let admin: TestAdmin;
beforeEach(async () => { admin = await TestAdmin.start(); });
afterEach(() => admin.stop());

const NAMED = { name: "app", backends: ["http://10.0.0.1:9000"] };

describe("gateways", () => {
  test("registers a name below the gateway's domain", async () => {
    const answer = await admin.ask("PUT", "/api/gateways/37-1976-app", { body: NAMED });
    expect(answer.status).toBe(201);
    expect(answer.json).toEqual({
      id: "37-1976-app", service: "37-1976-app", fqdn: "app.gent01.dev.grid.tf", tlsPassthrough: false, backends: ["http://10.0.0.1:9000"],
      certificateResolver: "dnsresolver", certificateNames: ["*.gent01.dev.grid.tf"],
    });
    expect(await readFile(join(admin.root, "proxy", "37-1976-app.yaml"), "utf8")).toContain("Host(`app.gent01.dev.grid.tf`)");
    expect(admin.logged).toEqual(['gateway set by the admin API {"workload":"37-1976-app","fqdn":"app.gent01.dev.grid.tf"}']);
  });

  test("registers a whole domain with TLS passthrough", async () => {
    const { status, json } = await admin.ask("PUT", "/api/gateways/w1", { body: { fqdn: "Remote.Example.org", backends: ["https://10.0.0.1", "[fd00::1]:444"], tlsPassthrough: true } });
    expect(status).toBe(201);
    expect(json).toMatchObject({ fqdn: "remote.example.org", tlsPassthrough: true, backends: ["10.0.0.1:443", "[fd00::1]:444"], certificateResolver: null });
  });

  test("changes what the same workload has registered", async () => {
    await admin.ask("PUT", "/api/gateways/w1", { body: NAMED });
    const { status, json } = await admin.ask("PUT", "/api/gateways/w1", { body: { ...NAMED, backends: ["http://10.0.0.2"] } });
    expect([status, json.backends]).toEqual([200, ["http://10.0.0.2:80"]]);
  });

  test("shows one, and all", async () => {
    const first = await admin.ask("PUT", "/api/gateways/w1", { body: NAMED });
    const second = await admin.ask("PUT", "/api/gateways/w2", { body: { ...NAMED, name: "other" } });
    expect((await admin.ask("GET", "/api/gateways/w2")).json).toEqual(second.json);
    expect((await admin.ask("GET", "/api/gateways")).json).toEqual([first.json, second.json]);
  });

  test("takes back what it shows", async () => {
    const { json } = await admin.ask("PUT", "/api/gateways/w1", { body: { fqdn: "a.example.org", backends: ["[fd00::1]:8443"], tlsPassthrough: true } });
    const { fqdn, backends, tlsPassthrough } = json;
    expect((await admin.ask("PUT", "/api/gateways/w1", { body: { fqdn, backends, tlsPassthrough } })).json).toEqual(json);
  });

  test("deletes, also what is not there", async () => {
    await admin.ask("PUT", "/api/gateways/w1", { body: NAMED });
    const answers = [await admin.ask("DELETE", "/api/gateways/w1"), await admin.ask("DELETE", "/api/gateways/w1")];
    expect(answers.map(({ status, text, headers }) => [status, text, headers.get("x-deleted")])).toEqual([[204, "", "true"], [204, "", "false"]]);
    expect(admin.logged.filter((line) => line.startsWith("gateway deleted")).length).toBe(1);
    expect((await admin.ask("GET", "/api/gateways")).json).toEqual([]);
  });

  test("answers 404 for a workload that is not registered", async () => {
    const { status, json } = await admin.ask("GET", "/api/gateways/w1");
    expect([status, json]).toEqual([404, { error: 'no workload "w1" is registered' }]);
  });

  test("finds a workload whose id must be encoded, decoded once", async () => {
    const id = "50%25 über?#";
    const path = `/api/gateways/${encodeURIComponent(id)}`;
    const { status, json } = await admin.ask("PUT", path, { body: NAMED });
    expect([status, json.id]).toEqual([201, id]);
    expect((await admin.ask("GET", path)).json.id).toBe(id);
    expect((await admin.ask("DELETE", path)).status).toBe(204);
    expect(admin.registry.list()).toEqual([]);
  });

  test.each(["%ff", "50%", "%c3%28", "%zz"])("refuses an id that cannot be decoded: %p", async (written) => {
    for (const method of ["PUT", "GET", "DELETE"]) {
      const { status, json } = await admin.ask(method, `/api/gateways/${written}`, method === "PUT" ? { body: NAMED } : {});
      expect([status, json.error]).toEqual([400, `the workload id "${written}" cannot be decoded: %XX stands for bytes of UTF-8, and %25 for a percent sign`]);
    }
    expect(admin.registry.list()).toEqual([]);
  });

  test("sums the bytes of each service", async () => {
    admin.meter.moved("w1", { code: "200", method: "GET", protocol: "http" }, 1, 10);
    admin.meter.moved("w1", { code: "101", method: "GET", protocol: "websocket" }, 2, 20);
    expect((await admin.ask("GET", "/api/gateways/metrics")).json).toEqual({ Request: { w1: 3 }, Response: { w1: 30 } });
  });

  test("deletes a workload that is called metrics, and registers none: it could not be read", async () => {
    const refused = await admin.ask("PUT", "/api/gateways/metrics", { body: NAMED });
    expect([refused.status, refused.json.error]).toEqual([400, 'workload id "metrics" cannot be registered here: GET /api/gateways/metrics is the bytes by service, so nobody could read it']);
    await admin.options.gateways!.calls.setNamedProxy("metrics", "app", ["http://10.0.0.1:9000"], false);
    expect((await admin.ask("GET", "/api/gateways")).json[0].id).toBe("metrics");
    expect((await admin.ask("DELETE", "/api/gateways/metrics")).status).toBe(204);
    expect(admin.registry.list()).toEqual([]);
  });

  test("answers 404 where there is no gateway", async () => {
    const without = await TestAdmin.start({ gateways: null });
    try {
      const asked = [["GET", "/api/gateways"], ["PUT", "/api/gateways/w1"], ["GET", "/api/gateways/metrics"]] as const;
      for (const [method, path] of asked) expect((await without.ask(method, path)).status).toBe(404);
      expect((await without.ask("GET", "/api/registry/problems")).json).toEqual([]);
    } finally {
      await without.stop();
    }
  });
});

describe("refused registrations", () => {
  const faultsOf = async (body: unknown, id = "w1"): Promise<[number, string[]]> => {
    const { status, json } = await admin.ask("PUT", `/api/gateways/${id}`, { body });
    expect(json.error).toBe(json.faults.join("; "));
    expect(admin.registry.list()).toEqual([]);
    return [status, json.faults];
  };

  test.each([
    [{ name: "a", backends: ["http://10.0.0.1"], backend: [] }, ['unknown key "backend" (did you mean "backends"?)']],
    [{ name: "a", backends: ["http://10.0.0.1"], tls_passthrough: true }, ['unknown key "tls_passthrough" (did you mean "tlsPassthrough"?)']],
    [{ name: "a", backends: ["http://10.0.0.1"], Network: null }, ['unknown key "Network" (known are name, fqdn, backends, tlsPassthrough)']],
    [{ name: "a", fqdn: "a.example.org", backends: ["http://10.0.0.1"] }, ['only one of "name" and "fqdn" can be given']],
    [{ backends: ["http://10.0.0.1"] }, ['either "name" (below the gateway\'s own domain) or "fqdn" (a whole domain) is needed']],
    [{ name: 7, backends: ["http://10.0.0.1"] }, ['"name" must be a string, and it is a number']],
    [{ name: "a" }, ['"backends" is missing: a list with at least one']],
    [{ name: "a", backends: "http://10.0.0.1" }, ['"backends" must be a list, and it is a string']],
    [{ name: "a", backends: ["http://10.0.0.1", null, {}] }, ['"backends[1]" must be a string, and it is null', '"backends[2]" must be a string, and it is an object']],
    [{ name: "a", backends: ["http://10.0.0.1"], tlsPassthrough: "true" }, ['"tlsPassthrough" must be a boolean, and it is a string']],
    [[], ["the body must be a JSON object, and it is a list"]],
    ["null", ["the body must be a JSON object, and it is null"]],
    ["7", ["the body must be a JSON object, and it is a number"]],
    [{ name: "a", backends: [] }, ["no backends: at least one is needed"]],
  ])("says of %j what is wrong", async (body, faults) => {
    expect(await faultsOf(body)).toEqual([400, faults]);
  });

  test.each(["", "{", "name=a", '{"name":"a"}{}', "[".repeat(60_000)])("refuses a body that is no JSON", async (body) => {
    const [status, faults] = await faultsOf(body);
    expect(status).toBe(400);
    expect(faults[0]).toStartWith("the body is not JSON: ");
  });

  test("treats __proto__ as the unknown key that it is", async () => {
    expect(await faultsOf('{"name":"a","backends":["http://10.0.0.1"],"__proto__":{}}')).toEqual([400, [expect.stringContaining('unknown key "__proto__"')]]);
  });

  test("lists the faults of the shape, the id, the name and the backends in one answer", async () => {
    const [status, faults] = await faultsOf({ name: "a b", tlsPassthru: true, backends: ["http://host.example", "ftp://10.0.0.1:99999"] }, "..%2Fetc");
    expect(status).toBe(400);
    for (const part of ['unknown key "tlsPassthru"', '"../etc"', '"a b"', '"host.example" is a host name', "not ftp://", '"99999"']) expect(faults.join("\n")).toContain(part);
    expect(faults.length).toBe(6);
  });

  test("lists all faults of the values in one answer", async () => {
    const [status, faults] = await faultsOf({ fqdn: "x.gent01.dev.grid.tf", backends: ["http://127.0.0.1", "http://203.0.113.1:80"] });
    expect(status).toBe(400);
    expect(faults.length).toBe(3);
  });

  test("answers 409 for a domain that another workload has", async () => {
    await admin.ask("PUT", "/api/gateways/w1", { body: NAMED });
    const { status, json } = await admin.ask("PUT", "/api/gateways/w2", { body: { ...NAMED, name: "APP" } });
    expect([status, json.faults]).toEqual([409, [json.error]]);
    expect(json.error).toContain("app.gent01.dev.grid.tf");
    expect(admin.registry.list().map(({ id }) => id)).toEqual(["w1"]);
  });

  test("answers 422 for a domain that points elsewhere", async () => {
    const { status, json } = await admin.ask("PUT", "/api/gateways/w1", { body: { fqdn: "elsewhere.example.org", backends: ["http://10.0.0.1"] } });
    expect([status, json.error]).toEqual([422, 'domain "elsewhere.example.org" points elsewhere']);
  });

  test.each(["..%2F..%2Fx", "%2e%2e%2Fx", "a%2Fb", "a%00b", ".hidden", "x".repeat(300)])("refuses the id %s, for deleting too", async (id) => {
    expect((await admin.ask("PUT", `/api/gateways/${id}`, { body: NAMED })).status).toBe(400);
    expect((await admin.ask("DELETE", `/api/gateways/${id}`)).status).toBe(400);
    expect(admin.registry.list()).toEqual([]);
  });

  test("takes a body of exactly the limit and refuses one byte more with 413", async () => {
    const text = JSON.stringify(NAMED);
    expect((await admin.ask("PUT", "/api/gateways/w1", { body: text.padEnd(BODY_LIMIT_BYTES) })).status).toBe(201);
    const { status, json } = await admin.ask("PUT", "/api/gateways/w2", { body: text.padEnd(BODY_LIMIT_BYTES + 1) });
    expect([status, json]).toEqual([413, { error: "the body has more than 65536 bytes" }]);
  });

  test("refuses a chunked body that grows over the limit before it has ended", async () => {
    const client = await RawClient.open(admin.server.port);
    client.write(`PUT /api/gateways/w1 HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`);
    for (let i = 0; i < 9; i += 1) client.write(`2000\r\n${" ".repeat(0x2000)}\r\n`);
    await client.until(() => client.status !== 0);
    client.close();
    expect(client.status).toBe(413);
  });

  test("says what cannot be written, and logs it", async () => {
    const calls = { ...admin.options.gateways!.calls, deleteNamedProxy: () => Promise.reject(new RegistryError("storage", ["cannot remove the file: EROFS"])) };
    const broken = await TestAdmin.start({ gateways: { calls, registry: admin.registry } });
    const { status, json } = await broken.ask("DELETE", "/api/gateways/w1");
    expect([status, json.error, broken.logged.length]).toEqual([500, "cannot remove the file: EROFS", 1]);
    await broken.stop();
  });

  test.each([["PUT", "write", { body: NAMED }], ["DELETE", "remove", {}]])("names no path of the machine when the file system fails, which the log does: %s", async (method, verb, options) => {
    // A directory in the file's place can be neither replaced nor unlinked, by root either.
    await mkdir(join(admin.root, "proxy", "w1.yaml"));
    const { status, json } = await admin.ask(method, "/api/gateways/w1", options);
    expect([status, json.error]).toEqual([500, expect.stringMatching(new RegExp(`^cannot ${verb} the file of workload "w1": E[A-Z]+$`))]);
    expect(admin.logged.at(-1)).toContain(join(admin.root, "proxy"));
  });

  test("keeps to itself what went wrong inside, and logs it", async () => {
    const broken = await TestAdmin.start({ certificates: () => { throw new Error("the secret reason"); } });
    const { status, json, headers } = await broken.ask("GET", "/api/certificates");
    expect([status, json, headers.get("cache-control")]).toEqual([500, { error: "internal error" }, "no-store"]);
    expect(broken.logged[0]).toContain("the secret reason");
    await broken.stop();
  });
});

describe("what there is to see", () => {
  test("shows certificates with names, issuer, expiry, next renewal and last error", async () => {
    admin.certificates = [
      { file: null, names: ["*.example.org"], issuer: "R11", notAfterMs: Date.UTC(2030, 0, 2), nextRenewalMs: Date.UTC(2029, 11, 3, 4, 5), lastError: null, failures: 0 },
      { file: null, names: ["new.example.org"], issuer: null, notAfterMs: null, nextRenewalMs: null, lastError: { message: "rate limited", atMs: 0 }, failures: 3 },
    ];
    expect((await admin.ask("GET", "/api/certificates")).json).toEqual([
      { file: null, names: ["*.example.org"], issuer: "R11", expiry: "2030-01-02T00:00:00.000Z", nextRenewal: "2029-12-03T04:05:00.000Z", lastError: null, failures: 0 },
      { file: null, names: ["new.example.org"], issuer: null, expiry: null, nextRenewal: null, lastError: { message: "rate limited", time: "1970-01-01T00:00:00.000Z" }, failures: 3 },
    ]);
  });

  test("shows which files of the registry are bad, and why", async () => {
    await writeFile(join(admin.root, "proxy", "bad.yaml"), "http: [");
    const found = await eventually("the bad file", async () => (await admin.ask("GET", "/api/registry/problems")).json, (json) => json.length > 0);
    expect(found).toEqual([{ file: "bad.yaml", problem: expect.stringMatching(/^.*\d+:\d+.*$/s) }]);
  });

  test("shows metrics as Prometheus text", async () => {
    admin.meter.moved("w1", { code: "200", method: "GET", protocol: "http" }, 12, 345);
    const { status, text, headers } = await admin.ask("GET", "/metrics");
    expect([status, headers.get("content-type")]).toEqual([200, "text/plain; version=0.0.4; charset=utf-8"]);
    expect(text).toContain('traefik_service_responses_bytes_total{code="200",method="GET",protocol="http",service="w1@file"} 345\n');
  });

  test("does not take HEAD for a scrape", async () => {
    admin.meter.moved("w1", { code: "200", method: "GET", protocol: "http" }, 12, 345);
    admin.meter.forget("w1");
    expect((await admin.ask("HEAD", "/metrics")).status).toBe(200);
    expect((await admin.ask("GET", "/metrics")).text).toContain('service="w1@file"');
    expect((await admin.ask("GET", "/metrics")).text).not.toContain('service="w1@file"');
  });

  test("answers a health check as long as it answers, with what a restart would not mend beside it", async () => {
    expect((await admin.ask("GET", "/healthz")).json).toEqual({ status: "ok" });
    admin.health = { status: "ok", gateways: 3, zbus: false };
    const { status, json } = await admin.ask("GET", "/healthz");
    expect([status, json]).toEqual([200, { status: "ok", gateways: 3, zbus: false }]);
  });
});

describe("what there is not", () => {
  test.each([
    ["POST", "/api/gateways", "GET, HEAD"], ["PUT", "/api/gateways", "GET, HEAD"], ["DELETE", "/api/gateways", "GET, HEAD"],
    ["POST", "/api/gateways/w1", "GET, HEAD, PUT, DELETE"], ["PATCH", "/api/gateways/w1", "GET, HEAD, PUT, DELETE"],
    ["OPTIONS", "/api/gateways/w1", "GET, HEAD, PUT, DELETE"], ["POST", "/api/gateways/metrics", "GET, HEAD, PUT, DELETE"],
    ["POST", "/api/certificates", "GET, HEAD"], ["DELETE", "/api/registry/problems", "GET, HEAD"], ["POST", "/metrics", "GET, HEAD"], ["PUT", "/healthz", "GET, HEAD"],
  ])("answers %s %s with 405 and what is allowed", async (method, path, allow) => {
    const { status, json, headers } = await admin.ask(method, path);
    expect([status, headers.get("allow")]).toEqual([405, allow]);
    expect(json.error).toContain(method);
  });

  test.each(["/", "/api", "/metrics/", "/Metrics", "/api/gateways/w1/x", "/api/gateways/", "//metrics", "/metrics%2f", "/api/gateways/..;/metrics", "/healthz%00"])("answers %s with 404", async (path) => {
    const client = await RawClient.ask(admin.server.port, `GET ${path} HTTP/1.1\r\nhost: localhost\r\n\r\n`);
    expect([client.status, Object.keys(JSON.parse(client.body))]).toEqual([404, ["error"]]);
  });

  test.each([["GET", "/metrics"], ["GET", "/nothing"], ["POST", "/metrics"], ["PUT", "/api/gateways/w1"], ["GET", "/healthz"]])("lets nobody store or guess %s %s", async (method, path) => {
    const { headers } = await admin.ask(method, path);
    expect([headers.get("cache-control"), headers.get("x-content-type-options")]).toEqual(["no-store", "nosniff"]);
  });
});

describe("every answer", () => {
  test.each([["GET", "/api/gateways"], ["GET", "/healthz"], ["GET", "/nothing"], ["POST", "/metrics"], ["PUT", "/api/gateways/w1"], ["GET", "/api/cache"], ["DELETE", "/api/gateways/w1"]])("says that it is the admin API's: %s %s", async (method, path) => {
    expect((await admin.ask(method, path)).headers.get("x-route-gateway")).toBe("admin");
  });

  test("also one that fails, or is refused to whoever may not ask", async () => {
    admin.cache = { stats: () => { throw new Error("broken"); }, purge: () => 0 };
    const failed = await admin.ask("GET", "/api/cache");
    const foreign = await admin.ask("GET", "/api/gateways", { headers: { origin: "https://evil.example" } });
    expect([failed, foreign].map(({ status, headers }) => [status, headers.get("x-route-gateway")])).toEqual([[500, "admin"], [403, "admin"]]);
  });
});
