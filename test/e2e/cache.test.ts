// The shared cache in the proxy: what it spares the website, what it never does, and how an operator sees and empties it.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { eventually } from "../support/eventually.ts";
import { Cluster, head, ok } from "../support/http.ts";
import type { PodConnection, Seen } from "../support/pod.ts";
import { RawClient } from "../support/raw.ts";
import { TestRouter } from "../support/router.ts";

let cluster: Cluster;
beforeAll(async () => { cluster = await Cluster.start(); });
afterAll(() => cluster.stop());
beforeEach(() => { cluster.reset(); });

let page = 0;
/** A path of its own for each test. */
const fresh = (): string => `/page-${page += 1}`;

const get = (path: string, headers: Record<string, string> = {}, init: RequestInit = {}): Promise<Response> => fetch(cluster.router.url(path), { headers, ...init, redirect: "manual" });
const status = (response: Response): string => (response.headers.get("cache-status") ?? "").replace(/^route-gateway; /, "");

function answer(lines: readonly string[], body: string | ((seen: Seen) => string) = "page"): void {
  cluster.services.answer((seen, connection) => {
    connection.write(ok(seen.method === "HEAD" ? "" : typeof body === "string" ? body : body(seen), lines));
  });
}

describe("the website", () => {
  test("is asked once for what may be kept, and Cache-Status says so", async () => {
    answer(["Cache-Control: max-age=60", "Content-Type: text/plain"]);
    const path = fresh();
    const [first, second] = [await get(path), await get(path)];
    expect([await first.text(), await second.text()]).toEqual(["page", "page"]);
    expect(status(first)).toBe("fwd=uri-miss; stored");
    expect(status(second)).toMatch(/^hit; ttl=(59|60)$/);
    expect([first.headers.get("age"), second.headers.get("age")]).toEqual([null, "0"]);
    expect(cluster.services.seen.length).toBe(1);
    // What every answer of ours carries, those from the cache carry as well; each with its own id.
    expect(second.headers.get("x-frame-options")).toBe("SAMEORIGIN");
    expect(second.headers.get("x-request-id")).not.toBe(first.headers.get("x-request-id"));
  });

  test("is asked each time for what says nothing of how long it is good", async () => {
    answer(["Content-Type: text/plain"]);
    const path = fresh();
    for (let index = 0; index < 3; index += 1) expect(status(await get(path))).toMatch(/^fwd=/);
    expect(cluster.services.seen.length).toBe(3);
  });

  test("is spared however often the same page is asked for, whole or in part, and each answer is the same", async () => {
    const body = "0123456789".repeat(3000);
    answer(["Cache-Control: max-age=60", "Content-Type: text/plain", 'ETag: "v1"', "Accept-Ranges: bytes"], body);
    const path = fresh();
    for (let round = 0; round < 4; round += 1) {
      const whole = await get(path, { "accept-encoding": "identity" });
      expect([whole.status, whole.headers.get("content-length"), whole.headers.get("content-type"), await whole.text()]).toEqual([200, "30000", "text/plain", body]);
      const zipped = await get(path, { "accept-encoding": "gzip" });
      expect([zipped.headers.get("content-encoding"), await zipped.text()]).toEqual(["gzip", body]);
      const part = await get(path, { range: "bytes=5-14", "accept-encoding": "identity" });
      expect([part.status, part.headers.get("content-range"), await part.text()]).toEqual([206, "bytes 5-14/30000", "5678901234"]);
      const beyond = await get(path, { range: "bytes=30000-", "accept-encoding": "identity" });
      expect([beyond.status, beyond.headers.get("content-range")]).toEqual([416, "bytes */30000"]);
      // Not of what it has: the whole page.
      const other = await get(path, { range: "bytes=0-4", "if-range": '"v0"', "accept-encoding": "identity" });
      expect([other.status, (await other.text()).length]).toEqual([200, 30000]);
      const inHead = await get(path, { "accept-encoding": "identity" }, { method: "HEAD" });
      expect([inHead.status, inHead.headers.get("content-length"), await inHead.text()]).toEqual([200, "30000", ""]);
    }
    expect(cluster.services.seen.length).toBe(1);
  });

  test("answers 200 at once with one request", async () => {
    const path = fresh();
    const held: Array<() => void> = [];
    cluster.services.answer((_seen, connection) => { held.push(() => connection.write(ok("page", ["Cache-Control: max-age=60"]))); });
    const asked = Array.from({ length: 200 }, () => get(path));
    await cluster.services.until(() => held.length === 1 && cluster.router.app.counts.running >= 200);
    held[0]?.();
    const texts = await Promise.all((await Promise.all(asked)).map((response) => response.text()));
    expect(new Set(texts)).toEqual(new Set(["page"]));
    expect(cluster.services.seen.length).toBe(1);
  });

  test("is not cut off when the client that asked first leaves: the others get the answer", async () => {
    const path = fresh();
    const held: Array<() => void> = [];
    cluster.services.answer((_seen, connection) => { held.push(() => connection.write(ok("page", ["Cache-Control: max-age=60"]))); });
    const leaving = new AbortController();
    const first = get(path, {}, { signal: leaving.signal }).catch(() => "left");
    await cluster.services.until(() => held.length === 1);
    const second = get(path);
    await cluster.services.until(() => cluster.router.app.counts.running >= 2);
    leaving.abort();
    expect(await first).toBe("left");
    held[0]?.();
    expect(await (await second).text()).toBe("page");
    expect(cluster.services.seen.length).toBe(1);
  });

  test("is not asked any longer for pages whose clients have all left, and a drain does not wait for them", async () => {
    const own = await TestRouter.start({ config: `services:\n  s: { url: "http://127.0.1.2:${cluster.services.port("website")}" }\nroutes:\n  - { path: /, service: s, cache: true }\n` });
    try {
      cluster.services.answer(() => {});
      const clients = await Promise.all(Array.from({ length: 100 }, () => RawClient.open(own.port)));
      const before = cluster.services.open.size;
      for (const [index, client] of clients.entries()) client.write(head("GET", `/left-${index}`));
      await cluster.services.until(() => cluster.services.open.size === before + 100);
      for (const client of clients) client.close();
      await cluster.services.until(() => cluster.services.open.size === before);
      await eventually("nothing runs", () => own.app.counts.running, (running) => running === 0);
    } finally {
      await own.stop();
    }
  });

  test("is asked whether its page changed, with its own validator and not the client's", async () => {
    const path = fresh();
    cluster.services.answer((seen, connection) => {
      const isKnown = seen.headers["if-none-match"]?.[0] === "\"v1\"";
      connection.write(isKnown ? "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\nCache-Control: no-cache\r\n\r\n" : ok("page", ["ETag: \"v1\"", "Cache-Control: no-cache"]));
    });
    await get(path);
    const again = await get(path, { "if-none-match": "\"other\"" });
    expect([again.status, await again.text(), status(again)]).toEqual([200, "page", "fwd=stale; fwd-status=304; stored"]);
    const same = await get(path, { "if-none-match": "\"v1\"" });
    expect([same.status, await same.text()]).toEqual([304, ""]);
    expect(cluster.services.seen.map(({ headers }) => headers["if-none-match"]?.[0])).toEqual([undefined, "\"v1\"", "\"v1\""]);
  });

  test("gives parts out of the whole", async () => {
    answer(["Cache-Control: max-age=60", "ETag: \"v1\""], "0123456789");
    const path = fresh();
    await get(path);
    const part = await get(path, { range: "bytes=2-4" });
    expect([part.status, part.headers.get("content-range"), await part.text()]).toEqual([206, "bytes 2-4/10", "234"]);
    expect(cluster.services.seen.length).toBe(1);
  });

  test("is kept apart by what it says that its pages depend on", async () => {
    answer(["Cache-Control: max-age=60", "Vary: Accept-Language"], (seen) => seen.headers["accept-language"]?.[0] ?? "none");
    const path = fresh();
    const texts = [];
    for (const language of ["de", "fr", "de", "fr"]) texts.push(await (await get(path, { "accept-language": language })).text());
    expect(texts).toEqual(["de", "fr", "de", "fr"]);
    expect(cluster.services.seen.length).toBe(2);
  });

  test("is forgotten where it was changed", async () => {
    answer(["Cache-Control: max-age=60"]);
    const path = fresh();
    await get(path);
    expect(status(await get(path))).toMatch(/^hit/);
    await get(path, {}, { method: "POST", body: "x" });
    expect(status(await get(path))).toBe("fwd=uri-miss; stored");
  });

  test("is given in the coding that each client takes, and no older form of it when it has changed", async () => {
    let text = "first ".repeat(1000);
    answer(["Cache-Control: max-age=60", "Content-Type: text/plain"], () => text);
    const path = fresh();
    for (const coding of ["gzip", "br", "zstd", "gzip"]) {
      const response = await get(path, { "accept-encoding": coding });
      expect([response.headers.get("content-encoding"), await response.text()]).toEqual([coding, text]);
    }
    await get(path, {}, { method: "DELETE" });
    text = "second ".repeat(1000);
    for (const coding of ["gzip", "gzip", "identity"]) expect(await (await get(path, { "accept-encoding": coding })).text()).toBe(text);
  });

  test("that is gone is answered 502, and what was kept is shown where it says that it may be", async () => {
    const path = fresh();
    answer(["Cache-Control: max-age=0, stale-if-error=60"]);
    await get(path);
    cluster.services.answer((_seen, connection) => connection.cut());
    const stale = await get(path);
    expect([stale.status, await stale.text(), status(stale)]).toEqual([200, "page", expect.stringContaining("stale-if-error")]);
    expect((await get(fresh())).status).toBe(502);
  });

  test("with answers for one client only is never shared", async () => {
    for (const [lines, headers] of [
      [["Cache-Control: private, max-age=60"], {}], [["Cache-Control: no-store"], {}], [["Cache-Control: max-age=60", "Set-Cookie: a=b"], {}],
      [["Cache-Control: max-age=60"], { authorization: "Basic eA==" }],
    ] as ReadonlyArray<readonly [string[], Record<string, string>]>) {
      answer(lines);
      const path = fresh();
      const before = cluster.services.seen.length;
      await get(path, headers);
      expect(status(await get(path, headers))).toMatch(/^fwd=/);
      expect(cluster.services.seen.length - before).toBe(2);
    }
  });
});

describe("the key", () => {
  test("holds the host: another one's page is another page", async () => {
    answer(["Cache-Control: max-age=60"], (seen) => seen.headers["x-forwarded-host"]?.[0] ?? "");
    const path = fresh();
    const texts = [];
    for (const host of ["a.example", "b.example", "a.example"]) texts.push(await (await get(path, { host })).text());
    expect(texts).toEqual(["a.example", "b.example", "a.example"]);
  });

  test("is not poisoned by headers of strangers", async () => {
    answer(["Cache-Control: max-age=60"], (seen) => seen.headers["x-forwarded-host"]?.[0] ?? "");
    const path = fresh();
    const poisoned = await get(path, { "x-forwarded-host": "evil.example", "x-forwarded-proto": "evil", "x-original-url": "/evil" });
    const text = await poisoned.text();
    expect(text).not.toContain("evil");
    expect(await (await get(path)).text()).toBe(text);
  });

  test("holds the query, and a path with a suffix that looks like a picture is the path that it is", async () => {
    answer(["Cache-Control: private"], (seen) => seen.target);
    for (const path of ["/account/x.css", "/account;x.css", "/account?x.css"]) {
      expect(await (await get(path)).text()).toBe(path);
      expect(status(await get(path))).toMatch(/^fwd=/);
    }
  });
});

describe("what is not the cache's", () => {
  test("routes with a token never go through it, whatever their upstream says", async () => {
    cluster.pod.answer((_seen, connection: PodConnection) => connection.write(ok("mine", ["Cache-Control: public, max-age=60"])));
    const headers = { authorization: cluster.bearer().replace("Authorization: ", "") };
    for (let index = 0; index < 2; index += 1) {
      const response = await get("/filer/x", headers);
      expect([await response.text(), response.headers.get("cache-status")]).toEqual(["mine", null]);
    }
    expect(cluster.pod.seen.length).toBe(2);
  });

  test("nor does the control plane", async () => {
    answer(["Cache-Control: public, max-age=60"]);
    for (let index = 0; index < 2; index += 1) expect((await get("/API/x")).headers.get("cache-status")).toBeNull();
    expect(cluster.services.seen.length).toBe(2);
  });
});

describe("an operator", () => {
  test("sees in the log what came from the cache, and purges it over the admin API", async () => {
    const router = await TestRouter.start({
      config: `entrypoints: { admin: "127.0.0.1:0" }\nservices:\n  s: { url: "http://127.0.1.2:${cluster.services.port("website")}" }\nroutes:\n  - { path: /, service: s, cache: true }\n`,
    });
    try {
      answer(["Cache-Control: max-age=60"]);
      const admin = router.app.addresses.admin as string;
      const url = router.url("/purged");
      for (let index = 0; index < 2; index += 1) await (await fetch(url)).text();
      expect(await (await fetch(`${admin}/api/cache`)).json()).toMatchObject({ entries: 1, hits: 1, misses: 1, stored: 1 });
      const purge = (query: string): Promise<Response> => fetch(`${admin}/api/cache?${query}`, { method: "DELETE" });
      expect(await (await purge(`prefix=${encodeURIComponent(router.url("/other"))}`)).json()).toEqual({ purged: 0 });
      expect(await (await purge(`url=${encodeURIComponent(url)}`)).json()).toEqual({ purged: 1 });
      await (await fetch(url)).text();
      expect(router.lines.filter(({ message }) => message === "access").map(({ cache }) => cache)).toEqual(["fwd=uri-miss; stored", expect.stringMatching(/^hit/), "fwd=uri-miss; stored"]);
      for (const query of ["", "url=/x", "all=false", "hosts=a", "url=http://a/&all=true"]) expect((await purge(query)).status).toBe(400);
      const metrics = await (await fetch(`${admin}/metrics`)).text();
      expect(metrics).toContain('\nroute_cache_requests_total{result="hit"} 1\n');
      expect(await (await fetch(`${admin}/api/services`)).json()).toMatchObject([{ name: "s", policy: "round-robin", servers: [{ state: "up", requests: 2, failures: 0 }] }]);
    } finally {
      await router.stop();
    }
  });

  test("keeps what is in the cache when something else of the configuration changes", async () => {
    const router = await TestRouter.start({ config: `services:\n  s: { url: "http://127.0.1.2:${cluster.services.port("website")}" }\nroutes:\n  - { path: /, service: s, cache: true }\n` });
    try {
      answer(["Cache-Control: max-age=60"]);
      await (await fetch(router.url("/kept"))).text();
      await router.reload((text) => `${text}\ndrainTimeout: 7s\n`);
      expect(status(await fetch(router.url("/kept")))).toMatch(/^hit/);
    } finally {
      await router.stop();
    }
  });
});
