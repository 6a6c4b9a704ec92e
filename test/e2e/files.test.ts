// Static files through the proxy: what a browser gets of a directory, and what nobody gets.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { ask, head, inTurn } from "../support/http.ts";
import { TestRouter } from "../support/router.ts";

const SCRIPT = `export const rows = ${JSON.stringify(Array.from({ length: 300 }, (_, index) => ({ index, name: `row ${index}` })))};\n`;
let root: string;
let router: TestRouter;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "route-files-"));
  const site = join(root, "site");
  for (const directory of ["site/docs", "site/.git", "site/.well-known", "site/empty", "outside"]) mkdirSync(join(root, directory), { recursive: true });
  writeFileSync(join(site, "index.html"), "<h1>home</h1>");
  writeFileSync(join(site, "app.js"), SCRIPT);
  writeFileSync(join(site, "style.css"), "a { color: red }");
  writeFileSync(join(site, "style.css.gz"), gzipSync("a { color: red }"));
  writeFileSync(join(site, "docs/index.html"), "docs");
  writeFileSync(join(site, "ä b.txt"), "umlaut");
  writeFileSync(join(site, ".git/config"), "secret");
  writeFileSync(join(site, ".env"), "secret");
  writeFileSync(join(site, ".well-known/token"), "challenge");
  writeFileSync(join(root, "outside/secret.txt"), "secret");
  symlinkSync(join(root, "outside"), join(site, "linked"));
  symlinkSync(join(root, "outside/secret.txt"), join(site, "linked.txt"));
  symlinkSync("style.css", join(site, "inside.css"));
  router = await TestRouter.start({
    config: `services:\n  site: { directory: "${site}" }\n  app: { directory: "${site}", fallback: index.html }\nroutes:\n`
      + "  - { path: /, service: site }\n  - { path: /app, service: app, upstreamPath: strip }\n  - { path: /plain, service: site, upstreamPath: strip, compress: false }\n",
  });
});
afterAll(async () => {
  await router.stop();
  rmSync(root, { recursive: true, force: true });
});

const get = (path: string, lines: readonly string[] = []): ReturnType<typeof ask> => ask(router.port, head("GET", path, lines));

describe("a file", () => {
  test.each([
    ["/", "text/html; charset=utf-8", "<h1>home</h1>"], ["/index.html", "text/html; charset=utf-8", "<h1>home</h1>"], ["/style.css", "text/css; charset=utf-8", "a { color: red }"],
    ["/docs/", "text/html; charset=utf-8", "docs"], ["/%C3%A4%20b.txt", "text/plain; charset=utf-8", "umlaut"], ["/.well-known/token", "text/plain; charset=utf-8", "challenge"],
    ["/inside.css", "text/css; charset=utf-8", "a { color: red }"],
  ])("%s is served with its type", async (path, type, body) => {
    const answer = await get(path);
    expect([answer.status, answer.one("content-type"), answer.body, answer.one("content-length")]).toEqual([200, type, body, String(body.length)]);
    expect([answer.one("x-frame-options"), answer.one("accept-ranges")]).toEqual(["SAMEORIGIN", "bytes"]);
  });

  test("is not sent again to a client that has it", async () => {
    const first = await get("/app.js");
    const [etag, modified] = [first.one("etag"), first.one("last-modified")];
    expect([etag, modified].every((value) => value !== null)).toBe(true);
    expect((await get("/app.js", [`If-None-Match: ${etag}`])).status).toBe(304);
    expect((await get("/app.js", [`If-Modified-Since: ${modified}`])).status).toBe(304);
    expect((await get("/app.js", ["If-None-Match: \"other\"", `If-Modified-Since: ${modified}`])).status).toBe(200);
    expect((await get("/app.js", ["If-Match: \"other\""])).status).toBe(412);
  });

  test.each([
    ["bytes=0-3", 206, "bytes 0-3/13", "<h1>"], ["bytes=-5", 206, "bytes 8-12/13", "</h1>"], ["bytes=4-", 206, "bytes 4-12/13", "home</h1>"],
    ["bytes=13-", 416, "bytes */13", null], ["bytes=0-1,3-4", 200, null, "<h1>home</h1>"], ["lines=0-1", 200, null, "<h1>home</h1>"], ["bytes=3-1", 200, null, "<h1>home</h1>"],
  ])("in the range %s is %d", async (range, status, contentRange, body) => {
    const answer = await get("/index.html", [`Range: ${range}`]);
    expect([answer.status, answer.one("content-range")]).toEqual([status, contentRange]);
    if (body !== null) expect(answer.body).toBe(body);
  });

  test("for HEAD has a head alone, and for anything but GET there is a 405", async () => {
    const { answers } = await inTurn(router.port, [head("HEAD", "/app.js"), head("DELETE", "/app.js"), head("GET", "/style.css")]);
    expect(answers.map(({ status }) => status)).toEqual([200, 405, 200]);
    expect([answers[0]?.one("content-length"), answers[0]?.body]).toEqual([String(SCRIPT.length), ""]);
    expect(answers[1]?.one("allow")).toBe("GET, HEAD");
  });

  test("that lies there compressed is sent so; another one is compressed on the way, unless the route says otherwise", async () => {
    const [lying, made, plain] = await Promise.all(["/style.css", "/app.js", "/plain/app.js"].map((path) => fetch(router.url(path), { decompress: false, headers: { "accept-encoding": "gzip" } } as RequestInit)));
    const of = async (response: Response | undefined): Promise<unknown[]> => {
      const coding = response?.headers.get("content-encoding") ?? null;
      const bytes = (await response?.bytes()) ?? new Uint8Array();
      return [coding, response?.headers.get("vary"), (coding === "gzip" ? gunzipSync(bytes) : Buffer.from(bytes)).toString()];
    };
    expect(await of(lying)).toEqual(["gzip", "Accept-Encoding", "a { color: red }"]);
    expect(await of(made)).toEqual(["gzip", "Accept-Encoding", SCRIPT]);
    expect((await of(plain))[2]).toBe(SCRIPT);
    expect(made?.headers.get("etag")).toMatch(/^W\//);
  });

  test("of a single-page site stands for every path that names none; dotfiles are none", async () => {
    const bare = await get("/app?x=1");
    expect([bare.status, bare.one("location")]).toEqual([308, "./app/?x=1"]);
    for (const path of ["/app/", "/app/settings/profile", "/app/nothing.js"]) expect([path, (await get(path)).body]).toEqual([path, "<h1>home</h1>"]);
    expect((await get("/app/style.css")).body).toBe("a { color: red }");
    for (const path of ["/app/.env", "/app/.git/config"]) expect([path, (await get(path)).status]).toEqual([path, 404]);
  });

  test("behind a directory without its slash is reached by a redirect that stays on the site", async () => {
    const answer = await get("/docs?x=1");
    expect([answer.status, answer.one("location")]).toEqual([308, "./docs/?x=1"]);
    const evil = await get("//evil.example/docs");
    expect([evil.status, evil.one("location")]).toEqual([404, null]);
  });
});

describe("nothing is served", () => {
  test.each([
    ["/.env"], ["/.git/config"], ["/linked/secret.txt"], ["/linked.txt"], ["/../outside/secret.txt"], ["/%2e%2e/outside/secret.txt"], ["/docs/..%2f..%2foutside/secret.txt"],
    ["/docs/%252e%252e/index.html"], ["/..%5coutside%5csecret.txt"], ["/\\..\\outside\\secret.txt"], ["/index.html%00.txt"], ["/index.html/"], ["/empty/"], ["/empty"], ["/nothing"],
    ["/%c0%ae%c0%ae/outside/secret.txt"], ["/docs//index.html"], ["/%ff"], ["/%"], ["/etc/passwd"], ["/index.html/../.env"], ["/..;/outside/secret.txt"],
  ])("for %s", async (path) => {
    const answer = await get(path);
    expect([400, 404]).toContain(answer.status);
    expect(answer.body).not.toContain("secret");
    // The next one is not disturbed.
    expect((await get("/style.css")).status).toBe(200);
  });
});

describe("a release that is swapped while it is served", () => {
  test("is old or new, whole, in 300 requests over 60 swaps", async () => {
    const releases = mkdtempSync(join(tmpdir(), "route-releases-"));
    for (const name of ["one", "two"]) {
      mkdirSync(join(releases, name));
      writeFileSync(join(releases, name, "page.txt"), name.repeat(name === "one" ? 1000 : 3000));
    }
    const current = join(releases, "current");
    const point = (to: string): void => {
      symlinkSync(to, `${current}.new`);
      renameSync(`${current}.new`, current);
    };
    point("one");
    const front = await TestRouter.start({ config: `services:\n  site: { directory: "${current}" }\nroutes:\n  - { path: /, service: site }\n` });
    try {
      const seen = new Set<string>();
      for (let swap = 0; swap < 60; swap += 1) {
        const asked = Array.from({ length: 5 }, async () => (await fetch(front.url("/page.txt"))).text());
        point(swap % 2 === 0 ? "two" : "one");
        for (const text of await Promise.all(asked)) seen.add(text === "one".repeat(1000) ? "one" : text === "two".repeat(3000) ? "two" : `broken: ${text.length}`);
      }
      expect(seen).toEqual(new Set(["one", "two"]));
    } finally {
      await front.stop();
      rmSync(releases, { recursive: true, force: true });
    }
  });
});
