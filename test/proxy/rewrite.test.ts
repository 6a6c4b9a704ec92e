import { describe, expect, test } from "bun:test";
import type { PathRewrite } from "../../src/route.ts";
import type { Match } from "../../src/router/router.ts";
import { clientLocation, upstreamTarget } from "../../src/proxy/rewrite.ts";

function match(rewrite: PathRewrite, rest: string | null = null): Match {
  return { route: { rewrite } as Match["route"], pathToken: null, pathPort: null, pathVm: null, rest };
}

const STRIP: PathRewrite = { kind: "strip", prefix: "/console" };

describe("path and query as they go upstream", () => {
  const CASES: ReadonlyArray<readonly [rewrite: PathRewrite, path: string, query: string, target: string]> = [
    [{ kind: "unchanged" }, "/a/%2f//;x", "q=1", "/a/%2f//;x?q=1"], [{ kind: "unchanged" }, "/a", "", "/a"],
    [{ kind: "replace", path: "/" }, "/websockify", "a=b", "/"], [STRIP, "/console", "", "/"],
    [STRIP, "/console/", "a", "/?a"], [STRIP, "/console/x/y", "a", "/x/y?a"],
    [STRIP, "/console//evil.example/x", "", "/evil.example/x"], [STRIP, "/console///x", "", "/x"],
    [STRIP, "/console/x//y", "", "/x//y"],
  ];
  test.each(CASES)("%j of %p with query %p is %p", (rewrite, path, query, target) => {
    expect(upstreamTarget(match(rewrite), path, query)).toBe(target);
  });

  test.each([["", "/"], ["x/y", "/x/y"]])("the rest %p of a pattern is %p", (rest, target) => {
    expect(upstreamTarget(match({ kind: "rest" }, rest), "/container/t/1/x", "")).toBe(target);
  });

  test("no rest at all is the root", () => {
    expect(upstreamTarget(match({ kind: "rest" }, null), "/container/1", "q")).toBe("/?q");
  });
});

describe("a redirect of a service to itself", () => {
  test("leads to the path that the client knows", () => {
    expect(clientLocation(match(STRIP), "/console/x", "console", "http://console/login?x")).toBe("/console/login?x");
    expect(clientLocation(match({ kind: "unchanged" }), "/x", "website:81", "http://website:81/a")).toBe("/a");
  });

  test.each([
    ["/container/t/80/", "", "/container/t/80/login?x"], ["/container/t/80", "", "/container/t/80/login?x"], ["/container/t/80/a/80", "a/80", "/container/t/80/login?x"],
    ["/container/t/80//x", "/x", "/container/t/80/login?x"], ["/x", "x", "/login?x"], ["/container/80", null, "/login?x"],
  ])("leads below what the pattern of %p took before its rest %p: %p", (path, rest, location) => {
    expect(clientLocation(match({ kind: "rest" }, rest), path, "127.0.1.1:80", "http://127.0.1.1:80/login?x")).toBe(location);
  });

  test("leads there also when the service was told https, and says so", () => {
    expect(clientLocation(match(STRIP), "/console/x", "console", "https://console/login", "https")).toBe("/console/login");
    expect(clientLocation(match(STRIP), "/console/x", "console", "http://console/login", "https")).toBe("/console/login");
    expect(clientLocation(match(STRIP), "/console/x", "console", "https://console.evil/", "https")).toBe("https://console.evil/");
  });

  test.each(["http://website//evil.example/", "http://website/\\\\evil.example/", "http://website///evil.example/"])("never leads to another site: %p", (location) => {
    expect(clientLocation(match({ kind: "unchanged" }), "/x", "website", location)).toBe("/evil.example/");
    expect(clientLocation(match({ kind: "rest" }, "x"), "/x", "website", location)).toBe("/evil.example/");
  });

  test.each(["https://console/login", "http://console.evil/", "http://consoles/", "http://other/", "/relative",
    "//console/"])("is not taken for one: %p", (location) => {
    expect(clientLocation(match(STRIP), "/console/x", "console", location)).toBe(location);
  });
});
