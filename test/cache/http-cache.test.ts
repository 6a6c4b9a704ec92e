// What a client sees of the cache, over an origin that is a function and a clock that stands still.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { CacheRig, request, type Script } from "../support/cache-origin.ts";

let rig: CacheRig;
beforeEach(() => { rig = new CacheRig(); });
afterEach(() => rig.close());

const fresh: Script = { headers: { "cache-control": "max-age=60", etag: '"a"' } };
const lm = "Wed, 01 Jan 2020 00:00:00 GMT";

describe("a stored answer", () => {
  test("answers without the origin, and at once", async () => {
    rig.next = fresh;
    expect((await rig.get()).cacheStatus).toBe("route-gateway; fwd=uri-miss; stored");
    const hit = rig.cache.answer(request(), rig.origin);
    expect(hit).not.toBeInstanceOf(Promise);
    const got = await rig.get();
    expect([got.cacheStatus, await got.text(), got.field("etag")]).toEqual(["route-gateway; hit; ttl=60", "hello", '"a"']);
    expect(rig.fetches).toBe(1);
  });

  // RFC 9111 section 5.1.
  test("has an Age that grows, and the Date that it came with", async () => {
    rig.next = { headers: { "cache-control": "max-age=60", age: "10" } };
    const first = await rig.get();
    rig.pass(5);
    const later = await rig.get();
    expect([later.field("age"), later.field("date"), later.cacheStatus]).toEqual(["15", first.field("date"), "route-gateway; hit; ttl=45"]);
  });

  test("is the same object for all hits within a second, and another one afterwards", async () => {
    rig.next = fresh;
    await rig.get();
    const answer = () => rig.cache.answer(request(), rig.origin);
    const first = answer();
    rig.pass(0.999);
    expect(answer()).toBe(first);
    rig.pass(0.001);
    expect(answer()).not.toBe(first);
  });

  test("is not used a millisecond after its time", async () => {
    rig.next = { headers: { "cache-control": "max-age=60" } };
    await rig.get();
    rig.pass(59.999);
    expect((await rig.get()).isHit).toBe(true);
    rig.pass(0.001);
    expect((await rig.get()).cacheStatus).toBe("route-gateway; fwd=stale; stored");
  });

  // RFC 9110 section 9.3.2.
  test("answers HEAD without its body and with its length", async () => {
    rig.next = fresh;
    await rig.get();
    const got = await rig.get("/", {}, { method: "HEAD" });
    expect([got.isHit, got.response.body, got.response.contentLength]).toEqual([true, null, 5]);
  });

  test("keeps status and fields, lines of one name apart", async () => {
    rig.next = { status: 404, headers: { "cache-control": "max-age=60", link: ["<a>", "<b>"] }, text: "gone" };
    await rig.get();
    const got = await rig.get();
    expect([got.isHit, got.status, await got.text()]).toEqual([true, 404, "gone"]);
    expect(got.response.headers.filter(([name]) => name === "link")).toHaveLength(2);
  });

  test("may have no body at all", async () => {
    rig.next = { status: 204, headers: { "cache-control": "max-age=60" }, body: null };
    await rig.get();
    const got = await rig.get();
    expect([got.isHit, got.status, got.response.body, got.response.contentLength]).toEqual([true, 204, null, null]);
  });

  // RFC 9111 section 3.1.
  test("has none of the fields that belong to one hop or one client", async () => {
    rig.next = { headers: { "cache-control": 'max-age=60, private="x-user", no-cache="x-turn"', "x-user": "anna", "x-turn": "1", connection: "x", "keep-alive": "x", "proxy-authenticate": "x", te: "x", upgrade: "x" } };
    expect((await rig.get()).field("x-user")).toBe("anna");
    const got = await rig.get();
    expect(["x-user", "x-turn", "connection", "keep-alive", "proxy-authenticate", "te", "upgrade"].map((name) => got.field(name))).toEqual(Array(7).fill(null));
  });

  // RFC 9110 section 6.6.1.
  for (const date of [undefined, "foo"]) {
    test(`has a Date of when it came, where it had ${date ?? "none"}`, async () => {
      const came = new Date(rig.nowMs).toUTCString();
      rig.next = { headers: { "cache-control": "max-age=60", date } };
      await rig.get();
      rig.pass(5);
      expect([(await rig.get()).field("date"), (await rig.get()).field("age")]).toEqual([came, "5"]);
    });
  }

  // RFC 9211 section 2.
  test("names the caches nearer to the origin first", async () => {
    rig.next = { headers: { "cache-control": "max-age=60", "cache-status": "inner; hit" } };
    expect((await rig.get()).field("cache-status")).toBe("inner; hit, route-gateway; fwd=uri-miss; stored");
    expect((await rig.get()).field("cache-status")).toBe("inner; hit, route-gateway; hit; ttl=60");
  });

  test("does not change with the buffer that it came in", async () => {
    const buffer = new Uint8Array(1000).fill(65);
    rig.next = { ...fresh, body: buffer.subarray(10, 20) };
    await rig.get();
    buffer.fill(66);
    expect(await (await rig.get()).text()).toBe("A".repeat(10));
  });
});

describe("the key", () => {
  // Threat 28.
  const OTHERS = [
    ["another host", "/", {}, { host: "b.example" }], ["another port", "/", {}, { host: "a.example:8443" }], ["another scheme", "/", {}, { scheme: "http" as const }],
    ["another service", "/", {}, { scope: "other" }], ["another path", "/x", {}, {}], ["another query", "/?a", {}, {}],
  ] as const;
  for (const [what, target, headers, rest] of OTHERS) {
    test(`tells ${what} apart`, async () => {
      rig.next = fresh;
      await rig.get();
      expect((await rig.get(target, headers, rest)).isHit).toBe(false);
    });
  }

  test("does not mind what a client says about itself", async () => {
    rig.next = fresh;
    await rig.get("/", { "x-forwarded-host": "evil.example", "x-forwarded-proto": "http", cookie: "a=b", "user-agent": "x" });
    const got = await rig.get();
    expect([got.isHit, rig.fetches]).toEqual([true, 1]);
  });

  for (const name of ["x-http-method-override", "x-original-url", "x-rewrite-url", "x-forwarded-scheme"]) {
    test(`what is answered to ${name} is nobody else's`, async () => {
      rig.next = { ...fresh, text: "poison" };
      expect((await rig.get("/", { [name]: "POST" })).cacheStatus).toBe("route-gateway; fwd=uri-miss; detail=override");
      rig.next = fresh;
      expect(await (await rig.get()).text()).toBe("hello");
    });
  }
});

describe("what is not stored", () => {
  const NEVER: ReadonlyArray<readonly [what: string, script: Script, request: Record<string, string>, detail: string]> = [
    ["no-store", { headers: { "cache-control": "no-store" } }, {}, "not-storable"],
    ["private", { headers: { "cache-control": "private, max-age=60" } }, {}, "not-storable"],
    ["an answer to Authorization", { headers: { "cache-control": "max-age=60" } }, { authorization: "Basic x" }, "not-storable"],
    ["a cookie", { headers: { "cache-control": "max-age=60", "set-cookie": "a=b" } }, {}, "set-cookie"],
    ["what depends on everything", { headers: { "cache-control": "max-age=60", vary: "*" } }, {}, "vary"],
    ["what says nothing", {}, {}, "no-freshness"],
  ];
  for (const [what, script, headers, detail] of NEVER) {
    test(`${what}: each asks for itself`, async () => {
      rig.next = script;
      for (let time = 0; time < 3; time += 1) expect((await rig.get("/", headers)).cacheStatus).toBe(`route-gateway; fwd=uri-miss; detail=${detail}`);
      expect([rig.fetches, rig.cache.stats().entries]).toEqual([3, 0]);
    });
  }

  test("what is larger than allowed passes, complete", async () => {
    rig.next = { ...fresh, body: Buffer.alloc(1024 * 1024 + 1, 65) };
    const got = await rig.get();
    expect([got.cacheStatus, (await got.text()).length, rig.cache.stats().entries]).toEqual(["route-gateway; fwd=uri-miss; detail=too-large", 1024 * 1024 + 1, 0]);
  });

  test("the answer to a request with no-store", async () => {
    rig.next = fresh;
    expect((await rig.get("/", { "cache-control": "no-store" })).cacheStatus).toBe("route-gateway; fwd=request; detail=no-store");
    expect(rig.cache.stats().entries).toBe(0);
  });

  test("after a new answer that must not be stored the old one is gone", async () => {
    rig.next = { headers: { "cache-control": "max-age=1", etag: '"a"' } };
    await rig.get();
    rig.pass(2);
    rig.next = { headers: { "cache-control": "no-store" } };
    await rig.get();
    expect(rig.cache.stats().entries).toBe(0);
  });

  test("an answer to an authorized request that is for all is shared with all", async () => {
    rig.next = { headers: { "cache-control": "public, max-age=60" } };
    await rig.get("/", { authorization: "Basic x" });
    expect((await rig.get()).isHit).toBe(true);
  });

  test("a request that cannot be conditional on us passes with its conditions", async () => {
    rig.next = fresh;
    await rig.get();
    const got = await rig.get("/", { "if-match": '"a"' });
    expect([got.cacheStatus, rig.asked[1]?.conditions]).toEqual(["route-gateway; fwd=bypass; detail=precondition", { "if-match": '"a"' }]);
  });

  test("other methods pass", async () => {
    rig.next = fresh;
    await rig.get();
    expect((await rig.get("/", {}, { method: "POST" })).cacheStatus).toBe("route-gateway; fwd=method");
  });

  test("a body that is shorter than announced is an error, and not stored", async () => {
    rig.next = { ...fresh, contentLength: 6 };
    await expect(rig.get()).rejects.toThrow("cut");
    expect(rig.cache.stats().entries).toBe(0);
  });
});

describe("Vary", () => {
  // RFC 9111 section 4.1.
  test("keeps an answer for each value, and gives each its own", async () => {
    for (const language of ["en", "de"]) {
      rig.next = { headers: { "cache-control": "max-age=60", vary: "Accept-Language" }, text: language };
      await rig.get("/", { "accept-language": language });
    }
    for (const language of ["en", "de"]) expect(await (await rig.get("/", { "accept-language": language })).text()).toBe(language);
    expect((await rig.get("/", { "accept-language": "fr" })).cacheStatus).toBe("route-gateway; fwd=vary-miss; stored");
    expect((await rig.get("/")).cacheStatus).toBe("route-gateway; fwd=vary-miss; stored");
  });

  test("a field that is absent is not an empty one", async () => {
    rig.next = { headers: { "cache-control": "max-age=60", vary: "x" } };
    await rig.get("/", { x: "" });
    expect((await rig.get("/")).isHit).toBe(false);
  });

  test("the fields of the newest answer count", async () => {
    rig.next = { headers: { "cache-control": "max-age=60" } };
    await rig.get();
    rig.pass(60);
    rig.next = { headers: { "cache-control": "max-age=60", vary: "x" } };
    await rig.get("/", { x: "1" });
    expect([(await rig.get("/", { x: "1" })).isHit, (await rig.get("/", { x: "2" })).isHit]).toEqual([true, false]);
  });

  test("holds no more than 32 variants of one URL", async () => {
    rig.next = { headers: { "cache-control": "max-age=60", vary: "x" } };
    for (let at = 0; at < 100; at += 1) await rig.get("/", { x: String(at) });
    expect(rig.cache.stats().entries).toBe(32);
    expect([(await rig.get("/", { x: "99" })).isHit, (await rig.get("/", { x: "0" })).isHit]).toEqual([true, false]);
  });
});

describe("a client's copy", () => {
  beforeEach(async () => {
    rig.next = { headers: { "cache-control": "max-age=60", etag: '"a"', "last-modified": lm, "content-type": "text/html", "content-location": "/x" } };
    await rig.get();
  });

  // RFC 9110 sections 13.1.2, 13.1.3 and 13.2.2.
  const TABLE: ReadonlyArray<readonly [headers: Record<string, string>, status: number]> = [
    [{ "if-none-match": '"a"' }, 304], [{ "if-none-match": 'W/"a"' }, 304], [{ "if-none-match": '"b", "a"' }, 304], [{ "if-none-match": "*" }, 304],
    [{ "if-none-match": '"b"' }, 200], [{ "if-none-match": '"b", W/"c"' }, 200], [{ "if-none-match": "" }, 200],
    [{ "if-none-match": '"b"', "if-modified-since": lm }, 200], [{ "if-none-match": '"a"', "if-modified-since": "Tue, 01 Jan 2019 00:00:00 GMT" }, 304],
    [{ "if-modified-since": lm }, 304], [{ "if-modified-since": "Thu, 02 Jan 2020 00:00:00 GMT" }, 304], [{ "if-modified-since": "Tue, 31 Dec 2019 23:59:59 GMT" }, 200],
    [{ "if-modified-since": "Wednesday, 01-Jan-20 00:00:00 GMT" }, 304], [{ "if-modified-since": "nonsense" }, 200],
  ];
  for (const [headers, status] of TABLE) {
    test(`asked for with ${JSON.stringify(headers)} is answered ${status}`, async () => {
      const got = await rig.get("/", headers);
      expect([got.status, got.isHit, rig.fetches]).toEqual([status, true, 1]);
    });
  }

  // RFC 9110 section 13.2.1.
  test("of what is not there is not confirmed", async () => {
    rig.next = { status: 404, headers: { "cache-control": "max-age=60", etag: '"a"' } };
    await rig.get("/gone");
    expect((await rig.get("/gone", { "if-none-match": '"a"' })).status).toBe(404);
  });

  // RFC 9110 section 15.4.5.
  test("is confirmed with the fields that may have changed, and none about the body", async () => {
    const got = await rig.get("/", { "if-none-match": '"a"' });
    expect(["etag", "cache-control", "date", "content-location"].map((name) => got.field(name) !== null)).toEqual([true, true, true, true]);
    expect(["content-type", "last-modified", "content-length"].map((name) => got.field(name))).toEqual([null, null, null]);
    expect(got.response.body).toBeNull();
  });

  test("HEAD gets a 304 as well", async () => {
    expect((await rig.get("/", { "if-none-match": '"a"' }, { method: "HEAD" })).status).toBe(304);
  });
});

describe("validation", () => {
  beforeEach(async () => {
    rig.next = { headers: { "cache-control": "max-age=10", etag: '"a"', "last-modified": lm, "content-encoding": "x", "x-old": "1", "x-both": "1" } };
    await rig.get();
    rig.pass(11);
  });

  // RFC 9111 sections 4.3.1 and 4.3.4.
  test("asks with both validators, and keeps the body with the new fields", async () => {
    rig.next = { status: 304, headers: { "cache-control": "max-age=20", etag: '"a"', "x-both": "2", "x-new": "2", "content-encoding": "y" } };
    const got = await rig.get();
    expect(rig.asked[1]?.conditions).toEqual({ "if-none-match": '"a"', "if-modified-since": lm });
    expect([got.status, got.cacheStatus, await got.text()]).toEqual([200, "route-gateway; fwd=stale; fwd-status=304; stored", "hello"]);
    const hit = await rig.get();
    expect([hit.isHit, hit.field("x-old"), hit.field("x-both"), hit.field("x-new"), hit.field("content-encoding"), hit.field("age")]).toEqual([true, "1", "2", "2", "x", "0"]);
    rig.pass(20);
    expect((await rig.get()).isHit).toBe(false);
  });

  test("answers the client's own condition afterwards", async () => {
    rig.next = { status: 304 };
    const got = await rig.get("/", { "if-none-match": '"a"' });
    expect([got.status, rig.asked[1]?.conditions["if-none-match"]]).toEqual([304, '"a"']);
    expect((await rig.get("/", { "if-none-match": '"b"' })).status).toBe(200);
  });

  test("a 304 without a Date is from now", async () => {
    rig.next = { status: 304, headers: { date: undefined, "cache-control": "max-age=10" } };
    await rig.get();
    const hit = await rig.get();
    expect([hit.field("age"), hit.field("date")]).toEqual(["0", new Date(rig.nowMs).toUTCString()]);
  });

  test("a whole answer takes the place of the old one", async () => {
    rig.next = { headers: { "cache-control": "max-age=10" }, text: "new" };
    expect(await (await rig.get()).text()).toBe("new");
    expect(await (await rig.get()).text()).toBe("new");
    expect(rig.cache.stats().entries).toBe(1);
  });

  // RFC 9111 section 4.3.4: it must not be used to update.
  test("a 304 about another answer is not believed", async () => {
    rig.next = ({ conditions }) => conditions["if-none-match"] === undefined ? { headers: { "cache-control": "max-age=10", etag: '"b"' }, text: "b" } : { status: 304, headers: { etag: '"b"' } };
    expect(await (await rig.get()).text()).toBe("b");
    expect(rig.fetches).toBe(3);
  });

  test("a 304 that forbids storing ends the storing", async () => {
    rig.next = { status: 304, headers: { "cache-control": "no-store" } };
    expect(await (await rig.get()).text()).toBe("hello");
    expect(rig.cache.stats().entries).toBe(0);
  });

  test("a 304 with somebody's cookie is for them alone", async () => {
    rig.next = { status: 304, headers: { "set-cookie": "a=b" } };
    expect((await rig.get()).field("set-cookie")).toBe("a=b");
    rig.next = { status: 304 };
    const next = await rig.get();
    expect([next.status, next.field("set-cookie"), await next.text()]).toEqual([200, null, "hello"]);
  });

  test("says nothing of the way that the answer before came", async () => {
    rig.next = { headers: { "cache-control": "max-age=1", etag: '"a"', "cache-status": "inner; hit" } };
    await rig.get("/w");
    rig.pass(2);
    rig.next = { status: 304, headers: { "cache-control": "max-age=10" } };
    await rig.get("/w");
    expect((await rig.get("/w")).field("cache-status")).toBe("route-gateway; hit; ttl=10");
  });

  test("is tried again after an error, which is none about the old answer", async () => {
    rig.next = { status: 503 };
    expect((await rig.get()).status).toBe(503);
    rig.pass(11);
    rig.next = { status: 304 };
    expect([(await rig.get()).status, rig.asked[2]?.conditions["if-none-match"]]).toEqual([200, '"a"']);
  });

  test("happens each time where no-cache says so", async () => {
    rig.next = { headers: { "cache-control": "no-cache, max-age=100", etag: '"a"' } };
    await rig.get("/n");
    rig.next = { status: 304 };
    for (let time = 0; time < 2; time += 1) expect((await rig.get("/n")).cacheStatus).toContain("fwd=stale; fwd-status=304");
  });

  test("happens when the client wants it, and is shown to be its wish", async () => {
    rig.next = { status: 304, headers: { "cache-control": "max-age=100" } };
    await rig.get();
    for (const value of ["no-cache", "max-age=0"]) expect((await rig.get("/", { "cache-control": value })).cacheStatus).toContain("fwd=request; fwd-status=304");
  });
});

describe("a stale answer", () => {
  async function stored(directives: string): Promise<void> {
    rig.next = { headers: { "cache-control": directives, etag: '"a"' }, text: "old" };
    await rig.get();
    rig.pass(15);
  }

  // RFC 9111 section 4.2.4.
  test("is not used, whatever fails", async () => {
    await stored("max-age=10");
    rig.next = () => { throw new Error("refused"); };
    await expect(rig.get()).rejects.toThrow("refused");
    rig.next = { status: 503 };
    expect((await rig.get()).status).toBe(503);
  });

  // RFC 5861 section 4.
  for (const status of [500, 502, 503, 504]) {
    test(`stands in for ${status} where stale-if-error allows it`, async () => {
      await stored("max-age=10, stale-if-error=10");
      rig.next = { status };
      const got = await rig.get();
      expect([got.status, await got.text(), got.cacheStatus]).toEqual([200, "old", `route-gateway; fwd=stale; fwd-status=${status}; detail=stale-if-error`]);
      rig.pass(5);
      expect((await rig.get()).status).toBe(status);
    });
  }

  test("stands in for an upstream that cannot be reached", async () => {
    await stored("max-age=10, stale-if-error=10");
    rig.next = () => { throw new Error("refused"); };
    expect((await rig.get()).cacheStatus).toBe("route-gateway; fwd=stale; detail=stale-if-error");
  });

  test("does not stand in for what is no failure of the upstream", async () => {
    await stored("max-age=10, stale-if-error=10");
    rig.next = { status: 404 };
    expect((await rig.get()).status).toBe(404);
  });

  for (const directive of ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=10"]) {
    test(`does not stand in for anything with ${directive}`, async () => {
      await stored(`max-age=10, stale-if-error=100, stale-while-revalidate=100, ${directive}`);
      rig.next = { status: 503 };
      expect((await rig.get("/", { "cache-control": "max-stale" })).status).toBe(503);
    });
  }

  // RFC 5861 section 3.
  test("is used while it is fetched anew, once for all", async () => {
    await stored("max-age=10, stale-while-revalidate=10");
    const gate = Promise.withResolvers<void>();
    rig.next = async () => { await gate.promise; return { status: 304, headers: { "cache-control": "max-age=10" } }; };
    const got = await Promise.all([rig.get(), rig.get(), rig.get()]);
    expect(got.map(({ cacheStatus }) => cacheStatus)).toEqual(Array(3).fill("route-gateway; hit; ttl=-5; detail=stale-while-revalidate"));
    expect(rig.asked.slice(1)).toEqual([{ conditions: { "if-none-match": '"a"' }, isBackground: true }]);
    gate.resolve();
    await Bun.sleep(0);
    expect((await rig.get()).cacheStatus).toBe("route-gateway; hit; ttl=10");
  });

  test("is fetched anew by one only, however long that takes", async () => {
    await stored("max-age=10, stale-while-revalidate=10");
    const gate = Promise.withResolvers<Script>();
    rig.next = () => gate.promise;
    await rig.get();
    rig.pass(3);
    await rig.get();
    expect(rig.fetches).toBe(2);
    gate.resolve({ status: 304 });
  });

  test("stays when fetching it anew fails, which is not tried at once again", async () => {
    await stored("max-age=10, stale-while-revalidate=10");
    rig.next = { status: 500 };
    for (let time = 0; time < 5; time += 1) {
      expect((await rig.get()).isHit).toBe(true);
      await Bun.sleep(0);
    }
    expect(rig.fetches).toBe(2);
    rig.pass(1);
    await rig.get();
    expect(rig.fetches).toBe(3);
    rig.pass(5);
    expect((await rig.get()).status).toBe(500);
  });

  // RFC 9111 section 5.2.1.2.
  test("is used when the client takes it", async () => {
    await stored("max-age=10");
    expect((await rig.get("/", { "cache-control": "max-stale=5" })).cacheStatus).toBe("route-gateway; hit; ttl=-5; detail=max-stale");
    expect(rig.fetches).toBe(1);
  });
});

describe("only-if-cached", () => {
  // RFC 9111 section 5.2.1.7.
  test("is answered from the store, or 504", async () => {
    rig.next = fresh;
    expect((await rig.get("/", { "cache-control": "only-if-cached" })).status).toBe(504);
    expect(rig.fetches).toBe(0);
    await rig.get();
    expect((await rig.get("/", { "cache-control": "only-if-cached" })).isHit).toBe(true);
  });
});

describe("HEAD", () => {
  test("of what is not stored is passed, and stores nothing", async () => {
    rig.next = { ...fresh, body: null, contentLength: 5 };
    const got = await rig.get("/", { "if-none-match": '"z"' }, { method: "HEAD" });
    expect([got.cacheStatus, got.response.contentLength, rig.asked[0]?.conditions]).toEqual(["route-gateway; fwd=uri-miss", 5, { "if-none-match": '"z"' }]);
    expect(rig.cache.stats().entries).toBe(0);
  });

  // RFC 9111 section 4.3.5.
  test("updates what is stored when it fits", async () => {
    rig.next = { headers: { "cache-control": "max-age=1", etag: '"a"', "x-a": "1" } };
    await rig.get();
    rig.pass(2);
    rig.next = { headers: { "cache-control": "max-age=60", etag: '"a"', "x-a": "2" }, body: null, contentLength: 5 };
    await rig.get("/", {}, { method: "HEAD" });
    const got = await rig.get();
    expect([got.isHit, got.field("x-a"), await got.text()]).toEqual([true, "2", "hello"]);
  });

  for (const [what, script] of [["another length", { headers: { "cache-control": "max-age=60" }, contentLength: 6 }], ["another tag", { headers: { "cache-control": "max-age=60", etag: '"b"' }, contentLength: 5 }]] as const) {
    test(`with ${what} ends what is stored`, async () => {
      rig.next = { headers: { "cache-control": "max-age=1", etag: '"a"' } };
      await rig.get();
      rig.pass(2);
      rig.next = { ...script, body: null };
      await rig.get("/", {}, { method: "HEAD" });
      expect(rig.cache.stats().entries).toBe(0);
    });
  }
});

describe("a range", () => {
  const content = "0123456789";
  beforeEach(async () => {
    rig.next = { headers: { "cache-control": "max-age=60", etag: '"a"', "last-modified": lm }, text: content };
    await rig.get();
  });

  // RFC 9110 sections 14.1.2, 14.2 and 13.1.5.
  const TABLE: ReadonlyArray<readonly [range: string, ifRange: string | null, status: number, text: string, contentRange: string | null]> = [
    ["bytes=0-1", null, 206, "01", "bytes 0-1/10"], ["bytes=8-", null, 206, "89", "bytes 8-9/10"], ["bytes=-3", null, 206, "789", "bytes 7-9/10"],
    ["bytes=0-0", null, 206, "0", "bytes 0-0/10"], ["bytes=5-100", null, 206, "56789", "bytes 5-9/10"], ["bytes=-100", null, 206, content, "bytes 0-9/10"],
    ["Bytes=0-1", null, 206, "01", "bytes 0-1/10"],
    ["bytes=10-", null, 416, "", "bytes */10"], ["bytes=10-20", null, 416, "", "bytes */10"], ["bytes=-0", null, 416, "", "bytes */10"],
    ["bytes=99999999999999999999-", null, 416, "", "bytes */10"],
    ["bytes=5-4", null, 200, content, null], ["bytes=0-1,3-4", null, 200, content, null], ["bytes=a-b", null, 200, content, null], ["bytes=-", null, 200, content, null],
    ["lines=0-1", null, 200, content, null], ["bytes", null, 200, content, null], ["", null, 200, content, null],
    ["bytes=0-1", '"a"', 206, "01", "bytes 0-1/10"], ["bytes=0-1", '"b"', 200, content, null], ["bytes=0-1", 'W/"a"', 200, content, null],
    ["bytes=0-1", lm, 206, "01", "bytes 0-1/10"], ["bytes=0-1", "Thu, 02 Jan 2020 00:00:00 GMT", 200, content, null],
  ];
  for (const [range, ifRange, status, text, contentRange] of TABLE) {
    test(`"${range}"${ifRange === null ? "" : ` if ${ifRange}`} is answered ${status}`, async () => {
      const got = await rig.get("/", { range, ...(ifRange === null ? {} : { "if-range": ifRange }) });
      expect([got.status, await got.text(), got.field("content-range"), rig.fetches]).toEqual([status, text, contentRange, 1]);
      expect(got.response.contentLength).toBe(text.length);
    });
  }

  test("comes after the client's copy: that is confirmed", async () => {
    expect((await rig.get("/", { range: "bytes=0-1", "if-none-match": '"a"' })).status).toBe(304);
  });

  test("is not for HEAD", async () => {
    expect((await rig.get("/", { range: "bytes=0-1" }, { method: "HEAD" })).status).toBe(200);
  });

  test("of what is not stored is the origin's, and is not stored", async () => {
    rig.next = { status: 206, headers: { "cache-control": "max-age=60", "content-range": "bytes 0-1/10" }, text: "01" };
    const got = await rig.get("/new", { range: "bytes=0-1", "if-range": '"a"' });
    expect([got.status, got.cacheStatus, rig.asked[1]?.conditions]).toEqual([206, "route-gateway; fwd=uri-miss; detail=range", { range: "bytes=0-1", "if-range": '"a"' }]);
    expect(rig.cache.stats().entries).toBe(1);
  });

  test("of what is stale is given when the whole was validated", async () => {
    rig.pass(61);
    rig.next = { status: 304 };
    const got = await rig.get("/", { range: "bytes=0-1" });
    expect([got.status, await got.text(), rig.asked[1]?.conditions["range"]]).toEqual([206, "01", undefined]);
  });

  test("of what was last changed in the second of its answer needs its tag", async () => {
    const now = new Date(rig.nowMs).toUTCString();
    rig.next = { headers: { "cache-control": "max-age=60", "last-modified": now }, text: content };
    await rig.get("/now");
    expect((await rig.get("/now", { range: "bytes=0-1", "if-range": now })).status).toBe(200);
  });
});

describe("invalidation", () => {
  beforeEach(async () => {
    rig.next = fresh;
    for (const target of ["/a", "/b", "/c"]) await rig.get(target);
  });

  // RFC 9111 section 4.4.
  const TABLE: ReadonlyArray<readonly [method: string, status: number, headers: Array<[string, string]>, gone: string[]]> = [
    ["POST", 200, [], ["/a"]], ["PUT", 204, [], ["/a"]], ["DELETE", 303, [], ["/a"]], ["M-SEARCH", 200, [], ["/a"]],
    ["POST", 400, [], []], ["POST", 500, [], []], ["GET", 200, [], []], ["OPTIONS", 200, [], []], ["PROPFIND", 207, [], []],
    ["POST", 201, [["location", "/b"]], ["/a", "/b"]], ["POST", 201, [["location", "b"], ["content-location", "https://a.example/c"]], ["/a", "/b", "/c"]],
    ["POST", 201, [["location", "https://b.example/b"]], ["/a"]], ["POST", 201, [["location", "http://a.example/b"]], ["/a"]], ["POST", 201, [["location", "http://["]], ["/a"]],
  ];
  for (const [method, status, headers, gone] of TABLE) {
    test(`after ${method} with ${status} ${JSON.stringify(headers)}: ${gone.join(" ") || "nothing"}`, async () => {
      rig.cache.invalidate(request("/a", {}, { method }), status, headers);
      for (const target of ["/a", "/b", "/c"]) expect([target, (await rig.get(target)).isHit]).toEqual([target, !gone.includes(target)]);
    });
  }

  test("reaches all variants, and what other services answer at that URL", async () => {
    rig.next = { headers: { "cache-control": "max-age=60", vary: "x" } };
    for (const x of ["1", "2"]) await rig.get("/v", { x });
    await rig.get("/v", {}, { scope: "other" });
    rig.cache.invalidate(request("/v", {}, { method: "POST", scope: "third" }), 200, []);
    expect(rig.cache.stats().entries).toBe(3);
  });

  test("of what is on its way keeps it from being stored", async () => {
    const gate = Promise.withResolvers<void>();
    rig.next = async () => { await gate.promise; return { ...fresh, text: "from before" }; };
    const before = rig.get("/d");
    rig.cache.invalidate(request("/d", {}, { method: "POST" }), 200, []);
    rig.next = { ...fresh, text: "from after" };
    expect(await (await rig.get("/d")).text()).toBe("from after");
    gate.resolve();
    expect(await (await before).text()).toBe("from before");
    expect(await (await rig.get("/d")).text()).toBe("from after");
  });
});

describe("purge", () => {
  beforeEach(async () => {
    rig.next = fresh;
    for (const target of ["/a/1", "/a/2", "/b?q=1"]) for (const host of ["a.example", "a.example.evil"]) await rig.get(target, {}, { host });
  });

  const TABLE = [
    [{}, 6], [{ host: "a.example" }, 3], [{ host: "A.Example" }, 3], [{ host: "c.example" }, 0],
    [{ url: "https://a.example/a/1" }, 1], [{ url: "https://a.example/b?q=1" }, 1], [{ url: "https://a.example/b" }, 0], [{ url: "http://a.example/a/1" }, 0],
    [{ prefix: "https://a.example/a/" }, 2], [{ prefix: "https://a.example" }, 3], [{ prefix: "/a/" }, 4], [{ prefix: "/a/", host: "a.example" }, 2], [{ prefix: "/b" }, 2],
  ] as const;
  for (const [selector, count] of TABLE) {
    test(`${JSON.stringify(selector)} removes ${count}`, () => {
      expect(rig.cache.purge(selector)).toBe(count);
      expect(rig.cache.stats().entries).toBe(6 - count);
    });
  }
});

test("counts what it does", async () => {
  rig.next = { headers: { "cache-control": "max-age=10, stale-if-error=10", etag: '"a"' } };
  await rig.get();
  await rig.get();
  rig.pass(11);
  rig.next = { status: 304, headers: { "cache-control": "max-age=10, stale-if-error=10" } };
  await rig.get();
  rig.pass(11);
  rig.next = { status: 503 };
  await rig.get();
  expect(rig.cache.stats()).toMatchObject({ hits: 1, misses: 3, validated: 1, stale: 1, stored: 2, entries: 1, collapsed: 0, evicted: 0, disk: null });
});
