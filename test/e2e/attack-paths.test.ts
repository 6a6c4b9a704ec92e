// Paths under attack: whatever spelling arrives at a service is one that no lenient server reads as another place, HTTP/1.1
// and HTTP/2 agree about every one of them, and no spelling gets to a desktop without its token. http-paths.test.ts has the
// cases that have names; this is every byte, raw and encoded, and random compositions of what path parsers disagree about.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { ask, converse, head, inTurn } from "../support/http.ts";
import type { H2Client } from "../support/https-h2.ts";
import { valuesOf } from "../support/recorder.ts";
import { RecordingRouter } from "../support/recording-router.ts";

let router: RecordingRouter;
let h2: H2Client;
beforeAll(async () => {
  if (!HAS_OPENSSL) return;
  router = await RecordingRouter.start();
  h2 = await router.h2();
});
afterAll(async () => {
  h2?.close();
  await router?.stop();
});
beforeEach(() => router?.reset());

const BYTES = Array.from({ length: 256 }, (_, code) => code);
const encoded = (code: number): string => `%${code.toString(16).padStart(2, "0")}`;

/** Every way in which servers are known to read one path: as segments. */
function readings(path: string): string[][] {
  const withoutParameters = (text: string): string => text.replace(/;[^/]*/g, "");
  const decoded = (text: string): string => text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  const texts = [path, withoutParameters(path), decoded(path), decoded(withoutParameters(path)), withoutParameters(decoded(path))];
  // A NUL ends the text for programs in C.
  const cut = texts.map((text) => text.split("\0", 1)[0] as string);
  return [...texts, ...cut].flatMap((text) => [text, text.replaceAll("\\", "/")]).map((text) => text.split("/"));
}

const climbs = (path: string): boolean => readings(path).some((segments) => segments.some((segment) => segment === ".." || segment === "."));

/** What arrived for a path: the service and the target, by both protocols. */
async function arrivals(path: string): Promise<{ one: string | null; two: string | null }> {
  router.reset();
  await converse(router.port, head("GET", path));
  const one = router.targets.at(-1) ?? null;
  router.reset();
  await h2.ended(h2.get(path));
  return { one, two: router.targets.at(-1) ?? null };
}

describe.skipIf(!HAS_OPENSSL)("a path that arrives", () => {
  const PLACES: ReadonlyArray<readonly [name: string, make: (text: string) => string]> = [
    ["alone", (text) => `/API/${text}`], ["between names", (text) => `/API/a${text}b`], ["before dots", (text) => `/API/x${text}../console/y`],
    ["behind dots", (text) => `/API/..${text}console/y`], ["between dots", (text) => `/API/.${text}./console/y`], ["around dots", (text) => `/API/x${text}..${text}console`],
    ["at the start", (text) => `/${text}API/x`], ["within the route's name", (text) => `/A${text}PI/x`], ["at the end of the route's name", (text) => `/API${text}../console`],
  ];
  test.each(PLACES)("holds no byte, raw or encoded, that makes it another place: %s", async (name, make) => {
    for (const text of BYTES.flatMap((code) => [String.fromCharCode(code), encoded(code), encoded(code).toUpperCase(), `%25${encoded(code).slice(1)}`])) {
      // A query begins here, and what it holds is nobody's path.
      if (text === "?") continue;
      const { one, two } = await arrivals(make(text));
      const what = `${name} ${JSON.stringify(text)}`;
      expect([what, two]).toEqual([what, one]);
      if (one !== null) expect([what, one, climbs(one.split(" ", 3)[2] as string)]).toEqual([what, one, false]);
      expect([what, router.faults]).toEqual([what, []]);
    }
  }, 60_000);

  const PIECES = [
    "/", "//", "\\", "%2f", "%2F", "%5c", "%5C", ".", "..", "...", "%2e", "%2E", "%252e", ";", "%3b", ";a=b", "#", "%23", "%3f", "%00", "%", "%zz", "%u002e", "%c0%ae", "%09", "%0d%0a", "%20",
    "API", "api", "%41PI", "filer", "filer/", "console", "terminals", "container", "~", "@", ":", "http://x", "a",
  ];
  test("is read alike by HTTP/1.1 and HTTP/2, and by every server behind us, whatever it is made of", async () => {
    await fc.assert(fc.asyncProperty(fc.array(fc.constantFrom(...PIECES), { maxLength: 8 }), async (pieces) => {
      const path = `/${pieces.join("")}`;
      const { one, two } = await arrivals(path);
      expect(two).toBe(one);
      // Not to a desktop, for which there was no token.
      expect(router.filer.requests).toEqual([]);
      if (one === null) return;
      const [service = "", , target = ""] = one.split(" ");
      expect([path, target, climbs(target)]).toEqual([path, target, false]);
      if (service === "pyos") expect(target).toMatch(/^\/API(?:\/|$)/);
    }), { numRuns: 1500 });
  }, 60_000);

  test("does so with its token as well, below its own route and nowhere else", async () => {
    await fc.assert(fc.asyncProperty(fc.array(fc.constantFrom(...PIECES), { maxLength: 6 }), async (pieces) => {
      router.reset();
      await converse(router.port, head("GET", `/filer/${pieces.join("")}`, [router.bearer()]));
      for (const { target } of router.filer.requests) {
        expect(target).toMatch(/^\/filer(?:\/|$)/);
        expect([target, climbs(target)]).toEqual([target, false]);
      }
    }), { numRuns: 500 });
  }, 60_000);

  test("may ask anything: a query is not read, and arrives as it came", async () => {
    for (const query of ["../..", "..%2f", "%00", "\\..\\", ";", "/%2e%2e/", "a=//b&c=%0d%0a", "?", "%", "http://x/../y", "[]", "{}", "|", "^", "`"]) {
      router.reset();
      await ask(router.port, head("GET", `/API/x?${query}`));
      expect(router.targets).toEqual([`pyos GET /API/x?${query}`]);
    }
  });
});

describe.skipIf(!HAS_OPENSSL)("a target that names a place of its own", () => {
  test.each([
    "http://127.0.0.1:1/API/x", "https://evil.test/API/x", "HTTP://EVIL.TEST/API/x", "http://user:pw@evil.test/API/x", "http://evil.test:99999/API/x", "http://[::1/API/x", "http:///API/x",
    "http://evil.test\\@localhost/API/x", "ws://evil.test/API/x", "ftp://evil.test/API/x", "file:///API/x", "javascript:/API/x", "http:/API/x", "//evil.test/API/x", "/\\evil.test/API/x", "evil.test:443",
    "@evil.test/API/x", ":80/API/x", ".evil.test/API/x",
  ])("%s never decides whom we connect to or what Host we say", async (target) => {
    const { answers } = await converse(router.port, head("GET", target, ["Host: localhost:8080"]));
    expect([target, router.faults]).toEqual([target, []]);
    for (const request of router.arrived) {
      expect([target, valuesOf(request, "x-forwarded-host")]).toEqual([target, ["localhost:8080"]]);
      expect([target, request.target.startsWith("/")]).toEqual([target, true]);
      expect([target, valuesOf(request, "host")[0]?.includes("evil")]).toEqual([target, false]);
    }
    if (router.arrived.length === 0) expect([target, answers[0]?.status]).toEqual([target, 400]);
  });
});

describe.skipIf(!HAS_OPENSSL)("a redirect to https", () => {
  const location = async (lines: readonly string[], target = "/API/x"): Promise<string | null> => {
    const { answers } = await converse(router.port, head("GET", target, lines));
    return answers[0]?.one("location") ?? null;
  };

  test.each([
    ["evil.test"], ["desk.test.evil.test"], ["evil.test#desk.test"], ["desk.test@evil.test"], ["desk.test:80@evil.test"], ["desk.test/..//evil.test"], ["desk.test,evil.test"], ["desk.test evil.test"],
    ["desk.test%0d%0aLocation:evil.test"], ["desk.test\\evil.test"], ["desk.test?evil.test"], [".desk.test"], ["desk..test"], ["[desk.test]"],
  ])("is not for the host %s, which is none of ours", async (host) => {
    expect(await location([`Host: ${host}`])).toBeNull();
  });

  test.each([
    ["/API/x"], ["//evil.test/x"], ["/\\evil.test/x"], ["/%0d%0aLocation:%20https://evil.test/"], ["/@evil.test"], ["/.evil.test"], ["/x?u=//evil.test"], ["http://evil.test/x"], ["/;@evil.test/"], ["/x#//evil.test"],
  ])("leads %s to the same host", async (target) => {
    const to = await location(["Host: desk.test"], target);
    if (to !== null) expect([target, new URL(to).protocol, new URL(to).hostname]).toEqual([target, "https:", "desk.test"]);
    expect(router.arrived).toEqual([]);
  });

  test("does not believe a stranger that it is https already, or who the host is", async () => {
    const to = await location(["Host: desk.test", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.test", "Forwarded: host=evil.test;proto=https", "X-Forwarded-Port: 1", "X-Original-URL: /evil", "X-Rewrite-URL: /evil"]);
    expect(new URL(to ?? "").host).toBe(`desk.test:${router.router.port}`);
    expect(new URL(to ?? "").pathname).toBe("/API/x");
  });
});

describe.skipIf(!HAS_OPENSSL)("a Location of a service", () => {
  test.each([
    ["//evil.test/", "//evil.test/"], ["/\\evil.test", "/\\evil.test"], ["OWN//evil.test/", "/evil.test/"], ["OWN/\\evil.test", "/evil.test"], ["OWN/x\\..\\y", "/x\\..\\y"], ["OWN/ok?a=b#c", "/ok?a=b#c"],
  ])("%s is the service's own word, or stays with us", async (given, expected) => {
    router.pyos.answer = (_request, connection) => connection.write(`HTTP/1.1 302 Found\r\nLocation: ${given.replace("OWN", router.pyos.url)}\r\nContent-Length: 0\r\n\r\n`);
    expect((await ask(router.port, head("GET", "/API/x"))).one("location")).toBe(expected);
  });
});

describe.skipIf(!HAS_OPENSSL)("request targets that are long", () => {
  test.each([8192, 16_384 - 5, 16_384 - 4, 36 * 1024, 60 * 1024])("%d bytes arrive whole or get 414, and the connection goes on", async (bytes) => {
    const { answers, isClosed } = await inTurn(router.port, [head("GET", `/API/${"x".repeat(bytes)}`), head("GET", "/API/next")]);
    if (answers[0]?.status === 200) expect(router.arrived[0]?.target.length).toBe(bytes + 5);
    else expect([answers[0]?.status, router.targets.filter((target) => !target.endsWith("/next"))]).toEqual([414, []]);
    expect(isClosed || answers[1]?.body === "pyos GET /API/next").toBe(true);
  });

  test.each([16_384 - 5, 16_384 - 4, 36 * 1024])("of %d bytes are treated alike over HTTP/2", async (bytes) => {
    const path = `/API/${"x".repeat(bytes)}`;
    const { answers } = await converse(router.port, head("GET", path));
    expect((await h2.ended(h2.get(path))).status).toBe(answers[0]?.status as number);
  });
});
