// A gateway beside routes of the operator's own: hosts that have a certificate by name are the operator's, whoever registers what.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatGateway } from "../../src/registry/format.ts";
import { gateway } from "../registry/examples.ts";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { makeRoot, program } from "../support/gateway.ts";
import { curl, untilServed } from "../support/https-client.ts";
import { HttpsRouter } from "../support/https-router.ts";
import { Pod } from "../support/pod.ts";

const PORTAL = `services: { portal: { text: "the portal\\n" }, app: { url: "http://127.0.0.1:9" } }
routes: [{ path: /, service: portal }, { path: /app, service: app }]
`;
const HEALTHZ = `services: { healthz: { text: OK } }
routes: [{ path: /healthz, match: exact, service: healthz }]
`;

describe.skipIf(!HAS_OPENSSL)("the operator's own hosts", () => {
  let root: string;
  let tenant: Pod;
  let router: HttpsRouter;

  beforeEach(() => {
    root = makeRoot();
    tenant = new Pod("127.0.0.1", ["tenant"]);
    mkdirSync(join(root, "proxy"));
  });
  afterEach(async () => {
    await router.stop();
    tenant.stop();
    rmSync(root, { recursive: true, force: true });
  });

  /** Certificates: desk.test and admin.gw.test from files, portal.gw.test and www.test by name, and *.corp.test. */
  async function start(table = PORTAL): Promise<void> {
    router = await HttpsRouter.start({
      tls: (files) => {
        files.put("admin", "admin.gw.test");
        files.put("corp", "*.corp.test");
        return `${files.section(["desk", "admin", "corp"], "names: [portal.gw.test, www.test]", `localAuthority: ${root}/authority`)}
entrypoints: { admin: "127.0.0.1:0" }
gateway: { root: ${root}, domain: gw.test, checkDomains: false, allowLoopbackBackends: true }
`;
      },
      table,
    });
    const caFile = join(root, "authority/ca.pem");
    for (const name of ["portal.gw.test", "www.test"]) await untilServed({ port: router.port, ca: readFileSync(caFile, "utf8"), caFile }, name);
  }

  function put(id: string, wish: object): Promise<Response> {
    return fetch(`${router.app.addresses.admin}/api/gateways/${id}`, {
      method: "PUT", headers: { "content-type": "application/json" }, body: JSON.stringify({ backends: [`http://127.0.0.1:${tenant.port("tenant")}`], ...wish }),
    });
  }

  async function answer(host: string): Promise<string> {
    return (await curl(router, host, "/", "-k")).stdout;
  }

  test.each([
    ["desk.test", { fqdn: "Desk.test" }], ["desk.test", { fqdn: "desk.test", backends: ["10.9.9.9:443"], tlsPassthrough: true }], ["www.test", { fqdn: "www.test" }],
    ["admin.gw.test", { name: "admin" }], ["portal.gw.test", { name: "Portal" }],
  ])("cannot be registered: %s by %j", async (host, wish) => {
    await start();
    const refused = await put("tenant", wish);
    expect([refused.status, await refused.json()]).toMatchObject([400, { error: `"${host}" is a host of this gateway's own, and no workload can have it` }]);
    expect(await answer(host)).toBe("the portal\n");
    expect(tenant.seen).toEqual([]);
  });

  test("cannot be registered by the command line, nor by a file, before or after the start", async () => {
    const file = (id: string): void => writeFileSync(join(root, "proxy", `${id}.yaml`), formatGateway(gateway(id, "desk.test", { resolver: null })));
    file("before");
    await start();
    const admin = router.app.addresses.admin ?? "";
    const problems = async (): Promise<unknown[]> => (await (await fetch(`${admin}/api/registry/problems`)).json()) as unknown[];
    const problem = '4:19: "desk.test" is a host of this gateway\'s own, and no workload can have it';
    expect(await problems()).toEqual([{ file: "before.yaml", problem }]);
    file("after");
    await eventually("the second file to be seen", problems, (found) => found.length === 2);
    const { code, stderr } = await program(["gateways", "set-fqdn", "tenant", "desk.test", "--backend", "http://10.0.0.1", "--admin", admin]);
    expect([code, stderr]).toEqual([1, expect.stringContaining('"desk.test" is a host of this gateway\'s own')]);
    expect(await answer("desk.test")).toBe("the portal\n");
  });

  test("below the gateway's domain have their own certificates, and are redirected to https; names that nobody registered have none", async () => {
    await start();
    expect((await put("1", { name: "blog" })).status).toBe(201);
    for (const [host, caFile] of [["admin.gw.test", router.caFile], ["portal.gw.test", join(root, "authority/ca.pem")]] as const) {
      expect((await curl(router, host, "/", "--cacert", caFile)).stdout).toBe("the portal\n");
      const plain = await fetch(`http://127.0.0.1:${router.httpPort}/x`, { headers: { host }, redirect: "manual" });
      expect([plain.status, plain.headers.get("location")]).toEqual([308, `https://${host}:${router.port}/x`]);
    }
    expect((await curl(router, "other.gw.test", "/", "-k")).stderr).toContain("unrecognized name");
  });

  test("are nobody's own where routes lead nowhere: certificates from files are for what is registered", async () => {
    await start(HEALTHZ);
    expect((await put("1", { fqdn: "desk.test" })).status).toBe(201);
    expect(await answer("desk.test")).toContain('"port":"tenant"');
  });

  test("do not keep their neighbours from being registered, nor what a wildcard from a file covers", async () => {
    await start();
    for (const [id, wish, host] of [["1", { name: "blog" }, "blog.gw.test"], ["2", { fqdn: "app.corp.test" }, "app.corp.test"], ["3", { fqdn: "x.desk.test" }, "x.desk.test"]] as const) {
      expect((await put(id, wish)).status).toBe(201);
      // A connection that was opened with the wildcard is misdirected once the domain has a certificate of its own.
      await eventually(`the workload at ${host}`, () => answer(host), (text) => text.includes('"port":"tenant"'));
    }
  });
});
