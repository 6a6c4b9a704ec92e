// The embedded viewer as HTTP: who gets the page, what it may load and do, and that nothing of the token is in it. What it does in a
// browser is tested with one.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { tokenHash } from "../../src/token/token-hash.ts";
import { claims, ConsoleRouter, sign, token } from "../support/console-router.ts";
import type { RawClient } from "../support/raw.ts";

const HTML = { Accept: "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8" };
const BESIDE = `
token: { vm: { secret: "\${SECRET_KEY}" } }
services:
  site: { text: "the website" }
  screen: { kubernetes: "\${API}" }
routes:
  - { path: /, service: site }
  - { path: ["/a/{token}/{vm}", "/b/c/{token}/{vm}"], service: screen, identity: vm, viewer: true }
  - { path: "/plain/{token}/{vm}", service: screen, identity: vm }
  - { path: "/near/{token}/{vm}", service: screen, identity: vm, viewer: true, allowedClients: [10.0.0.0/8] }
`;

let bare: ConsoleRouter;
let prefixed: ConsoleRouter;
let off: ConsoleRouter;
let beside: ConsoleRouter;
let all: ConsoleRouter[] = [];
beforeAll(async () => {
  bare = await ConsoleRouter.builtIn({ ROUTE_VIEWER: "true" });
  prefixed = await ConsoleRouter.builtIn({ ROUTE_VIEWER: "true", HOST_PATH_PREFIX: "ws_proxy" });
  off = await ConsoleRouter.builtIn({ HOST_PATH_PREFIX: "ws_proxy" });
  beside = await ConsoleRouter.file(BESIDE);
  all = [bare, prefixed, off, beside];
});
afterEach(async () => {
  for (const router of all) {
    await router.idle();
    router.expectNoSecretIn("");
  }
});
afterAll(async () => {
  for (const router of all) await router.stop();
});

/** Nothing is asked of the API for a page or a file. */
async function ask(router: ConsoleRouter, method: string, target: string, headers: Readonly<Record<string, string>> = {}): Promise<RawClient> {
  const { accepted } = router.api;
  const answer = await router.ask(method, target, headers);
  expect(router.api.accepted).toBe(accepted);
  return answer;
}

function expectHardened(answer: RawClient): void {
  expect(answer.header("referrer-policy")).toBe("no-referrer");
  expect(answer.header("x-content-type-options")).toBe("nosniff");
  expect(answer.header("x-frame-options")).toBe("SAMEORIGIN");
  const policy = directives(answer.header("content-security-policy") ?? "");
  expect(policy.get("default-src")).toEqual(["'none'"]);
  for (const name of ["base-uri", "form-action"]) expect([name, policy.get(name)]).toEqual([name, ["'none'"]]);
  for (const name of ["script-src", "connect-src", "frame-ancestors"]) expect([name, policy.get(name)]).toEqual([name, ["'self'"]]);
  // No inline code, no eval, and nothing from elsewhere, in any directive.
  const known = ["'none'", "'self'", "data:", "blob:"];
  expect([...policy].filter(([, sources]) => sources.some((source) => !known.includes(source)))).toEqual([]);
}

function directives(policy: string): Map<string, string[]> {
  return new Map(policy.split(";").map((text) => text.trim().split(/\s+/)).map(([name = "", ...sources]) => [name, sources]));
}

describe("the viewer's page", () => {
  test("keeps its own headers over those of the configuration, which may be for other pages", async () => {
    const loose = 'headers: { response: { Referrer-Policy: unsafe-url, Cache-Control: max-age=60, Content-Security-Policy: "default-src *", X-Frame-Options: SAMEORIGIN } }';
    const router = await ConsoleRouter.file(BESIDE + loose);
    try {
      const page = await ask(router, "GET", `/a/${token()}/ubuntu`, HTML);
      expect(page.status).toBe(200);
      expectHardened(page);
      expect(page.header("cache-control")).toBe("no-store");
      expectHardened(await ask(router, "GET", "/a/_viewer/client.js"));
    } finally {
      await router.stop();
    }
  });

  test.each([
    ["", () => bare], ["/ws_proxy", () => prefixed], ["/a", () => beside], ["/b/c", () => beside],
  ] as const)("is what a browser gets at a console's address: %s/TOKEN/VM", async (prefix, router) => {
    const good = token();
    const answer = await ask(router(), "GET", `${prefix}/${good}/ubuntu`, HTML);
    expect(answer.status).toBe(200);
    expect(answer.header("content-type")).toBe("text/html; charset=utf-8");
    expect(answer.header("content-length")).toBe(String(answer.body.length));
    expect(answer.body).toStartWith("<!doctype html>");
    expect(router().lineOf(answer)).toMatchObject({ status: 200, path: `${prefix}/[token]/ubuntu`, token: tokenHash(good), target: null, bytes_out: answer.body.length });
    router().expectNoSecretIn(answer.text);
  });

  test("is hardened, and never kept", async () => {
    const answer = await ask(bare, "GET", `/${token()}/ubuntu`, HTML);
    expectHardened(answer);
    expect(answer.header("cache-control")).toBe("no-store");
    for (const name of ["etag", "last-modified", "set-cookie", "access-control-allow-origin"]) expect(answer.header(name)).toBeNull();
  });

  test("is the same for every token, machine and namespace", async () => {
    const one = await ask(bare, "GET", `/${token()}/ubuntu`, HTML);
    const other = await ask(bare, "GET", `/${token({ namespace_name: "other" })}/win.office?a=<script>`, HTML);
    expect(other.body).toBe(one.body);
  });

  test("has no code and no style in itself, and loads nothing from elsewhere", async () => {
    const { body } = await ask(bare, "GET", `/${token()}/ubuntu`, HTML);
    const { elements, texts } = await parse(body);
    expect(elements.length).toBeGreaterThan(5);
    const scripts = elements.filter(({ name }) => name === "script");
    expect(scripts.map(({ attributes }) => attributes)).toEqual([{ type: "module", src: "../_viewer/client.js" }]);
    expect(texts.get("script") ?? "").toBe("");
    expect(elements.filter(({ name }) => ["style", "iframe", "object", "embed", "base", "applet"].includes(name))).toEqual([]);
    const inline = elements.filter(({ attributes }) => Object.keys(attributes).some((name) => name.startsWith("on") || name === "style" || name === "srcdoc"));
    expect(inline).toEqual([]);
    const urls = elements.flatMap(({ attributes }) => ["src", "href", "action", "formaction", "data", "xlink:href"].flatMap((name) => attributes[name] ?? []));
    expect(urls).toContain("../_viewer/style.css");
    expect(urls.filter((url) => !url.startsWith("../_viewer/") && !url.startsWith("data:image/"))).toEqual([]);
    expect(elements.filter(({ name, attributes }) => name === "meta" && attributes["http-equiv"] !== undefined)).toEqual([]);
  });

  test("is answered to HEAD with its length and without its body", async () => {
    const path = `/${token()}/ubuntu`;
    const whole = await ask(bare, "GET", path, HTML);
    const head = await ask(bare, "HEAD", path, HTML);
    expect({ status: head.status, body: head.body }).toEqual({ status: 200, body: "" });
    for (const name of ["content-type", "content-length", "content-security-policy", "referrer-policy", "cache-control", "x-content-type-options"]) {
      expect([name, head.header(name)]).toEqual([name, whole.header(name)]);
    }
    expect(bare.lineOf(head)).toMatchObject({ bytes_out: 0 });
  });

  test("loads its files from beside itself, whatever the prefix", async () => {
    for (const [router, prefix] of [[bare, ""], [prefixed, "/ws_proxy"], [beside, "/a"], [beside, "/b/c"]] as const) {
      const { body } = await ask(router, "GET", `${prefix}/${token()}/ubuntu`, HTML);
      const { elements } = await parse(body);
      const urls = elements.flatMap(({ name, attributes }) => attributes[name === "script" ? "src" : name === "link" ? "href" : ""] ?? []);
      const files = urls.filter((url) => !url.startsWith("data:"));
      expect(files).toHaveLength(2);
      for (const file of files) {
        const { pathname } = new URL(file, `http://h${prefix}/TOKEN/ubuntu`);
        expect([pathname, (await ask(router, "GET", pathname)).status]).toEqual([pathname, 200]);
      }
    }
  });
});

describe("the viewer's page is refused", () => {
  test.each<[string, () => string, number, string]>([
    ["a word", () => "x", 401, "malformed token"], ["an expired token", () => token({}, { exp: 1 }), 401, "token has expired"],
    ["another algorithm", () => sign(claims(), { header: { alg: "none" } }), 401, "token algorithm is not HS256"],
    ["another signature", () => `${token().slice(0, -43)}${"A".repeat(43)}`, 401, "bad signature"],
    ["a token without the machine", () => token({ allowed_vmi_names: ["debian"] }), 403, "the token does not list the virtual machine \"ubuntu\""],
  ])("to %s, with a page that says so", async (_name, make, status, reason) => {
    const answer = await ask(bare, "GET", `/${make()}/ubuntu`, HTML);
    expect(answer.status).toBe(status);
    expect(answer.header("content-type")).toBe("text/html; charset=utf-8");
    expect(answer.header("cache-control")).toBe("no-store");
    expect(answer.body).toContain(`<h1>${status} ${status === 401 ? "unauthorized" : "forbidden"}</h1>`);
    expect(answer.body).toContain(answer.header("x-request-id") as string);
    expect(answer.body).not.toMatch(/<script|_viewer|ubuntu|style=| on[a-z]+=/i);
    expect(bare.lineOf(answer)).toMatchObject({ status, reason, path: "/[token]/ubuntu" });
    bare.expectNoSecretIn(answer.text);
    const head = await ask(bare, "HEAD", `/${make()}/ubuntu`, HTML);
    expect({ status: head.status, body: head.body }).toEqual({ status, body: "" });
  });

  test("to a client that may not come at all, page and files alike", async () => {
    for (const path of [`/near/${token()}/ubuntu`, "/near/_viewer/client.js", "/near/_viewer/"]) expect([path, (await ask(beside, "GET", path, HTML)).status]).toEqual([path, 403]);
  });

  test("when the machine's name is none", async () => {
    expect((await ask(bare, "GET", `/${token()}/Ubuntu`, HTML)).status).toBe(403);
  });
});

describe("a plain request where the viewer is on", () => {
  test.each([
    ["no Accept", {}], ["Accept of a program", { Accept: "*/*" }], ["Accept of JSON", { Accept: "application/json" }],
    ["Accept of a picture", { Accept: "image/webp,*/*" }], ["text/plain", { Accept: "text/plain" }],
  ])(
    "gets 426 with %s, whatever the token", async (_name, headers) => {
      for (const carried of [token(), "x"]) {
        const answer = await ask(bare, "GET", `/${carried}/ubuntu`, headers);
        expect({ status: answer.status, upgrade: answer.header("upgrade"), body: answer.body }).toEqual({ status: 426, upgrade: "websocket", body: "upgrade required\n" });
      }
    });

  test.each(["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])("gets 426 with %s, also from a browser", async (method) => {
    expect((await ask(bare, method, `/${token()}/ubuntu`, { ...HTML, "Content-Length": "0" })).status).toBe(426);
  });

  test.each(["/", "/x", "/x/y/z", "/T/ubuntu/"])("gets 404 at a path that is no console's: %s", async (path) => {
    expect((await ask(bare, "GET", path.replace("T", token()), HTML)).status).toBe(404);
  });

  test("is still a WebSocket when it asks for one, also with a browser's Accept", async () => {
    const { client } = await bare.expectOpen(`/${token()}/ubuntu`, { headers: HTML });
    client.close();
    await bare.expectRefused("/x/ubuntu", { status: 401, body: "unauthorized", reason: "malformed token" });
  });
});

describe("the viewer's files", () => {
  test.each([
    ["client.js", "text/javascript; charset=utf-8"], ["style.css", "text/css; charset=utf-8"],
  ])("are served without a token, hardened: %s", async (name, contentType) => {
    for (const [router, prefix] of [[bare, ""], [prefixed, "/ws_proxy"], [beside, "/a"], [beside, "/b/c"]] as const) {
      const answer = await ask(router, "GET", `${prefix}/_viewer/${name}`);
      expect({ status: answer.status, type: answer.header("content-type"), cache: answer.header("cache-control") }).toEqual({ status: 200, type: contentType, cache: "no-cache" });
      expectHardened(answer);
      expect(answer.body.length).toBeGreaterThan(10);
      expect(router.lineOf(answer)).toMatchObject({ route: `${prefix}/_viewer/{file*}`, service: "viewer", token: null, target: null });
    }
  });

  test("are the real noVNC, with its licence", async () => {
    const { body } = await ask(bare, "GET", "/_viewer/client.js");
    expect(body.slice(0, 300)).toContain("Mozilla Public License 2.0");
    expect(body).toContain("RFB ");
    expect(body.length).toBeGreaterThan(100_000);
  });

  test.each(["client.js", "style.css"])("are asked for again by their etag: %s", async (name) => {
    const first = await ask(bare, "GET", `/_viewer/${name}`);
    const etag = first.header("etag") as string;
    expect(etag).toMatch(/^"[\w-]{16}"$/);
    const again = await ask(bare, "GET", `/_viewer/${name}`, { "If-None-Match": etag });
    expect({ status: again.status, body: again.body, etag: again.header("etag"), cache: again.header("cache-control") }).toEqual({ status: 304, body: "", etag, cache: "no-cache" });
    const other = await ask(bare, "GET", `/_viewer/${name}`, { "If-None-Match": "\"another\"" });
    expect({ status: other.status, body: other.body }).toEqual({ status: 200, body: first.body });
  });

  test("answer HEAD with their length", async () => {
    const whole = await ask(bare, "GET", "/_viewer/style.css");
    const head = await ask(bare, "HEAD", "/_viewer/style.css");
    expect({ status: head.status, body: head.body, length: head.header("content-length") }).toEqual({ status: 200, body: "", length: whole.header("content-length") });
  });

  test.each([
    "nope", "client.js/", "client.js/x", "Client.js", "client.js%00", "client%2ejs", "page.html", "files.ts", "x/client.js", "/client.js", "constructor",
    "__proto__", "%2e%2e%2fclient.js",
  ])(
    "are these and no others: _viewer/%s", async (name) => {
      for (const [router, prefix] of [[bare, ""], [prefixed, "/ws_proxy"]] as const) {
        const answer = await ask(router, "GET", `${prefix}/_viewer/${name}`, HTML);
        expect([404, 400]).toContain(answer.status);
        expect(answer.status === 400).toBe(/%00|%2e%2e/.test(name));
        expect(answer.body).not.toContain("<script");
      }
    });

  test("are not left by dot segments", async () => {
    for (const path of ["/ws_proxy/_viewer/../x", "/ws_proxy/_viewer/%2e%2e/x", "/ws_proxy/_viewer/../../etc/passwd"]) {
      expect([path, (await ask(prefixed, "GET", path)).status]).toEqual([path, 404]);
    }
  });

  test.each(["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])("are for reading: %s gets 405", async (method) => {
    for (const name of ["client.js", "", "nope"]) {
      const answer = await ask(prefixed, method, `/ws_proxy/_viewer/${name}`, { "Content-Length": "0" });
      expect({ status: answer.status, allow: answer.header("allow") }).toEqual({ status: 405, allow: "GET, HEAD" });
    }
  });

  test("have the page beside them, for a browser that loads it anew", async () => {
    const answer = await ask(prefixed, "GET", "/ws_proxy/_viewer/", HTML);
    expect(answer.status).toBe(200);
    expectHardened(answer);
    expect(answer.body).toBe((await ask(prefixed, "GET", `/ws_proxy/${token()}/ubuntu`, HTML)).body);
  });

  test("are no WebSocket", async () => {
    const answer = await bare.tryUpgrade("/_viewer/client.js");
    expect(answer.status).not.toBe(101);
  });
});

describe("where the viewer is off", () => {
  test("a browser gets 426, as everybody does", async () => {
    for (const [router, path] of [[off, `/ws_proxy/${token()}/ubuntu`], [off, "/ws_proxy/x/ubuntu"], [beside, `/plain/${token()}/ubuntu`]] as const) {
      const answer = await ask(router, "GET", path, HTML);
      expect({ status: answer.status, upgrade: answer.header("upgrade") }).toEqual({ status: 426, upgrade: "websocket" });
      expect(answer.body).toContain("<h1>426 upgrade required</h1>");
    }
  });

  test("there are no files", async () => {
    for (const path of ["/ws_proxy/_viewer/client.js", "/ws_proxy/_viewer/style.css", "/ws_proxy/_viewer/", "/ws_proxy/_viewer", "/_viewer/client.js"]) {
      const answer = await ask(off, "GET", path);
      expect([path, answer.status === 426 || answer.status === 404]).toEqual([path, true]);
    }
    expect((await ask(beside, "GET", "/plain/_viewer/client.js")).status).toBe(426);
  });
});

type Element = { readonly name: string; readonly attributes: Readonly<Record<string, string>> };

/** Every element of a page, and the text of each kind. */
async function parse(html: string): Promise<{ elements: Element[]; texts: Map<string, string> }> {
  const elements: Element[] = [];
  const texts = new Map<string, string>();
  const rewriter = new HTMLRewriter().on("*", {
    element(element) { elements.push({ name: element.tagName, attributes: Object.fromEntries(element.attributes) }); },
  });
  for (const name of ["script", "style"]) rewriter.on(name, { text(chunk) { texts.set(name, (texts.get(name) ?? "") + chunk.text); } });
  await rewriter.transform(new Response(html)).text();
  return { elements, texts };
}
