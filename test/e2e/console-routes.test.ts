// Consoles as routes of a routes.yaml: beside desktops and a website, several prefixes and kinds of console, tokens in other
// places than the path. And what the access log says about a session.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { mintDesktopToken } from "../../src/token/mint.ts";
import { tokenHash } from "../../src/token/token-hash.ts";
import { ConsoleRouter, remember, token } from "../support/console-router.ts";
import { answerRecord, Pod } from "../support/pod.ts";
import { waitFor, WsClient } from "../support/ws-client.ts";

const CONFIG = `
token:
  desktop: { signingPublicKeys: ["\${SIGNING_KEY}"], payloadPrivateKey: "\${PAYLOAD_KEY}" }
  vm: { secret: "\${SECRET_KEY}" }
services:
  site: { url: "http://127.0.1.1:\${SITE_PORT}" }
  desk: { target: desktop, port: "\${DESK_PORT}" }
  screen: { kubernetes: "\${API}" }
  serial: { kubernetes: "\${API}", apiPath: "/apis/subresources.kubevirt.io/v1alpha3/namespaces/{namespace}/virtualmachineinstances/{vmi_name}/console" }
  held: { kubernetes: "\${API}", consolePolicy: preserve }
routes:
  - { path: /, service: site }
  - { path: /desk, service: desk, token: [header:Authorization, "parameter:jwt_token"], websocket: true }
  - { path: ["/screen/{token}/{vm}", "/a/b/{token}/{vm}"], name: screens, service: screen, identity: vm }
  - { path: "/serial/{token}/{vm}", service: serial, identity: vm, origins: any }
  - { path: "/listed/{token}/{vm}", service: screen, identity: vm, origins: [https://lab.example] }
  - { path: "/held/{vm}/by/{token}", service: held, identity: vm }
  - { path: "/header/{vm}", service: screen, identity: vm, token: [header:Authorization], forwardToken: true }
  - { path: "/parameter/{vm}", service: screen, identity: vm, token: ["parameter:token"], forwardToken: true }
  - { path: "/either/{token}/{vm}", service: screen, identity: vm, token: [header:X-Console-Token, path], forwardToken: true }
  - { path: "/query/{vm}", service: screen, identity: vm, token: [query] }
  - { path: "/closing/{token}/{vm}", service: screen, identity: vm, closeAfterUpgrade: true }
  - { path: "/near/{token}/{vm}", service: screen, identity: vm, allowedClients: [10.0.0.0/8] }
  - { path: "/far/{token}/{vm}", service: screen, identity: vm, allowedClients: [10.0.0.0/8], closeAfterUpgrade: true }
`;

let site: Pod;
let router: ConsoleRouter;
beforeAll(async () => {
  site = new Pod("127.0.1.1", ["site", "desk"]);
  router = await ConsoleRouter.file(CONFIG, { SITE_PORT: String(site.port("site")), DESK_PORT: String(site.port("desk")) });
});
afterEach(async () => {
  await router.idle();
  router.expectNoSecretIn("");
  router.api.seen.length = 0;
  site.seen.length = 0;
});
afterAll(async () => {
  await router.stop();
  site.stop();
});

const V1 = "/apis/subresources.kubevirt.io/v1/namespaces/lab-2/virtualmachineinstances";
const NO_TOKEN = { status: 401, body: "unauthorized", reason: "no token" };
const desktopToken = (): string => remember(mintDesktopToken({
  host: "127.0.1.1", signingPrivateKey: router.keys.signingPrivateKey, payloadPublicKey: router.keys.payloadPublicKey, ttlS: 60,
}));

/** Opens, echoes, and asks the API for this. */
async function expectConsole(path: string, target: string, headers: Record<string, string> = {}): Promise<void> {
  const { client, seen } = await router.expectOpen(path, { headers });
  expect(seen.requestLine).toBe(`GET ${target} HTTP/1.1`);
  client.close();
}

describe("several consoles in one file", () => {
  test("share a route under each of its paths", async () => {
    await expectConsole(`/screen/${token()}/ubuntu`, `${V1}/ubuntu/vnc`);
    await expectConsole(`/a/b/${token()}/win.office`, `${V1}/win.office/vnc`);
  });

  test("are screens and serial lines, of this and of older clusters", async () => {
    await expectConsole(`/serial/${token()}/ubuntu`, "/apis/subresources.kubevirt.io/v1alpha3/namespaces/lab-2/virtualmachineinstances/ubuntu/console");
  });

  test("keep the first viewer where the service says so, and only there", async () => {
    await expectConsole(`/held/ubuntu/by/${token()}`, `${V1}/ubuntu/vnc?preserveSession=true`);
    await expectConsole(`/held/ubuntu/by/${token()}?preserveSession=false`, `${V1}/ubuntu/vnc?preserveSession=true`);
    await expectConsole(`/screen/${token()}/ubuntu?preserveSession=true`, `${V1}/ubuntu/vnc`);
  });

  test("have one token for all, and each its own list", async () => {
    const good = token();
    await expectConsole(`/screen/${good}/ubuntu`, `${V1}/ubuntu/vnc`);
    await expectConsole(`/either/${good}/ubuntu`, `${V1}/ubuntu/vnc`);
    await router.expectRefused(`/serial/${good}/debian`, { status: 403, body: "forbidden", reason: "the token does not list the virtual machine \"debian\"" });
  });
});

describe("a console beside a website and desktops", () => {
  test.each([
    "/", "/screen", "/screen/", "/screen/x", "/screen/x/y/z", "/a/b", "/a/x/y/z", "/closed/x/y", "/header", "/header/", "/header/x/y",
  ])("leaves %s to the website", async (path) => {
    site.answer(answerRecord);
    expect((await router.ask("GET", path)).status).toBe(200);
    expect(site.seen.map(({ port, target }) => [port, target])).toEqual([["site", path]]);
    expect(router.api.seen).toEqual([]);
  });

  test("takes a plain request to its own path, and answers 426", async () => {
    for (const path of ["/screen/x/ubuntu", "/header/ubuntu", "/parameter/ubuntu?token=x", "/held/ubuntu/by/x"]) {
      const answer = await router.ask("GET", path);
      expect({ path, status: answer.status, upgrade: answer.header("upgrade") }).toEqual({ path, status: 426, upgrade: "websocket" });
    }
    expect(site.seen).toEqual([]);
  });

  test("takes no request from a desktop, nor gives one to it", async () => {
    site.answer((seen, connection) => connection.accept(seen));
    const client = await WsClient.open(router.port, `/desk?jwt_token=${desktopToken()}`);
    client.close();
    expect(site.seen.map(({ port }) => port)).toEqual(["desk"]);
    expect(router.api.seen).toEqual([]);
    await router.expectRefused(`/desk?jwt_token=${token()}`, { status: 401, body: "unauthorized", reason: "token algorithm is not RS256" });
    await router.expectRefused(`/screen/${desktopToken()}/ubuntu`, { status: 401, body: "unauthorized", reason: "token algorithm is not HS256" });
    expect(site.seen).toHaveLength(1);
  });
});

describe("the Origin at a console of a routes.yaml", () => {
  const refusal = (origin: string) => ({ status: 403, body: "forbidden", reason: `origin refused: "${origin}"` });
  test("is its own host unless the file says otherwise", async () => {
    await expectConsole(`/screen/${token()}/ubuntu`, `${V1}/ubuntu/vnc`, { Host: "lab.example", Origin: "https://lab.example" });
    await router.expectRefused(`/screen/${token()}/ubuntu`, refusal("https://evil.example"), { headers: { Origin: "https://evil.example" } });
    await router.expectRefused("/header/ubuntu", refusal("null"), { headers: { Origin: "null", Authorization: `Bearer ${token()}` } });
  });

  test("is any, or one of a list, where the file says so", async () => {
    await router.expectRefused(`/listed/${token()}/ubuntu`, refusal("https://evil.example"), { headers: { Origin: "https://evil.example" } });
    await expectConsole(`/listed/${token()}/ubuntu`, `${V1}/ubuntu/vnc`, { Origin: "https://lab.example" });
    const { client } = await router.expectOpen(`/serial/${token()}/ubuntu`, { headers: { Origin: "https://evil.example" } });
    client.close();
  });
});

describe("a token in a header", () => {
  test.each(["Bearer T", "bearer T", "BEARER  T"])("opens the console, and goes no further: Authorization: %s", async (value) => {
    const good = token();
    const { client, seen } = await router.expectOpen("/header/ubuntu", { headers: { Authorization: value.replace("T", good) } });
    expect(seen.target).toBe(`${V1}/ubuntu/vnc`);
    expect(seen.headers["authorization"]).toBeUndefined();
    expect(seen.head).not.toContain(good);
    client.close();
  });

  test.each<[string, string | null, string]>([
    ["no header", null, "no token"], ["an empty header", "", "no token"], ["another scheme", "Basic dTpw", "no token"],
    ["a scheme alone", "Bearer ", "malformed token"], ["a word", "Bearer x", "malformed token"],
  ])("is refused when it is none: %s", async (_name, value, reason) => {
    await router.expectRefused("/header/ubuntu", { ...NO_TOKEN, reason }, { headers: { Authorization: value } });
  });

  test("is not looked for in the path, the query, or another header", async () => {
    await router.expectRefused(`/header/ubuntu?${token()}`, NO_TOKEN);
    await router.expectRefused(`/header/ubuntu?token=${token()}`, NO_TOKEN, { headers: { "X-Console-Token": token(), Cookie: `token=${token()}` } });
    await router.expectRefused(`/header/${token()}`, NO_TOKEN);
  });

  test("in the machine's place is not written to the log", async () => {
    const good = token();
    await router.expectRefused(`/header/${good}`, { status: 403, body: "forbidden", reason: "not a name of a virtual machine" }, { headers: { Authorization: `Bearer ${good}` } });
    expect(router.lines.at(-1)?.["path"]).toBe("/header/[token]");
  });

  test("decides before the one in the path", async () => {
    const { client } = await router.expectOpen("/either/nonsense/ubuntu", { headers: { "X-Console-Token": token() } });
    client.close();
    await router.expectRefused(`/either/${token()}/ubuntu`, { ...NO_TOKEN, reason: "malformed token" }, { headers: { "X-Console-Token": "nonsense" } });
    await expectConsole(`/either/${token()}/ubuntu`, `${V1}/ubuntu/vnc`);
  });
});

describe("a token in the query", () => {
  test("opens the console as a parameter, and goes no further", async () => {
    const good = token();
    const { client, seen } = await router.expectOpen(`/parameter/ubuntu?a=1&token=${good}&b=2`);
    expect(seen.requestLine).toBe(`GET ${V1}/ubuntu/vnc HTTP/1.1`);
    expect(seen.head).not.toContain(good);
    client.close();
  });

  test("opens the console as the whole query", async () => {
    await expectConsole(`/query/ubuntu?${token()}`, `${V1}/ubuntu/vnc`);
  });

  test("is refused under another name, empty, or twice with two values", async () => {
    await router.expectRefused(`/parameter/ubuntu?Token=${token()}`, NO_TOKEN);
    await router.expectRefused("/parameter/ubuntu", NO_TOKEN);
    await router.expectRefused("/parameter/ubuntu?token=", { ...NO_TOKEN, reason: "malformed token" });
    await router.expectRefused(`/parameter/ubuntu?token=${token()}&token=${token({ lab_id: 3 })}`, { ...NO_TOKEN, reason: "malformed token" });
  });
});

describe("closeAfterUpgrade in a routes.yaml", () => {
  const closing = async (path: string): Promise<unknown> => {
    const client = await WsClient.try(router.port, path);
    await client.until(() => client.isClosed);
    return client.status === 101 ? client.closing : client.status;
  };

  test("closes with the original's reasons below its own prefix, and nowhere else", async () => {
    const accepted = router.api.accepted;
    expect(await closing("/closing/x/ubuntu")).toEqual({ code: 1000, reason: "invalid token" });
    expect(await closing(`/closing/${token()}/debian`)).toEqual({ code: 1000, reason: "invalid token" });
    for (const path of ["/closing", "/closing/", "/closing/x", "/closing/x/ubuntu/y"]) expect(await closing(path)).toEqual({ code: 1000, reason: "invalid url" });
    expect(router.api.accepted).toBe(accepted);
    await router.expectRefused("/screen/x/ubuntu", { status: 401, body: "unauthorized", reason: "malformed token" });
    expect(site.seen).toEqual([]);
  });

  test("leaves a client that may not come at all without an upgrade", async () => {
    for (const path of [`/near/${token()}/ubuntu`, `/far/${token()}/ubuntu`, "/far/x"]) {
      await router.expectRefused(path, { status: 403, body: "forbidden", reason: "client 127.0.0.1 is not in allowedClients" });
    }
  });
});

describe("the access line of a console", () => {
  test("tells everything about a session, and nothing of the token", async () => {
    const good = token();
    const { client } = await router.expectOpen(`/screen/${good}/ubuntu?secret=1`);
    const id = client.header("x-request-id");
    const line = (): Record<string, unknown> | undefined => router.lines.find((one) => one["request_id"] === id);
    // One line a session, at its end.
    expect(line()).toBeUndefined();
    client.sendClose(1000, "bye");
    await waitFor(() => line() !== undefined);
    client.close();
    expect(line()).toEqual({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as string, level: "info", message: "access", request_id: id, client: "127.0.0.1", method: "GET",
      path: "/screen/[token]/ubuntu", route: "screens", service: "screen", target: `127.0.0.1:${router.api.port("api")}/lab-2/ubuntu`, status: 101,
      bytes_in: 12, bytes_out: 12, duration_ms: expect.any(Number) as number, upstream_ms: expect.any(Number) as number, token: tokenHash(good), close_code: 1000,
    });
  });

  test("of a refusal has the reason, the route and the service, and a token's hash only when the token was good", async () => {
    const good = token();
    const ofGood = await router.expectRefused(`/serial/${good}/debian`, { status: 403, body: "forbidden", reason: "the token does not list the virtual machine \"debian\"" });
    expect(ofGood).toMatchObject({ path: "/serial/[token]/debian", route: "/serial/{token}/{vm}", service: "serial", token: tokenHash(good) });
    const ofBad = await router.expectRefused(`/a/b/${good}x/ubuntu`, { status: 401, body: "unauthorized", reason: "bad signature" });
    expect(ofBad).toMatchObject({ path: "/a/b/[token]/ubuntu", route: "screens", service: "screen", token: null });
  });

  test("masks a token that is part of a longer text", async () => {
    const good = token();
    await router.ask("GET", `/site/${good}/x/${good}.js`);
    await router.ask("GET", `/site/x%20${good.replace(".", "%2E")}`);
    const paths = router.lines.slice(-2).map((line) => line["path"] as string);
    expect(paths).toEqual(["/site/[token]/x/[token]", "/site/x%20[token]"]);
  });

  test.each(["{ ", "{\n "])("masks a token whose JSON begins with %p as well", async (start) => {
    const part = (text: string): string => Buffer.from(start + text).toString("base64url");
    await router.ask("GET", `/site/${part('"alg":"HS256"}')}.${part('"id":"alice","exp":4102444800}')}.c2lnbmF0dXJl/ubuntu`);
    expect(router.lines.at(-1)?.["path"]).toBe("/site/[token]/ubuntu");
  });
});
