import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, linkSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { Site } from "./site.ts";

const MODIFIED_MS = Date.UTC(2026, 0, 2, 3, 4, 5);
const MODIFIED = "Fri, 02 Jan 2026 03:04:05 GMT";
const NUMBERS = Array.from({ length: 40_000 }, (_, i) => String(i).padStart(5, "0")).join("");

let site: Site;
let socket: Server;
beforeAll(async () => {
  site = new Site();
  site.write("index.html", "<h1>home</h1>", MODIFIED_MS);
  site.write("a.txt", "0123456789", MODIFIED_MS);
  site.write("numbers.bin", NUMBERS, MODIFIED_MS);
  site.write("docs/index.html", "docs", MODIFIED_MS);
  site.write("docs/page.html", "page", MODIFIED_MS);
  site.write("plain/file.css", "a{}", MODIFIED_MS);
  site.write("100% é€ +;.txt", "named", MODIFIED_MS);
  site.write("%2e%2e/x.txt", "encoded name", MODIFIED_MS);
  site.write("empty.txt", "", MODIFIED_MS);
  site.write(".env", "hidden");
  site.write(".well-known/acme-challenge/token", "token.thumbprint");
  site.write(".well-known/.hidden", "hidden");
  site.write("docs/.git/config", "hidden");
  site.write("releases/2/app.js", "release 2");
  site.write("unreadable.txt", "secret");
  writeFileSync(join(site.directory, "secret.txt"), "secret");
  mkdirSync(join(site.directory, "root-of-another"));
  writeFileSync(join(site.directory, "root-of-another/x.txt"), "secret");
  const link = (to: string, at: string): void => symlinkSync(to, join(site.root, at));
  link("a.txt", "inside.txt");
  link(join(site.root, "a.txt"), "absolute.txt");
  link("releases/2", "current");
  link("../secret.txt", "outside.txt");
  link("..", "up");
  link("../root-of-another", "sibling");
  link("/etc", "etc");
  link("/dev/zero", "zero.txt");
  link("/proc/self/environ", "environ.txt");
  link("loop", "loop");
  link("nowhere", "dangling");
  linkSync(join(site.root, "a.txt"), join(site.root, "hard.txt"));
  Bun.spawnSync(["mkfifo", join(site.root, "fifo.txt"), join(site.root, "docs/fifo.html")]);
  socket = createServer().listen(join(site.root, "socket.txt"));
  await new Promise((resolve) => socket.once("listening", resolve));
});
afterAll(() => { socket.close(); site.remove(); });

describe("a file", () => {
  test("is sent with its type, its length and its validators", async () => {
    const seen = await site.get("/a.txt");
    expect([seen.status, seen.text, seen.contentLength]).toEqual([200, "0123456789", 10]);
    expect(seen.headers).toEqual({ etag: expect.stringMatching(/^"[\w-]+"$/), "last-modified": MODIFIED, vary: "Accept-Encoding", "content-type": "text/plain; charset=utf-8", "accept-ranges": "bytes" });
  });

  test.each([
    ["/", "<h1>home</h1>"], ["/index.html", "<h1>home</h1>"], ["/docs/", "docs"], ["/docs/page.html", "page"], ["/100%25%20%C3%A9%E2%82%AC%20+;.txt", "named"], ["/%61.txt", "0123456789"],
    ["/empty.txt", ""], ["/inside.txt", "0123456789"], ["/absolute.txt", "0123456789"], ["/hard.txt", "0123456789"],
    // Out and back in: where the file lies is what counts.
    ["/up/root/a.txt", "0123456789"], ["/current/app.js", "release 2"], ["/.well-known/acme-challenge/token", "token.thumbprint"],
    ["/numbers.bin", NUMBERS], ["/a.txt?x=../y", "0123456789"],
  ])("%s is served", async (path, text) => {
    const seen = await site.get(path);
    expect([seen.status, seen.text === text, seen.contentLength]).toEqual([200, true, Buffer.byteLength(text)]);
  });

  test.each([
    "/nothing", "/a.txt/", "/a.txt/x", "/plain/", "/plain", "/releases/", "/.env", "/docs/.git/config", "/.well-known/.hidden", "/.well-known/", "/outside.txt", "/up/secret.txt", "/sibling/x.txt",
    "/etc/passwd", "/zero.txt", "/environ.txt", "/loop", "/dangling", "/fifo.txt", "/docs/fifo.html", "/socket.txt", "/../secret.txt", "/..%2fsecret.txt", "/%2e%2e/secret.txt", "/%252e%252e/x.txt",
    "/..%5csecret.txt", "/a.txt%00", "/a.txt%00.html", "/%c0%ae%c0%ae/secret.txt", "//a.txt", "//etc/passwd", "/docs//page.html", "/a.txt%2f", `/${"x".repeat(300)}`, `/${"x/".repeat(3000)}x`,
  ])("%p is not found", async (path) => {
    expect(await site.get(path)).toMatchObject({ status: 404, text: "not_found" });
  });

  test("that nobody may read is not found", async () => {
    chmodSync(join(site.root, "unreadable.txt"), 0);
    // Root reads everything: it asks as somebody else.
    const script = `import { answerFile } from "${join(import.meta.dir, "../../src/files/file-service.ts")}";
      if (process.getuid() === 0) process.setuid(65534);
      console.log(await answerFile(process.argv[1], { fallback: "a.txt" }, { method: "GET", path: "/unreadable.txt", query: "", headers: {} }).then(() => "served", (error) => error.code));`;
    chmodSync(site.directory, 0o755);
    const child = Bun.spawn([process.execPath, "-e", script, site.root], { stdout: "pipe", stderr: "inherit" });
    expect(await new Response(child.stdout).text()).toBe("not_found\n");
  });

  test("is not there when its root is not", async () => {
    const other = new Site();
    other.remove();
    expect(await other.get("/index.html")).toMatchObject({ status: 404 });
  });

  test.each(["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"])("takes no %s", async (method) => {
    expect(await site.get("/a.txt", {}, { method })).toMatchObject({ status: 405, text: "method_not_allowed" });
  });

  test("answers HEAD with the head of a GET, and no body", async () => {
    for (const path of ["/a.txt", "/numbers.bin", "/docs/"]) {
      const [get, head] = [await site.get(path), await site.get(path, { range: "bytes=0-1" }, { method: "HEAD" })];
      expect(head).toEqual({ ...get, text: "" });
    }
  });

  test("that was just written has a weak ETag", async () => {
    site.write("fresh.txt", "fresh");
    expect((await site.get("/fresh.txt", {}, { now: Date.now })).headers["etag"]).toStartWith("W/\"");
  });
});

describe("a directory", () => {
  test.each([["/docs", "./docs/"], ["/docs?a=b&c=//d", "./docs/?a=b&c=//d"], ["/%64ocs", "./%64ocs/"]])("%s is sent on to %s", async (path, location) => {
    const seen = await site.get(path);
    expect([seen.status, seen.text, seen.headers]).toEqual([308, "", { location }]);
    const resolved = new URL(location, `http://here.example${path}`);
    expect([resolved.host, decodeURI(resolved.pathname)]).toEqual(["here.example", "/docs/"]);
  });

  test("named like an address is sent on to itself, not to there", async () => {
    site.write("evil.example:80/index.html", "x");
    const { headers } = await site.get("/evil.example:80");
    expect(new URL(headers["location"] ?? "", "http://here.example/evil.example:80").href).toBe("http://here.example/evil.example:80/");
  });
});

describe("conditions", () => {
  test("a client that has the file is told so, with what a 304 says", async () => {
    const { headers } = await site.get("/a.txt");
    const conditions: Array<Record<string, string>> = [{ "if-none-match": headers["etag"]! }, { "if-none-match": `W/${headers["etag"]}` }, { "if-modified-since": MODIFIED }];
    for (const condition of conditions) {
      expect(await site.get("/a.txt", condition)).toEqual({ status: 304, text: "", contentLength: 0, headers: { etag: headers["etag"]!, "last-modified": MODIFIED, vary: "Accept-Encoding" } });
    }
  });

  test("a client that expects another file gets none", async () => {
    expect(await site.get("/a.txt", { "if-match": "\"other\"" })).toMatchObject({ status: 412, text: "" });
  });

  test("another release with the same size and time is another file", async () => {
    site.write("app.css", "release 1", MODIFIED_MS);
    const before = await site.get("/app.css");
    site.write("app.css", "release 2", MODIFIED_MS);
    const after = await site.get("/app.css", { "if-none-match": before.headers["etag"]! });
    expect([after.status, after.text]).toEqual([200, "release 2"]);
  });
});

describe("a range", () => {
  const CASES: ReadonlyArray<readonly [range: string, status: number, text: string, contentRange: string | undefined]> = [
    ["bytes=0-3", 206, "0123", "bytes 0-3/10"], ["bytes=8-", 206, "89", "bytes 8-9/10"], ["bytes=-3", 206, "789", "bytes 7-9/10"], ["bytes=5-5", 206, "5", "bytes 5-5/10"],
    ["bytes=0-", 206, "0123456789", "bytes 0-9/10"], ["bytes=10-", 416, "", "bytes */10"], ["bytes=-0", 416, "", "bytes */10"], ["bytes=0-1,3-4", 200, "0123456789", undefined], ["lines=0-1", 200, "0123456789", undefined],
  ];
  test.each(CASES)("%s: %d", async (range, status, text, contentRange) => {
    const seen = await site.get("/a.txt", { range });
    expect([seen.status, seen.text, seen.headers["content-range"], seen.contentLength]).toEqual([status, text, contentRange, text.length]);
    expect(seen.headers["accept-ranges"]).toBe("bytes");
  });

  test.each([[0, 99], [100_000, 199_998], [65_535, 131_073], [131_071, 131_072], [199_999, 199_999], [1, 199_998]])("of bytes %d to %d of a long file is those bytes", async (first, last) => {
    const seen = await site.get("/numbers.bin", { range: `bytes=${first}-${last}` });
    expect([seen.status, seen.text === NUMBERS.slice(first, last + 1), seen.contentLength]).toEqual([206, true, last - first + 1]);
  });

  test("is whole when If-Range means another file", async () => {
    const { headers } = await site.get("/a.txt");
    const ask = async (field: string): Promise<number> => (await site.get("/a.txt", { range: "bytes=0-3", "if-range": field })).status;
    expect([await ask(headers["etag"]!), await ask(MODIFIED), await ask(`W/${headers["etag"]}`), await ask("\"other\""), await ask("Fri, 02 Jan 2026 03:04:06 GMT")]).toEqual([206, 206, 200, 200, 200]);
  });

  test("comes after the conditions", async () => {
    const { headers } = await site.get("/a.txt");
    expect([(await site.get("/a.txt", { range: "bytes=0-3", "if-none-match": headers["etag"]! })).status, (await site.get("/a.txt", { range: "bytes=99-", "if-match": "\"x\"" })).status]).toEqual([304, 412]);
  });

  test("a thousand of them cost no more than none", async () => {
    const range = `bytes=${Array.from({ length: 1000 }, (_, i) => `${i}-`).join(",")}`;
    const seen = await site.get("/numbers.bin", { range });
    expect([seen.status, seen.contentLength]).toEqual([200, NUMBERS.length]);
  });
});

describe("a file that lies there compressed", () => {
  beforeAll(() => {
    for (const [name, content] of [["lib.js", "plain"], ["lib.js.br", "brotli bytes"], ["lib.js.gz", "gzip"], ["only.css", "plain"], ["only.css.gz", "gzip"], ["pic.png", "plain"], ["pic.png.gz", "gzip"], ["sub/index.html", "plain"], ["sub/index.html.br", "brotli"]] as const) site.write(name, content, MODIFIED_MS);
    site.write("old.js", "plain", MODIFIED_MS);
    site.write("old.js.br", "stale", MODIFIED_MS - 60_000);
    site.write("old.js.gz", "gzip", MODIFIED_MS + 60_000);
    site.write("odd.js", "plain", MODIFIED_MS);
    mkdirSync(join(site.root, "odd.js.br"));
    symlinkSync("../secret.txt", join(site.root, "odd.js.gz"));
    site.write("alone.js.gz", "gzip", MODIFIED_MS);
  });

  const CASES: ReadonlyArray<readonly [path: string, accepted: string | undefined, text: string, coding: string | undefined]> = [
    ["/lib.js", "gzip, deflate, br, zstd", "brotli bytes", "br"], ["/lib.js", "gzip", "gzip", "gzip"], ["/lib.js", "br;q=0.1, gzip", "gzip", "gzip"], ["/lib.js", "*", "brotli bytes", "br"], ["/lib.js", undefined, "plain", undefined],
    ["/lib.js", "zstd", "plain", undefined], ["/lib.js", "br;q=0, gzip;q=0", "plain", undefined], ["/lib.js", "identity, br;q=0.5", "plain", undefined],
    ["/only.css", "gzip, br", "gzip", "gzip"], ["/only.css", "br", "plain", undefined], ["/pic.png", "gzip", "plain", undefined], ["/sub/", "br", "brotli", "br"], ["/sub/index.html", "br", "brotli", "br"],
    ["/old.js", "br, gzip", "gzip", "gzip"], ["/old.js", "br", "plain", undefined], ["/odd.js", "br, gzip", "plain", undefined],
  ];
  test.each(CASES)("%s for a client of %p", async (path, accepted, text, coding) => {
    const seen = await site.get(path, accepted === undefined ? {} : { "accept-encoding": accepted });
    expect([seen.status, seen.text, seen.headers["content-encoding"], seen.contentLength]).toEqual([200, text, coding, text.length]);
    expect(seen.headers["vary"]).toBe(path.endsWith(".png") ? undefined! : "Accept-Encoding");
    expect(seen.headers["content-type"]).not.toContain("gzip");
  });

  test("has an ETag for each of its forms, and ranges of the form that is sent", async () => {
    const [plain, br, gzip] = [await site.get("/lib.js"), await site.get("/lib.js", { "accept-encoding": "br" }), await site.get("/lib.js", { "accept-encoding": "gzip" })];
    expect(new Set([plain, br, gzip].map(({ headers }) => headers["etag"])).size).toBe(3);
    expect(await site.get("/lib.js", { "accept-encoding": "br", range: "bytes=0-5", "if-range": br.headers["etag"]! })).toMatchObject({ status: 206, text: "brotli", headers: { "content-range": "bytes 0-5/12", "content-encoding": "br" } });
    expect((await site.get("/lib.js", { "accept-encoding": "gzip", "if-none-match": br.headers["etag"]! })).status).toBe(200);
  });

  test("is not found when it alone lies there", async () => {
    expect((await site.get("/alone.js", { "accept-encoding": "gzip" })).status).toBe(404);
  });
});

describe("a fallback", () => {
  const fallback = "index.html";

  test.each(["/app/route", "/nothing", "/nothing.js", "/a.txt/x", "/plain", "/plain/", "/users/100%25", "/deep/er/"])("stands for %s", async (path) => {
    expect(await site.get(path, {}, { fallback })).toMatchObject({ status: 200, text: "<h1>home</h1>", headers: { "content-type": "text/html; charset=utf-8" } });
  });

  test.each(["/.env", "/.nothing", "/..%2fx", "/%2e%2e/x", "/%252e%252e/x", "/x%00", "/%c0%ae/x", "//x", "/outside.txt", "/etc/passwd", "/up/secret.txt", "/fifo.txt", "/loop"])("does not stand for %s", async (path) => {
    expect((await site.get(path, {}, { fallback })).status).toBe(404);
  });

  test("does not take the place of files, directories and methods", async () => {
    const seen = [await site.get("/a.txt", {}, { fallback }), await site.get("/docs", {}, { fallback }), await site.get("/docs/", {}, { fallback }), await site.get("/x", {}, { fallback, method: "POST" })];
    expect(seen.map(({ status, text }) => [status, text])).toEqual([[200, "0123456789"], [308, ""], [200, "docs"], [405, "method_not_allowed"]]);
  });

  test("answers conditions and HEAD as every file does", async () => {
    const { headers } = await site.get("/app", {}, { fallback });
    expect([(await site.get("/other", { "if-none-match": headers["etag"]! }, { fallback })).status, (await site.get("/app", {}, { fallback, method: "HEAD" })).contentLength]).toEqual([304, 13]);
  });

  test("that is not there is not found, and one that leads out is refused", async () => {
    expect([(await site.get("/x", {}, { fallback: "none.html" })).status, (await site.get("/x", {}, { fallback: "outside.txt" })).status]).toEqual([404, 404]);
  });
});

test("no descriptor stays open", async () => {
  await eventually("all files to be closed", () => site.openFiles(), (open) => open.length === 0);
});
