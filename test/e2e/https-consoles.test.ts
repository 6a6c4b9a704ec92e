// Consoles of virtual machines over TLS: the bridge by wss, the viewer's page by https, and the pages' own rules about both.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { KubernetesApi, SECRET, token } from "../support/console-router.ts";
import { curl, TlsDoor } from "../support/https-client.ts";
import { HttpsRouter } from "../support/https-router.ts";
import { OP, WsClient } from "../support/ws-client.ts";

const TABLE = `
token: { vm: { secret: "\${SECRET_KEY}" } }
services:
  vnc: { kubernetes: "\${API}" }
routes:
  - { path: "/vnc/{token}/{vm}", identity: vm, service: vnc, viewer: true }
  - { path: "/loud/{token}/{vm}", identity: vm, service: vnc, closeAfterUpgrade: true, origins: ["https://labs.test"] }
`;

let api: KubernetesApi;
let router: HttpsRouter;
let door: TlsDoor;

beforeAll(async () => {
  if (!HAS_OPENSSL) return;
  api = new KubernetesApi();
  router = await HttpsRouter.start({ tls: (files) => files.section(["desk"], "hsts: 1d"), table: TABLE, env: { SECRET_KEY: SECRET, API: api.url } });
  door = await TlsDoor.open(router, "desk.test");
});
afterEach(() => { if (HAS_OPENSSL) api.seen.length = 0; });
afterAll(async () => {
  door?.close();
  await router?.stop();
  api?.stop();
});

function open(path: string, origin: string | null): Promise<WsClient> {
  return WsClient.try(door.port, path, { headers: { Host: `desk.test:${router.port}`, "Sec-WebSocket-Protocol": "binary", ...(origin === null ? {} : { Origin: origin }) } });
}

describe.skipIf(!HAS_OPENSSL)("a console over wss", () => {
  test("is bridged for its own page, and the API hears nothing of the client's token", async () => {
    const client = await open(`/vnc/${token()}/ubuntu`, `https://desk.test:${router.port}`);
    expect([client.status, client.header("sec-websocket-protocol")]).toEqual([101, "binary"]);
    client.send(OP.binary, "RFB 003.008\n");
    await client.until(() => client.messages.length === 1);
    expect(client.messages[0]?.data.toString()).toBe("RFB 003.008\n");
    expect(api.seen.map(({ target }) => target)).toEqual(["/apis/subresources.kubevirt.io/v1/namespaces/lab-2/virtualmachineinstances/ubuntu/vnc"]);
    expect(api.seen[0]?.head).not.toContain("eyJ");
    client.sendClose(1000);
    await client.ended();
    await api.until(() => router.app.counts.sessions === 0);
    expect(router.events("access").at(-1)).toMatchObject({ status: 101, route: "/vnc/{token}/{vm}", client: "127.0.0.1" });
    expect(router.log.text).not.toContain("eyJ");
  });

  test("is refused to other pages, and to tokens that do not name it", async () => {
    expect((await open(`/vnc/${token()}/ubuntu`, "https://evil.test")).status).toBe(403);
    expect((await open(`/vnc/${token()}/other`, null)).status).toBe(403);
    expect((await open("/vnc/eyJh.e30.AAAA/ubuntu", null)).status).toBe(401);
    expect(api.seen).toEqual([]);
  });

  test("closes after the upgrade with the reason where the route says so, for the origins that it lists", async () => {
    const refused = await open("/loud/eyJh.e30.AAAA/ubuntu", "https://labs.test");
    expect([refused.status, (await refused.ended())?.code]).toEqual([101, 1000]);
    const client = await open(`/loud/${token()}/ubuntu`, "https://labs.test");
    client.send(OP.binary, "x");
    await client.until(() => client.messages.length === 1);
    client.close();
  });
});

describe.skipIf(!HAS_OPENSSL)("the viewer's page over https", () => {
  const page = (version: string) => curl(router, "desk.test", `/vnc/${token()}/ubuntu`, "-i", version, "-H", "Accept: text/html");

  test.each(["--http1.1", "--http2"])("is the same over either protocol, with its policy and HSTS (%s)", async (version) => {
    const { stdout } = await page(version);
    expect(stdout).toMatch(/^HTTP\/[\d.]+ 200/);
    for (const line of ["strict-transport-security: max-age=86400", "cache-control: no-store", "referrer-policy: no-referrer"]) expect(stdout.toLowerCase()).toContain(`\r\n${line}\r\n`);
    // `self` has wss of the same host and port in it (CSP level 3, section 6.7.2.8); https-browser.test.ts sees a browser agree.
    expect(/content-security-policy: (.*)\r/i.exec(stdout)?.[1]).toContain("connect-src 'self'");
  });

  test("has its files beside it", async () => {
    const { stdout } = await curl(router, "desk.test", "/vnc/_viewer/client.js", "-o", "/dev/null", "-w", "%{http_code} %{content_type} %{http_version}");
    expect(stdout).toBe("200 text/javascript; charset=utf-8 2");
  });
});
