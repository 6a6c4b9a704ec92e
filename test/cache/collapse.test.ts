// Many who ask for the same at once: one fetch for all where the answer is for all, and nobody held up where it is not.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { CacheRig, type Got, PushedBody, type Script } from "../support/cache-origin.ts";

let rig: CacheRig;
beforeEach(() => { rig = new CacheRig({ patienceMs: 50 }); });
afterEach(() => rig.close());

const FRESH = { "cache-control": "max-age=60" };
const turn = (): Promise<void> => Bun.sleep(0);
const stampede = (count: number, headers: (at: number) => Record<string, string> = () => ({})): Array<Promise<Got>> => Array.from({ length: count }, (_, at) => rig.get("/", headers(at)));
const textOf = (got: Got): Promise<string> => got.text().catch((error: Error) => `error: ${error.message}`);

describe("a stampede on what is not stored yet", () => {
  test("is one fetch, and everybody gets it", async () => {
    const gate = Promise.withResolvers<void>();
    rig.next = async () => { await gate.promise; return { headers: FRESH }; };
    const all = stampede(500);
    await turn();
    expect(rig.fetches).toBe(1);
    gate.resolve();
    const got = await Promise.all(all);
    expect(new Set(await Promise.all(got.map((one) => one.text())))).toEqual(new Set(["hello"]));
    expect([rig.fetches, rig.cache.stats().collapsed]).toEqual([1, 499]);
    expect(got[499]?.cacheStatus).toBe("route-gateway; fwd=uri-miss; collapsed");
  });

  test("shares a body while it comes, with those who come later as well", async () => {
    const body = new PushedBody();
    rig.next = { headers: FRESH, body: body.stream, contentLength: 10 };
    const first = stampede(250);
    await turn();
    body.push("hello");
    await turn();
    const later = stampede(250);
    const got = await Promise.all([...first, ...later]);
    body.push("world");
    body.end();
    expect(new Set(await Promise.all(got.map(textOf)))).toEqual(new Set(["helloworld"]));
    expect([rig.fetches, (await rig.get()).isHit]).toEqual([1, true]);
  });

  test("waits for a body of unknown length", async () => {
    const body = new PushedBody();
    rig.next = { headers: FRESH, body: body.stream, contentLength: null };
    const all = stampede(100);
    await turn();
    body.push("hello");
    await turn();
    body.end();
    const got = await Promise.all(all);
    expect(new Set(await Promise.all(got.map(textOf)))).toEqual(new Set(["hello"]));
    expect(rig.fetches).toBe(1);
  });

  test("does not wait for such a body longer than its patience", async () => {
    const slow = new PushedBody();
    rig.next = () => rig.fetches === 1 ? { headers: FRESH, body: slow.stream, contentLength: null } : { headers: FRESH, text: "own" };
    const all = stampede(3);
    await turn();
    slow.push("slow");
    const [leader, ...others] = await Promise.all(all);
    expect(await Promise.all(others.map(textOf))).toEqual(["own", "own"]);
    slow.end();
    expect(await leader?.text()).toBe("slow");
  });

  test("goes alone when the body outgrows the limit, and who was first gets it whole", async () => {
    const big = new PushedBody();
    rig.next = () => rig.fetches === 1 ? { headers: FRESH, body: big.stream, contentLength: null } : { headers: { "cache-control": "no-store" }, text: "own" };
    const all = stampede(3);
    await turn();
    const leader = textOf(await (all[0] as Promise<Got>));
    const chunk = new Uint8Array(256 * 1024).fill(65);
    for (let at = 0; at < 5; at += 1) {
      big.push(chunk);
      await turn();
    }
    const others = await Promise.all(all.slice(1));
    expect(await Promise.all(others.map(textOf))).toEqual(["own", "own"]);
    big.end();
    expect((await leader).length).toBe(5 * chunk.length);
    expect(rig.cache.stats()).toMatchObject({ entries: 0, bytes: 0 });
  });

  test("goes on without who was first", async () => {
    const body = new PushedBody();
    rig.next = { headers: FRESH, body: body.stream, contentLength: 10 };
    const [first, second] = stampede(2);
    await turn();
    await ((await first as Got).response.body as ReadableStream).cancel();
    body.push("hello");
    await turn();
    body.push("world");
    body.end();
    expect(await (await second)?.text()).toBe("helloworld");
    expect((await rig.get()).isHit).toBe(true);
  });

  test("fails together when the upstream fails", async () => {
    rig.next = () => { throw new Error("refused"); };
    const settled = await Promise.allSettled(stampede(50));
    expect(new Set(settled.map((one) => one.status === "rejected" ? one.reason.message : "answered"))).toEqual(new Set(["refused"]));
    expect(rig.fetches).toBe(1);
  });

  test("sees a cut body as an error, all of it, and nothing is stored", async () => {
    const body = new PushedBody();
    rig.next = { headers: FRESH, body: body.stream, contentLength: 10 };
    const all = await Promise.all(stampede(5));
    const texts = Promise.all(all.map(textOf));
    body.push("hello");
    await turn();
    body.cut();
    expect(new Set(await texts)).toEqual(new Set(["error: cut"]));
    expect(rig.cache.stats()).toMatchObject({ entries: 0, bytes: 0 });
  });

  test("that waits for a cut body of unknown length fails with it", async () => {
    const body = new PushedBody();
    rig.next = { headers: FRESH, body: body.stream, contentLength: null };
    const all = stampede(3).map((one) => one.then(textOf, (error: Error) => `error: ${error.message}`));
    await turn();
    body.push("hello");
    await turn();
    body.cut();
    expect(new Set(await Promise.all(all))).toEqual(new Set(["error: cut"]));
    expect(rig.fetches).toBe(1);
  });

  test("answers each its own condition", async () => {
    const gate = Promise.withResolvers<void>();
    rig.next = async () => { await gate.promise; return { headers: { ...FRESH, etag: '"a"' } }; };
    const all = stampede(4, (at) => ({ "if-none-match": at % 2 === 0 ? '"a"' : '"b"' }));
    gate.resolve();
    expect((await Promise.all(all)).map(({ status }) => status)).toEqual([304, 200, 304, 200]);
    // The whole answer was asked for, whatever the first one had.
    expect(rig.asked[0]?.conditions).toEqual({});
  });

  test("a waiting client does not get the fields that are only for the first", async () => {
    const gate = Promise.withResolvers<void>();
    rig.next = async () => { await gate.promise; return { headers: { "cache-control": 'max-age=60, private="x-user"', "x-user": "anna" } }; };
    const all = stampede(2);
    gate.resolve();
    expect((await Promise.all(all)).map((got) => got.field("x-user"))).toEqual(["anna", null]);
  });
});

describe("a stampede on what cannot be shared", () => {
  for (const [what, script] of [["no-store", { headers: { "cache-control": "no-store" } }], ["private", { headers: { "cache-control": "private" } }], ["an error", { status: 500 }], ["a cookie", { headers: { ...FRESH, "set-cookie": "a=b" } }]] as ReadonlyArray<readonly [string, Script]>) {
    test(`waits for one head only: ${what}`, async () => {
      let running = 0;
      let most = 0;
      rig.next = async () => {
        most = Math.max(most, running += 1);
        await Bun.sleep(5);
        running -= 1;
        return script;
      };
      await Promise.all(stampede(50));
      // One first, then all others at the same time.
      expect([rig.fetches, most]).toEqual([50, 49]);
      await Promise.all(stampede(50));
      expect([rig.fetches, most]).toEqual([100, 50]);
    });
  }

  test("keeps each client's conditions from then on", async () => {
    rig.next = { headers: { "cache-control": "no-store", etag: '"a"' } };
    await rig.get("/", { "if-none-match": '"a"' });
    await rig.get("/", { "if-none-match": '"a"' });
    expect(rig.asked.map(({ conditions }) => conditions)).toEqual([{}, { "if-none-match": '"a"' }]);
  });

  test("tries it together again after a while, and stores what can be stored at any time", async () => {
    rig.next = { headers: { "cache-control": "no-store" } };
    await rig.get();
    rig.next = { headers: FRESH };
    await rig.get();
    expect((await rig.get()).isHit).toBe(true);
    rig.cache.purge({});
    rig.next = { headers: { "cache-control": "no-store" } };
    await rig.get();
    rig.pass(11);
    rig.next = { headers: FRESH };
    await Promise.all(stampede(10));
    expect(rig.fetches).toBe(4);
  });

  test("never hands the answer to one client's Authorization to another", async () => {
    rig.next = async () => { await turn(); return { headers: FRESH, text: `answer ${rig.fetches}` }; };
    const texts = await Promise.all((await Promise.all(stampede(20, (at) => ({ authorization: `Basic ${at}` })))).map(textOf));
    expect(new Set(texts).size).toBeGreaterThan(1);
    expect([rig.fetches, rig.cache.stats().entries]).toEqual([20, 0]);
  });
});

describe("a stampede on variants", () => {
  test("is one fetch for each of them, once it is known what they depend on", async () => {
    rig.next = async () => { await turn(); return { headers: { ...FRESH, vary: "x" } }; };
    await rig.get("/", { x: "known" });
    const got = await Promise.all(stampede(100, (at) => ({ x: String(at % 5) })));
    expect([rig.fetches, got.length]).toEqual([6, 100]);
  });

  test("gives nobody another one's variant, when nothing is known yet", async () => {
    const languages = ["en", "de", "fr"];
    const asked: string[] = [];
    const answers = languages.flatMap((language) => Array.from({ length: 10 }, async () => {
      const response = await rig.cache.answer({ method: "GET", scheme: "https", host: "a.example", target: "/", scope: "website", headers: { "accept-language": language } }, async () => {
        asked.push(language);
        await turn();
        return rig.response({ headers: { ...FRESH, vary: "accept-language" }, text: language });
      });
      return [language, await new Response(response.body as Uint8Array<ArrayBuffer>).text()];
    }));
    for (const [language, text] of await Promise.all(answers)) expect(text).toBe(language as string);
    expect(asked.length).toBeLessThanOrEqual(5);
  });
});

describe("a stampede on what is stale", () => {
  beforeEach(async () => {
    rig.next = { headers: { "cache-control": "max-age=10, stale-if-error=100", etag: '"a"' }, text: "old" };
    await rig.get();
    rig.pass(11);
  });

  test("is validated once", async () => {
    rig.next = async () => { await turn(); return { status: 304, headers: { "cache-control": "max-age=10" } }; };
    const got = await Promise.all(stampede(100));
    expect(new Set(await Promise.all(got.map(textOf)))).toEqual(new Set(["old"]));
    expect(rig.fetches).toBe(2);
  });

  test("is given what is stale, all of it, when the upstream fails", async () => {
    rig.next = async () => { await turn(); throw new Error("refused"); };
    const got = await Promise.all(stampede(100));
    expect(new Set(await Promise.all(got.map(textOf)))).toEqual(new Set(["old"]));
    expect(rig.fetches).toBe(2);
  });

  test("those who insist on validation don't wait for each other", async () => {
    rig.next = { headers: FRESH };
    await rig.get("/fresh");
    const gate = Promise.withResolvers<Script>();
    rig.next = () => gate.promise;
    const all = [1, 2, 3].map(() => rig.get("/fresh", { "cache-control": "no-cache" }));
    await turn();
    expect(rig.fetches).toBe(5);
    gate.resolve({ headers: FRESH });
    await Promise.all(all);
  });

  test("who insists on validation does not join a fetch from before", async () => {
    const gate = Promise.withResolvers<void>();
    rig.next = async () => { await gate.promise; return { status: 304, headers: { "cache-control": "max-age=10" } }; };
    const first = rig.get();
    await turn();
    const insisting = rig.get("/", { "cache-control": "no-cache" });
    await turn();
    gate.resolve();
    await Promise.all([first, insisting]);
    expect(rig.fetches).toBe(3);
  });
});
