// Path tricks: what is matched is what is forwarded, and nothing reaches a route or a file that its spelling hides.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ask, Cluster, converse, head } from "../support/http.ts";

let cluster: Cluster;
beforeAll(async () => { cluster = await Cluster.start(); });
afterAll(() => cluster.stop());
beforeEach(() => cluster.reset());

describe("a path that is normalised is matched and forwarded in its normal form", () => {
  const CASES: ReadonlyArray<readonly [path: string, service: string, target: string]> = [
    ["/API/../console/x", "console", "/x"], ["/x/../API/y", "pyos", "/API/y"], ["/API/./y", "pyos", "/API/y"],
    ["/API/%2e%2e/x", "website", "/x"], ["/API/%2E%2e/x", "website", "/x"],
    ["/API/.%2e/x", "website", "/x"], ["/API/%2e/x", "pyos", "/API/x"], ["/../../API", "pyos", "/API"],
    ["/API\\..\\x", "website", "/x"], ["/API\\y", "pyos", "/API/y"],
    ["/\\evil.example/x", "website", "//evil.example/x"], ["/API/<\x7f>", "pyos", "/API/%3C%7F%3E"],
    ["/API/\xe9", "pyos", "/API/%EF%BF%BD"],
  ];
  test.each(CASES)("%s goes to %s as %s", async (path, service, target) => {
    expect((await ask(cluster.port, head("GET", path))).status).toBe(200);
    expect(cluster.services.seen).toMatchObject([{ port: service, target }]);
  });
});

describe("a path that has one meaning stays as it is", () => {
  const CASES: ReadonlyArray<readonly [path: string, service: string]> = [
    ["/API//x", "pyos"], ["//API", "website"], ["//API/x", "website"], ["///", "website"], ["/API%2fx", "website"],
    ["/%41PI", "website"], ["/API;x", "website"], ["/API/x;y=z", "pyos"],
    ["/API/x%3by", "pyos"], ["/API/a%2fb", "pyos"], ["/API/a%5cb", "pyos"], ["/API/...", "pyos"],
    ["/API/.hidden", "pyos"], ["/API/a..b", "pyos"], ["/API/%252e%252e/x", "pyos"], ["/API/%25%32%65", "pyos"],
    ["/API/%zz", "pyos"], ["/API/%", "pyos"], ["/API/x%23y", "pyos"], ["/API/x%3Fy", "pyos"], ["/API/%0d%0ax", "pyos"],
    ["/API/%20", "pyos"], ["/API/%C3%A9", "pyos"], ["/API/@:!$&'()*+,=~", "pyos"],
    ["/API?a=../..&b=\\&c=%00&d=//", "pyos"], ["/API?", "pyos"], ["/API/?x?y", "pyos"],
  ];
  test.each(CASES)("%s goes to %s unchanged", async (path, service) => {
    expect((await ask(cluster.port, head("GET", path))).status).toBe(200);
    // A lone question mark says nothing.
    expect(cluster.services.seen).toMatchObject([{ port: service, target: path === "/API?" ? "/API" : path }]);
  });
});

describe("a path that one server reads one way and another one the other is refused", () => {
  const DOTS = ["..%2f", "..%2F", "%2e%2e%2f", ".%2e%2f", "..%5c", "..;/", "..;x=y/", "%2e%2e;/", ".;/", ".%2f",
    "%2e%2f", "x%2f..%2f", "x%5c..%5c", "..%2f..%2f"];
  test.each([...DOTS.map((dots) => `/API/${dots}console`), "/API/..%2f", "/API/x%2f..", "/API/x%5c.", "/API/%2f..",
    "/API/..;", "/API/x/..%5c", "/API/%00", "/API/x%00.css", "/%00/API", "/API%2f..%2fconsole",
    "/filer/..;/API"])("%s", async (path) => {
    const answer = await ask(cluster.port, head("GET", path));
    expect([answer.status, answer.body]).toEqual([400, "bad request\n"]);
    expect(cluster.seenCount).toBe(0);
  });

  test.each(["/API/x#fragment", "/API#", "/#/../API"])("%s: a fragment is the client's own business", async (path) => {
    expect((await ask(cluster.port, head("GET", path))).status).toBe(400);
    expect(cluster.seenCount).toBe(0);
  });

  test.each(["/API/a b", "/API/a\tb", "/API/\x01", "/API/\0", "API", "?x", "*", "", "/API\r",
    "/API/a\nb"])("%p: no request target at all", async (path) => {
    const { answers } = await converse(cluster.port, head("GET", path));
    expect(answers[0]?.status).toBeGreaterThanOrEqual(400);
    expect(cluster.seenCount).toBe(0);
  });
});

describe("a target in absolute form", () => {
  test("is routed by its path; Host decides, and the authority in the target goes nowhere", async () => {
    for (const target of ["http://evil.example/API/x", "HTTP://localhost/API/x",
      "http://user:secret@evil.example:99/API/x"]) {
      cluster.reset();
      expect((await ask(cluster.port, head("GET", target, ["Host: desk.example"]))).status).toBe(200);
      expect(cluster.services.seen).toMatchObject([{ port: "pyos", target: "/API/x",
        requestLine: "GET /API/x HTTP/1.1" }]);
      expect(cluster.services.seen[0]?.headers["host"]).toEqual(["desk.example"]);
      expect(cluster.services.seen[0]?.head).not.toContain("evil");
    }
  });

  test("with tricks in it is treated like any other path", async () => {
    expect((await ask(cluster.port, head("GET", "http://x/API/../console/y"))).status).toBe(200);
    expect(cluster.services.seen).toMatchObject([{ port: "console", target: "/y" }]);
    expect((await ask(cluster.port, head("GET", "http://x/API/..%2fconsole"))).status).toBe(400);
  });

  test.each(["ftp://localhost/API", "http:/API", "http://", "//",
    "http:API"])("%s is never taken for another route", async (target) => {
    const { answers } = await converse(cluster.port, head("GET", target));
    const [seen] = cluster.services.seen;
    if (seen === undefined) expect(answers[0]?.status).toBe(400);
    else expect(seen.port).toBe("website");
  });
});

describe("a route that asks for a token", () => {
  const SPELLINGS = ["/filer", "/filer/", "/filer//x", "/filer/x", "/x/../filer/x", "/%2e/filer/x", "/filer\\x",
    "/./filer", "/filer/%2e%2e/filer/x", "http://x/filer/x", "/filer?x", "/filer/;x"];
  test.each(SPELLINGS)("asks for it at %s as well", async (path) => {
    expect((await ask(cluster.port, head("GET", path))).status).toBe(401);
    expect(cluster.seenCount).toBe(0);
  });

  test.each(["//filer/x", "/%66iler/x", "/filer%2fx", "/FILER/x", "/filer;x/y",
    "/x%2f%66iler"])("%s is another path: it goes to the website and never to the pod", async (path) => {
    expect((await ask(cluster.port, head("GET", path, [cluster.bearer()]))).status).toBe(200);
    expect(cluster.pod.seen).toHaveLength(0);
    expect(cluster.services.seen).toMatchObject([{ port: "website", target: path }]);
  });
});

describe("files below the webroot", () => {
  let directory: string;
  let web: Cluster;
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), "route-webroot-"));
    const root = join(directory, "root");
    mkdirSync(join(root, ".well-known", "acme-challenge", "directory"), { recursive: true });
    writeFileSync(join(directory, "secret"), "secret");
    writeFileSync(join(root, "outside-of-well-known"), "public");
    const known = (name: string): string => join(root, ".well-known", name);
    writeFileSync(known("acme-challenge/token-_1"), "token.thumbprint");
    writeFileSync(known("security.txt"), "Contact: x");
    writeFileSync(known("a b.json"), "{}");
    writeFileSync(known(".hidden"), "hidden");
    writeFileSync(known("empty"), "");
    symlinkSync(join(directory, "secret"), known("escape"));
    symlinkSync("../../../secret", known("acme-challenge/escape"));
    symlinkSync(directory, known("out"));
    symlinkSync("security.txt", known("inside"));
    symlinkSync("loop", known("loop"));
    web = await Cluster.start({ env: { ROUTE_WEBROOT: root } });
  });
  afterAll(async () => { await web.stop(); rmSync(directory, { recursive: true }); });

  const SERVED: ReadonlyArray<readonly [path: string, body: string, type: string]> = [
    ["/.well-known/acme-challenge/token-_1", "token.thumbprint", "text/plain; charset=utf-8"],
    ["/.well-known/security.txt", "Contact: x", "text/plain; charset=utf-8"],
    ["/.well-known/a%20b.json", "{}", "application/json; charset=utf-8"],
    ["/.well-known/inside", "Contact: x", "text/plain; charset=utf-8"],
    ["/.well-known/empty", "", "text/plain; charset=utf-8"],
    ["/.well-known/acme-challenge/../security.txt", "Contact: x", "text/plain; charset=utf-8"],
    ["/.well-known/security.txt?x=../y", "Contact: x", "text/plain; charset=utf-8"],
  ];
  test.each(SERVED)("%s is served", async (path, body, type) => {
    const answer = await ask(web.port, head("GET", path));
    expect([answer.status, answer.body, answer.one("content-type"), answer.one("content-length")]).toEqual([200, body,
      type, String(body.length)]);
    const headOnly = await ask(web.port, head("HEAD", path));
    expect([headOnly.status, headOnly.one("content-length")]).toEqual([200, String(body.length)]);
  });

  const MISSING = ["/.well-known/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/directory",
    "/.well-known/nothing", "/.well-known/escape", "/.well-known/acme-challenge/escape",
    "/.well-known/out/secret", "/.well-known/loop", "/.well-known/.hidden", "/.well-known/%2ehidden",
    "/.well-known/security.txt/", "/.well-known//security.txt",
    "/.well-known/acme-challenge//token-_1", "/.well-known/security.txt%2fx", "/.well-known/acme-challenge%2ftoken-_1",
    "/.well-known/%5csecret", "/.well-known/%zz", "/.well-known/%ff", "/.well-known/SECURITY.TXT",
    "/.well-known/security.txt/x", `/.well-known/${"x".repeat(300)}`];
  test.each(MISSING)("%s is not found, and says no more than that", async (path) => {
    const answer = await ask(web.port, head("GET", path));
    expect([answer.status, answer.body]).toEqual([404, "not found\n"]);
    expect(web.seenCount).toBe(0);
  });

  test.each(["..%2f..%2fsecret", "%2e%2e%2f%2e%2e%2fsecret", "..%5c..%5csecret", "acme-challenge/..%2f..%2f..%2fsecret",
    "..;/secret", "x%00", "acme-challenge%2f..%2f..%2f..%2fsecret"])("/.well-known/%s gets nothing", async (path) => {
    const answer = await ask(web.port, head("GET", `/.well-known/${path}`));
    expect([400, 404]).toContain(answer.status);
    expect(answer.body).not.toContain("secret");
  });

  test.each(["/.well-known/../outside-of-well-known", "/.well-known/../../secret",
    "/.well-known/%2e%2e/%2e%2e/secret"])("%s leaves the route, and with it the files", async (path) => {
    web.reset();
    await ask(web.port, head("GET", path));
    expect(web.services.seen).toMatchObject([{ port: "website" }]);
  });

  test("are read only", async () => {
    for (const method of ["PUT", "POST",
      "DELETE"]) expect((await ask(web.port, head(method, "/.well-known/security.txt"))).status).toBe(405);
    expect((await ask(web.port, head("GET", "/.well-known/security.txt"))).body).toBe("Contact: x");
  });
});
