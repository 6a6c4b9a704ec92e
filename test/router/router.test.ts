import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { loadSettings } from "../../src/config/load.ts";
import type { PathMatch, Route } from "../../src/route.ts";
import { parsePattern, Router } from "../../src/router/router.ts";

/** A route of which only the match matters here. */
function route(kind: PathMatch["kind"], path: string): Route {
  return {
    name: `${kind} ${path}`, match: { kind, path }, tokenSources: [], rewrite: { kind: "unchanged" }, host: "client",
      websocket: false,
    service: { kind: "builtin", name: "test", answer: { kind: "text", text: "" } }, forwardToken: false,
      bodyLimitBytes: 0,
    readTimeoutMs: 1, idleTimeoutMs: 0, cache: false, compress: false, allowedClients: [], deniedClients: [], origins: { kind: "any" }, compressText: false,
      buffering: true, identity: "desktop", viewer: false, closeAfterUpgrade: false,
  };
}

function nameOf(router: Router, path: string): string | null {
  return router.match(path)?.route.name ?? null;
}

describe("a prefix", () => {
  const router = new Router([route("prefix", "/filer"), route("prefix", "/terminals/"), route("prefix", "/a/b")]);
  const CASES: ReadonlyArray<readonly [path: string, name: string | null]> = [
    ["/filer", "prefix /filer"], ["/filer/", "prefix /filer"], ["/filer/x/y", "prefix /filer"],
    ["/filer//x", "prefix /filer"],
    ["/filerx", null], ["/file", null], ["/FILER", null], ["//filer", null], ["/%66iler", null], ["/filer;x", null],
    ["/filer%2fx", null],
    ["/terminals/", "prefix /terminals/"], ["/terminals/7", "prefix /terminals/"], ["/terminals", null],
    ["/a/b", "prefix /a/b"], ["/a/b/c", "prefix /a/b"], ["/a", null], ["/a/bc", null], ["/", null],
  ];
  test.each(CASES)("matches %p as %p: up to the end of a segment, byte for byte", (path, name) => {
    expect(nameOf(router, path)).toBe(name);
  });
});

describe("a pattern", () => {
  const router = new Router([route("pattern", "/container/{token}/{port}/{path*}"),
    route("pattern", "/container/{port}"), route("pattern", "/terminals/{id}/size")]);

  test("takes the token, the port and the rest of the path", () => {
    expect(router.match("/container/abc/6081/x/y")).toMatchObject({ pathToken: "abc", pathPort: "6081", rest: "x/y" });
  });

  test.each([["/container/abc/6081", ""], ["/container/abc/6081/", ""], ["/container/abc/6081//", "/"],
    ["/container/abc/6081//x", "/x"]])(
    "%p leaves %p as the rest", (path, rest) => {
      expect(router.match(path)).toMatchObject({ pathToken: "abc", pathPort: "6081", rest });
    });

  test("with one segment is the port's own rule, with nothing else taken", () => {
    expect(router.match("/container/6081")).toMatchObject({ pathToken: null, pathPort: "6081", rest: null });
  });

  test.each(["/container/", "/container//6081", "/container/abc/", "/terminals//size", "/terminals/1/size/",
    "/terminals/1/2/size", "/terminals/1/sizes"])(
    "does not take %p: a name is one segment that is not empty", (path) => {
      expect(router.match(path)).toBeNull();
    });

  test("percent-encoded slashes and braces stay inside one segment", () => {
    expect(router.match("/container/a%2fb/6081/..%2f")).toMatchObject({ pathToken: "a%2fb", rest: "..%2f" });
  });

  test("is parsed into literals, names and a rest", () => {
    expect(parsePattern("/a/{token}/{path*}")).toEqual([
      { kind: "literal", text: "a" }, { kind: "one", name: "token" }, { kind: "rest", name: "path" },
    ]);
  });
});

describe("a pattern of consoles", () => {
  const router = new Router([
    route("pattern", "/{token}/{vm}"), route("pattern", "/labs/ws/{token}/{vm}"), route("pattern", "/labs/ws/_viewer/{file*}"), route("pattern", "/by-name/{vm}"), route("exact", "/healthz"),
  ]);

  test("takes the token and the virtual machine", () => {
    expect(router.match("/abc.def/ubuntu-22.04")).toMatchObject({ pathToken: "abc.def", pathVm: "ubuntu-22.04", pathPort: null, rest: null });
    expect(router.match("/labs/ws/abc/kali")).toMatchObject({ pathToken: "abc", pathVm: "kali" });
    expect(router.match("/by-name/kali")).toMatchObject({ pathToken: null, pathVm: "kali" });
  });

  test.each(["/", "/t", "/t/", "//vm", "/t/vm/", "/t/vm/x", "/labs", "/labs/ws/t", "/labs/ws/t/", "/labs/ws//vm", "/labs/ws/t/vm/", "/labs/ws/t/vm/x", "/by-name/"])(
    "does not take %p: a wrong number of segments, or an empty one", (path) => {
      expect(router.match(path)).toBeNull();
    });

  test("leaves what is encoded as it came: the name is judged by who puts it into a URL", () => {
    for (const vm of ["..%2fx", "%2e%2e", "a%20b", "ubuntu;x"]) expect(router.match(`/t/${vm}`)).toMatchObject({ pathVm: vm });
  });

  test("stands back behind the viewer's files and exact paths", () => {
    expect(["/labs/ws/_viewer/client.js", "/labs/ws/_viewer/", "/labs/ws/_viewers/vm", "/healthz"].map((path) => nameOf(router, path))).toEqual([
      "pattern /labs/ws/_viewer/{file*}", "pattern /labs/ws/_viewer/{file*}", "pattern /labs/ws/{token}/{vm}", "exact /healthz",
    ]);
  });
});

describe("the most specific rule wins", () => {
  const routes = [
    route("prefix", "/"), route("prefix", "/terminals/"), route("prefix", "/terminals"),
      route("pattern", "/terminals/{id}/size"),
    route("exact", "/terminals/7/size"), route("prefix", "/API"), route("prefix", "/API/manager/image"),
      route("exact", "/API/composer/launchdesktop"),
    route("pattern", "/{a}/fixed/{b*}"), route("pattern", "/{a}/{b}/{c*}"),
  ];
  const CASES: ReadonlyArray<readonly [path: string, name: string]> = [
    ["/terminals/7/size", "exact /terminals/7/size"], ["/terminals/8/size", "pattern /terminals/{id}/size"],
    ["/terminals", "prefix /terminals"], ["/API", "prefix /API"], ["/nothing", "prefix /"],
    ["/API/composer/launchdesktop", "exact /API/composer/launchdesktop"], ["/x/fixed/y", "pattern /{a}/fixed/{b*}"],
    ["/x/other/y", "pattern /{a}/{b}/{c*}"],
  ];
  for (const [order, list] of [["as written", routes], ["reversed", routes.toReversed()]] as const) {
    test.each(CASES)(`%p goes to %p (rules ${order})`, (path, name) => {
      expect(nameOf(new Router(list), path)).toBe(name);
    });
  }

  test("of the shipped table, too", async () => {
    const env = { JWT_DESKTOP_SIGNING_PUBLIC_KEY: "a", JWT_DESKTOP_PAYLOAD_PRIVATE_KEY: "b" };
    const router = new Router((await loadSettings({ env })).routes);
    const chosen = ["/terminals", "/terminals/1", "/terminals/1/size", "/API/manager/image/x",
      "/API/composer/launchdesktop", "/API/composer/launchdesktop/x",
      "/container/6081", "/container/t/6081/", "/.well-known/acme-challenge/x", "/healthz", "/healthz/x",
      "/websockify/x"].map((path) => nameOf(router, path));
    expect(chosen).toEqual(["/terminals", "/terminals/", "/terminals/{id}/size", "/API/manager/image",
      "/API/composer/launchdesktop", "/API",
      "/container/{port}", "/container/{token}/{port}/{path*}", "/.well-known/acme-challenge/", "/healthz", "/", "/"]);
  });
});

describe("against a model that tries every rule", () => {
  const segment = fc.constantFrom("", "a", "b", "ab", "A", "%61", "x;y");
  const path = fc.array(segment, { minLength: 1, maxLength: 6 }).map((parts) => `/${parts.join("/")}`);

  test("exact paths and prefixes agree for any table and any path", () => {
    fc.assert(fc.property(fc.uniqueArray(path, { maxLength: 8 }), fc.uniqueArray(path, { maxLength: 3 }),
      path, (prefixes, exact, asked) => {
      const router = new Router([...prefixes.map((p) => route("prefix", p)), ...exact.map((p) => route("exact", p))]);
      expect(nameOf(router, asked)).toBe(model(prefixes, exact, asked));
    }), { numRuns: 2000 });
  });

  test("so they do beside patterns, which go before prefixes", () => {
    const part = fc.constantFrom("a", "b", "{token}", "{port}");
    const pattern = fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => `/${parts.join("/")}`);
    fc.assert(fc.property(fc.uniqueArray(path, { maxLength: 4 }), fc.uniqueArray(path, { maxLength: 2 }), pattern, path, (prefixes, exact, text, asked) => {
      const router = new Router([...prefixes.map((p) => route("prefix", p)), ...exact.map((p) => route("exact", p)), route("pattern", text)]);
      const isTaken = new RegExp(`^${text.replaceAll(/\{\w+\}/g, "[^/]+")}$`).test(asked);
      expect(nameOf(router, asked)).toBe(isTaken && !exact.includes(asked) ? `pattern ${text}` : model(prefixes, exact, asked));
    }), { numRuns: 5000 });
  });

  function model(prefixes: readonly string[], exact: readonly string[], asked: string): string | null {
    if (exact.includes(asked)) return `exact ${asked}`;
    const below = (prefix: string): boolean => asked === prefix || asked.startsWith(prefix.endsWith("/") ? prefix : `${prefix}/`);
    const [longest] = prefixes.filter(below).toSorted((a, b) => b.length - a.length);
    return longest === undefined ? null : `prefix ${longest}`;
  }

  test("a pattern takes what its regular expression takes", () => {
    const part = fc.constantFrom("a", "b", "{token}", "{port}", "{vm}");
    const pattern = fc.tuple(fc.array(part, { minLength: 1, maxLength: 4 }), fc.boolean())
      .map(([parts, rest]) => `/${[...parts, ...(rest ? ["{path*}"] : [])].join("/")}`);
    fc.assert(fc.property(pattern, path, (text, asked) => {
      const source = text.replace(/\/\{path\*\}$/, "(?:/(?<rest>.*))?").replace(/\{(token|port|vm)\}/g, "[^/]+");
      const match = new Router([route("pattern", text)]).match(asked);
      expect(match !== null).toBe(new RegExp(`^${source}$`).test(asked));
    }), { numRuns: 2000 });
  });
});
