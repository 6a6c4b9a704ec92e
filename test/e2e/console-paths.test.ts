// The path of a console as clients write it: the prefix, the number of segments, the machine's name. Whatever stands there, only a
// name that the token lists reaches the API, and only in its place. And what is refused before the token is looked at: plain
// requests, handshakes that are none, foreign origins.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { claims, ConsoleRouter, sign, token } from "../support/console-router.ts";
import { WsClient } from "../support/ws-client.ts";

let bare: ConsoleRouter;
let prefixed: ConsoleRouter;
const started: ConsoleRouter[] = [];
/** One for a test; stopped at the end of the file. */
async function start(env: Record<string, string>): Promise<ConsoleRouter> {
  const router = await ConsoleRouter.builtIn(env);
  started.push(router);
  return router;
}
beforeAll(async () => {
  bare = await start({});
  prefixed = await start({ HOST_PATH_PREFIX: "ws_proxy" });
});
afterEach(async () => {
  for (const router of started) {
    await router.idle();
    router.expectNoSecretIn("");
    router.api.seen.length = 0;
  }
});
afterAll(async () => {
  for (const router of started) await router.stop();
});

const NOT_FOUND = { status: 404, body: "not found", reason: "no route" };
const NO_NAME = { status: 403, body: "forbidden", reason: "not a name of a virtual machine" };
const API = "/apis/subresources.kubevirt.io/v1/namespaces/lab-2/virtualmachineinstances";
/** A token that lists even names that are none: what the path may say is not up to the issuer. */
const trusting = (...names: string[]): string => token({ allowed_vmi_names: ["ubuntu", ...names] });

describe("a name in the path", () => {
  test.each([
    ["an encoded slash", "a%2fb", "a/b"], ["an encoded slash in upper case", "a%2Fb", "a/b"], ["upper case", "Ubuntu", "Ubuntu"],
    ["an underscore", "my_vm", "my_vm"],
    ["300 characters", "v".repeat(300), "v".repeat(300)], ["254 characters in labels", `${"v".repeat(63)}.`.repeat(3) + "v".repeat(62), ""],
    ["254 characters without dots", "v".repeat(254), ""],
    ["a trailing dot", "ubuntu.", "ubuntu."], ["a leading dot", ".ubuntu", ".ubuntu"], ["two dots inside", "win..office", "win..office"],
    ["a dash in front", "-ubuntu", "-ubuntu"],
    ["an encoded question mark", "ubuntu%3fpreserveSession=true", "ubuntu?preserveSession=true"], ["an encoded number sign", "ubuntu%23", "ubuntu#"],
    ["an encoded space", "ubuntu%20", "ubuntu "], ["an encoded line feed", "ubuntu%0a", "ubuntu\n"],
    ["an encoded CR LF and a header", "ubuntu%0d%0aX:%20y", "ubuntu\r\nX: y"],
    ["an encoded letter", "ubunt%75", "ubuntu"], ["another alphabet, encoded", "%c3%bcbuntu", "übuntu"], ["a percent sign", "ubuntu%", "ubuntu%"],
    ["double encoding", "ubuntu%252e", "ubuntu%2e"],
    ["a variable of the path at the API", "{namespace}", "{namespace}"], ["an at sign", "x@ubuntu", "x@ubuntu"], ["a colon", "ubuntu:80", "ubuntu:80"],
    ["a semicolon", "ubuntu;x=y", "ubuntu;x=y"], ["an ampersand", "ubuntu&x=y", "ubuntu&x=y"], ["a plus", "ubuntu+", "ubuntu+"], ["a star", "*", "*"],
    ["a tilde", "~ubuntu", "~ubuntu"],
  ])("is refused with %s, even where the token lists it", async (_name, inPath, meant) => {
    await bare.expectRefused(`/${trusting(inPath, meant)}/${inPath}`, NO_NAME);
  });

  test.each([
    ["raw bytes of another alphabet", "\xc3\xbcbuntu"], ["raw bytes that are no UTF-8", "\xff\xfe"], ["a pipe and quotes", "a|\"b\""],
    ["a backslash inside", "ubuntu\\..\\x"], ["a caret", "ubuntu^"],
    ["an encoded backslash", "ubuntu%5c"], ["a fullwidth stop", "\xef\xbc\x8e\xef\xbc\x8e"], ["an encoded fullwidth slash", "a%ef%bc%8fb"],
    ["a soft hyphen", "ubu%c2%adntu"],
  ])("is never dialled with %s", async (_name, inPath) => {
    const { accepted } = bare.api;
    const answer = await bare.tryUpgrade(`/${trusting(inPath)}/${inPath}`);
    expect([400, 403, 404]).toContain(answer.status);
    expect(bare.api.accepted).toBe(accepted);
  });

  // Written as a URL, these are other paths, and those are no console's.
  test.each([
    "..", ".", "%2e%2e", "%2E%2e", ".%2e", "%2e", "../ubuntu/..", "..\\", "ubuntu/..", "x/../..",
  ])("is no name at all when it is a dot segment: %s", async (inPath) => {
    await bare.expectRefused(`/${trusting(inPath, "..", ".")}/${inPath}`, NOT_FOUND);
  });

  test.each([
    "..%2f", "%2e%2e%2fubuntu", "..%5c", "x%2f..%2fubuntu", "..;", "%2e%2e;x", "ubuntu%00", "%252e%252e%2f%2e%2e",
  ])("is refused when it decodes to a dot segment: %s", async (inPath) => {
    await bare.expectRefused(`/${trusting(inPath)}/${inPath}`, { status: 400, body: "bad request", reason: "ambiguous path" });
  });

  test("that comes by a detour of dot segments is the one that is left, once", async () => {
    const good = token();
    for (const path of [`/x/../${good}/ubuntu`, `/${good}/x/../ubuntu`, `/${good}/./ubuntu`, `/a/b/%2e%2e/%2e%2e/${good}/ubuntu`]) {
      const { client, seen } = await bare.expectOpen(path);
      expect(seen.requestLine).toBe(`GET ${API}/ubuntu/vnc HTTP/1.1`);
      client.close();
    }
  });

  test("may be as long as Kubernetes lets it be", async () => {
    for (const longest of [`${"v".repeat(63)}.`.repeat(3) + "v".repeat(61), "v".repeat(253)]) {
      expect(longest.length).toBe(253);
      const { client, seen } = await bare.expectOpen(`/${token({ allowed_vmi_names: [longest] })}/${longest}`);
      expect(seen.target).toBe(`${API}/${longest}/vnc`);
      client.close();
    }
  });

  test("that is none is told by the path in the log", async () => {
    expect((await bare.expectRefused(`/${token()}/Ubuntu`, NO_NAME))["path"]).toBe("/[token]/Ubuntu");
  });

  test("that is itself a token is not written to the log", async () => {
    const good = token();
    const { status } = await bare.tryUpgrade(`/${good}/${token({ lab_id: 9 })}`);
    expect(status).toBe(403);
    expect((await bare.tryUpgrade(`/${good}/${good}`)).status).toBe(403);
    expect((await bare.tryUpgrade(`/ubuntu/${good}`)).status).toBe(401);
    expect((await bare.tryUpgrade(`/ubuntu/x/${good}`)).status).toBe(404);
    bare.expectNoSecretIn("");
    expect(bare.lines.slice(-4).map((line) => line["path"])).toEqual(["/[token]/[token]", "/[token]/[token]", "/[token]/[token]", "/ubuntu/x/[token]"]);
  });
});

describe("the query", () => {
  test.each(["preserveSession=true", "namespace=kube-system", "namespace_name=other&vmi_name=debian", "token=x", "/../../debian/vnc", "a?b", "%0d%0aX:y", ""])(
    "never goes to the API, and chooses nothing there: ?%s", async (query) => {
      const { client, seen } = await bare.expectOpen(`/${token()}/ubuntu?${query}`);
      expect(seen.requestLine).toBe(`GET ${API}/ubuntu/vnc HTTP/1.1`);
      client.close();
    });

  test("is no place for the token of the path", async () => {
    await bare.expectRefused(`/x/ubuntu?${token()}`, { status: 401, body: "unauthorized", reason: "malformed token" });
    await bare.expectRefused(`/x/ubuntu?token=${token()}`, { status: 401, body: "unauthorized", reason: "malformed token" });
  });
});

describe("the namespace", () => {
  test("is the token's, wherever else one stands", async () => {
    const { client, seen } = await bare.expectOpen(`/${token({ namespace_name: "lab-77" })}/ubuntu?namespace=kube-system`, { headers: { "X-Namespace": "kube-system" } });
    expect(seen.target).toBe("/apis/subresources.kubevirt.io/v1/namespaces/lab-77/virtualmachineinstances/ubuntu/vnc");
    expect(seen.head).not.toContain("kube-system");
    client.close();
  });

  test("is no segment of the path", async () => {
    await bare.expectRefused(`/${token()}/kube-system/ubuntu`, NOT_FOUND);
    await bare.expectRefused(`/kube-system/${token()}/ubuntu`, NOT_FOUND);
  });

  test("that looks like a pattern of a replacement stays what it is", async () => {
    // `$&` and the like mean something to a careless replace(); they are no Kubernetes names, so the token is worthless.
    await bare.expectRefused(`/${token({ namespace_name: "$&" })}/ubuntu`, { status: 401, body: "unauthorized", reason: "token namespace_name is not a Kubernetes namespace" });
  });
});

describe("a path without prefix", () => {
  test.each([
    "/", "/T", "/T/", "//ubuntu", "//T/ubuntu", "/T//ubuntu", "/T/ubuntu/", "/T/ubuntu//", "/T/ubuntu/vnc", "/ws_proxy/T/ubuntu", "/T/T/ubuntu", "/a/b/c/d/e/f",
  ])("has two segments, no other number: %s", async (path) => {
    await bare.expectRefused(path.replaceAll("T", token()), NOT_FOUND);
  });

  test("may come in absolute form", async () => {
    const { client, seen } = await bare.expectOpen(`http://127.0.0.1:${bare.port}/${token()}/ubuntu`);
    expect(seen.target).toBe(`${API}/ubuntu/vnc`);
    client.close();
  });
});

describe("the prefix", () => {
  test("leads to the console", async () => {
    const { client, seen } = await prefixed.expectOpen(`/ws_proxy/${token()}/ubuntu`);
    expect(seen.requestLine).toBe(`GET ${API}/ubuntu/vnc HTTP/1.1`);
    client.close();
  });

  test.each([
    ["missing", "/T/ubuntu"], ["doubled", "/ws_proxy/ws_proxy/T/ubuntu"], ["with a doubled slash behind it", "/ws_proxy//T/ubuntu"],
    ["with a doubled slash before it", "//ws_proxy/T/ubuntu"],
    ["with a slash at the end of the path", "/ws_proxy/T/ubuntu/"], ["another one", "/other/T/ubuntu"], ["in upper case", "/WS_PROXY/T/ubuntu"],
    ["cut", "/ws_prox/T/ubuntu"],
    ["longer", "/ws_proxy2/T/ubuntu"], ["encoded", "/ws%5fproxy/T/ubuntu"], ["behind the token", "/T/ws_proxy/ubuntu"], ["behind the machine", "/T/ubuntu/ws_proxy"],
    ["alone", "/ws_proxy"], ["alone with a slash", "/ws_proxy/"], ["without a machine", "/ws_proxy/T"], ["without a machine but a slash", "/ws_proxy/T/"],
    ["with an encoded slash behind it", "/ws_proxy%2fT/ubuntu"], ["with a dot segment that leads out", "/ws_proxy/../T/ubuntu"],
    ["one segment too many", "/ws_proxy/T/ubuntu/x"],
  ])("is asked for: 404 when it is %s", async (_name, path) => {
    await prefixed.expectRefused(path.replace("T", token()), NOT_FOUND);
  });

  test("of the same text as a token's place is no token", async () => {
    await prefixed.expectRefused("/ws_proxy/ws_proxy/ubuntu", { status: 401, body: "unauthorized", reason: "malformed token" });
  });

  test.each(["/ws_proxy", "ws_proxy/", "/ws_proxy/", "//ws_proxy//"])("may be given with slashes around it: %s", async (given) => {
    const router = await start({ HOST_PATH_PREFIX: given });
    const { client } = await router.expectOpen(`/ws_proxy/${token()}/ubuntu`);
    client.close();
    await router.expectRefused(`/${token()}/ubuntu`, NOT_FOUND);
  });

  test.each(["/", "//", ""])("is none when it is nothing but slashes: %p", async (given) => {
    const router = await start({ HOST_PATH_PREFIX: given });
    const { client } = await router.expectOpen(`/${token()}/ubuntu`);
    client.close();
  });

  test.each(["a/b", "/a/b/"])("may have several segments: %s", async (given) => {
    const router = await start({ HOST_PATH_PREFIX: given });
    const { client, seen } = await router.expectOpen(`/a/b/${token()}/ubuntu`);
    expect(seen.target).toBe(`${API}/ubuntu/vnc`);
    client.close();
    const others = ["/a/T/ubuntu", "/b/T/ubuntu", "/b/a/T/ubuntu", "/a%2fb/T/ubuntu", "/a/b/c/T/ubuntu", "/a//b/T/ubuntu"];
    for (const path of others) await router.expectRefused(path.replace("T", token()), NOT_FOUND);
  });
});

describe("a plain request to a console", () => {
  const tokens: ReadonlyArray<readonly [name: string, make: () => string]> = [
    ["a good token", () => token()], ["a bad token", () => "x"], ["a token that has expired", () => token({}, { exp: 1 })],
    ["a token without the machine", () => token({ allowed_vmi_names: [] })],
  ];
  for (const [name, make] of tokens) {
    test.each(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])(`is told to upgrade, whatever the token: %s with ${name}`, async (method) => {
      const { accepted } = bare.api;
      const answer = await bare.ask(method, `/${make()}/ubuntu`, method === "GET" ? {} : { "Content-Length": "0" });
      expect({ status: answer.status, body: answer.body }).toEqual({ status: 426, body: "upgrade required\n" });
      expect(answer.header("upgrade")).toBe("websocket");
      expect(answer.header("sec-websocket-version")).toBe("13");
      expect(answer.header("cache-control")).toBe("no-store");
      // Nobody looked at it.
      expect(bare.lineOf(answer)).toMatchObject({ status: 426, token: null, reason: "a console is a WebSocket", path: "/[token]/ubuntu", target: null });
      expect(bare.api.accepted).toBe(accepted);
    });
  }

  test("is told the same by HEAD, without a body", async () => {
    const answer = await bare.ask("HEAD", `/${token()}/ubuntu`);
    expect({ status: answer.status, body: answer.body }).toEqual({ status: 426, body: "" });
    expect(answer.header("upgrade")).toBe("websocket");
  });

  test("is told the same with a body, which is not waited for", async () => {
    const answer = await bare.ask("POST", `/${token()}/ubuntu`, { "Content-Length": "100000" });
    expect(answer.status).toBe(426);
  });

  test.each([
    ["another protocol", { Upgrade: "h2c", Connection: "Upgrade" }], ["a page", { Accept: "text/html" }], ["Connection alone", { Connection: "Upgrade" }],
  ])("is told the same when it asks for %s", async (_name, headers) => {
    const answer = await bare.ask("GET", `/${token()}/ubuntu`, headers);
    expect(answer.status).toBe(426);
    expect(answer.header("upgrade")).toBe("websocket");
  });

  test.each(["/T", "/T/", "/T/ubuntu/x", "/"])("gets 404 at a path that is no console's: %s", async (path) => {
    const answer = await bare.ask("GET", path.replace("T", token()));
    expect({ status: answer.status, upgrade: answer.header("upgrade") }).toEqual({ status: 404, upgrade: null });
  });

  test("gets OK from the health check", async () => {
    expect((await prefixed.ask("GET", "/healthz")).body).toBe("OK");
  });
});

describe("a handshake that no WebSocket server may accept", () => {
  const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
  test.each([
    ["no key", { "Sec-WebSocket-Key": null }, 400, "malformed Sec-WebSocket-Key"],
    ["a short key", { "Sec-WebSocket-Key": "c2hvcnQ=" }, 400, "malformed Sec-WebSocket-Key"],
    ["two keys", { "Sec-WebSocket-Key": `${KEY}, ${KEY}` }, 400, "malformed Sec-WebSocket-Key"],
    ["no version", { "Sec-WebSocket-Version": null }, 426, "WebSocket version is not 13"],
    ["version 8", { "Sec-WebSocket-Version": "8" }, 426, "WebSocket version is not 13"],
    ["no Connection: Upgrade", { Connection: "keep-alive" }, 400, "malformed WebSocket handshake"],
    ["a body by length", { "Content-Length": "5" }, 400, "WebSocket handshake with a body"],
  ] as const)("is refused before the token is looked at: %s", async (_name, headers, status, reason) => {
    const body = status === 400 ? "bad request" : "upgrade required";
    for (const carried of [token(), "x", sign(claims({}, { exp: 1 }))]) {
      const line = await bare.expectRefused(`/${carried}/ubuntu`, { status, body, reason }, { headers, ...("Content-Length" in headers ? { behind: "hello" } : {}) });
      expect(line["token"]).toBeNull();
    }
  });

  test.each(["POST", "PUT", "DELETE"])("is refused with the method %s", async (method) => {
    await bare.expectRefused(`/${token()}/ubuntu`, { status: 400, body: "bad request", reason: "malformed WebSocket handshake" }, { method, headers: { "Content-Length": "0" } });
  });
});

describe("the Origin of a console's handshake", () => {
  const status = async (router: ConsoleRouter, origin: string | null): Promise<number> => {
    const client = await WsClient.try(router.port, `/${token()}/ubuntu`, { headers: { Host: "consoles.example", Origin: origin } });
    client.close();
    return client.status;
  };
  const expectForeign = (router: ConsoleRouter, origin: string): Promise<unknown> => router.expectRefused(`/${token()}/ubuntu`,
    { status: 403, body: "forbidden", reason: `origin refused: ${JSON.stringify(origin)}` }, { headers: { Host: "consoles.example", Origin: origin } });

  test.each([
    "https://lab.example", "null", "https://evil.example", "chrome-extension://x", null,
  ])("may be any unless the variable says otherwise: %p", async (origin) => {
    expect(await status(bare, origin)).toBe(101);
  });

  test("must be the console's own host with same-host", async () => {
    const router = await start({ ROUTE_ALLOWED_ORIGINS: "same-host" });
    for (const origin of ["https://consoles.example", "http://consoles.example", null]) expect(await status(router, origin)).toBe(101);
    for (const origin of ["https://lab.example", "null", "https://consoles.example.evil.example", "https://consoles.example:8443", ""]) await expectForeign(router, origin);
  });

  test("must stand in a list with commas", async () => {
    const router = await start({ ROUTE_ALLOWED_ORIGINS: "https://lab.example,http://lab.intranet:8080" });
    for (const origin of ["https://lab.example", "http://lab.intranet:8080", null]) expect(await status(router, origin)).toBe(101);
    const foreign = ["https://consoles.example", "http://lab.example", "https://lab.example:8443", "http://lab.intranet", "null", "https://lab.example,http://lab.intranet:8080"];
    for (const origin of foreign) await expectForeign(router, origin);
  });

  test("is refused before the token is looked at", async () => {
    const router = await start({ ROUTE_ALLOWED_ORIGINS: "https://lab.example" });
    const refusal = { status: 403, body: "forbidden", reason: "origin refused: \"https://evil.example\"" };
    for (const carried of ["x", token()]) expect((await router.expectRefused(`/${carried}/ubuntu`, refusal, { headers: { Origin: "https://evil.example" } }))["token"]).toBeNull();
  });

  test("never goes to the API", async () => {
    const headers = { Origin: "https://lab.example", Cookie: "a=b", Authorization: "Bearer mine", "User-Agent": "probe" };
    const { client, seen } = await bare.expectOpen(`/${token()}/ubuntu`, { headers });
    expect(Object.keys(seen.headers).sort()).toEqual(["connection", "host", "sec-websocket-key", "sec-websocket-protocol", "sec-websocket-version", "upgrade"]);
    expect(seen.headers["host"]).toEqual([`127.0.0.1:${bare.api.port("api")}`]);
    client.close();
  });
});
