// What is on disk: found again after a restart, bounded, never served when it is not what was written, and never in the way.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { HttpCacheOptions } from "../../src/cache/http-cache.ts";
import { CacheRig } from "../support/cache-origin.ts";
import { eventually } from "../support/eventually.ts";

let directory: string;
const rigs: CacheRig[] = [];
beforeEach(async () => { directory = await mkdtemp(join(tmpdir(), "route-cache-")); });
afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.close();
  await chmod(directory, 0o700).catch(() => {}); // It may be gone, or a file.
  await rm(directory, { recursive: true, force: true });
});

const FRESH = { "cache-control": "max-age=600", etag: '"a"' };

async function open(options: Partial<HttpCacheOptions> = {}, bytes = 10 * 1024 * 1024): Promise<CacheRig> {
  const rig = new CacheRig({ disk: { directory, bytes }, ...options });
  rigs.push(rig);
  await rig.cache.open();
  return rig;
}

/** All files but folders, below the directory. */
async function files(): Promise<string[]> {
  return (await readdir(directory, { recursive: true, withFileTypes: true })).filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name));
}

/** What stands in them; one that is replaced this moment is not there. */
async function texts(): Promise<string[]> {
  return Promise.all((await files()).map((file) => readFile(file, "latin1").catch(() => "")));
}

/** Stores an answer and waits until it is on disk. */
async function store(rig: CacheRig, target: string, script: CacheRig["next"] = { headers: FRESH }, headers: Record<string, string> = {}): Promise<string> {
  const before = new Set(await files());
  rig.next = script;
  await (await rig.get(target, headers)).text();
  return (await eventually("a new file", async () => (await files()).filter((file) => !before.has(file) && !file.includes("tmp-")), (found) => found.length === 1))[0] as string;
}

async function reopened(rig: CacheRig, options: Partial<HttpCacheOptions> = {}, bytes?: number): Promise<CacheRig> {
  await rig.close();
  rigs.splice(rigs.indexOf(rig), 1);
  const next = await open(options, bytes);
  next.nowMs = rig.nowMs;
  return next;
}

describe("after a restart", () => {
  test("an answer is there again: status, fields, body and age", async () => {
    const rig = await open();
    await store(rig, "/a", { status: 404, headers: { ...FRESH, link: ["<a>", "<b>"], "x-latin": "\u00fc" }, text: "gone" });
    rig.pass(10);
    const next = await reopened(rig);
    const got = await next.get("/a");
    expect([got.status, got.isHit, await got.text(), got.field("age"), got.field("x-latin"), next.fetches]).toEqual([404, true, "gone", "10", "\u00fc", 0]);
    expect(got.response.headers.filter(([name]) => name === "link")).toHaveLength(2);
    // From memory from now on.
    expect(next.cache.stats()).toMatchObject({ entries: 1, disk: { entries: 1 } });
  });

  test("a large body is sent from its file, ranges of it too", async () => {
    const rig = await open({ memoryBytes: 64 * 1024 * 1024, objectBytes: 4 * 1024 * 1024 });
    const body = Buffer.alloc(3 * 1024 * 1024, "0123456789");
    await store(rig, "/big", { headers: FRESH, body });
    const next = await reopened(rig, { memoryBytes: 64 * 1024 * 1024, objectBytes: 4 * 1024 * 1024 });
    for (let time = 0; time < 2; time += 1) {
      const got = await next.get("/big");
      expect([got.isHit, got.response.body instanceof ReadableStream, got.response.contentLength]).toEqual([true, true, body.length]);
      expect(Buffer.from(await new Response(got.response.body as ReadableStream).bytes()).equals(body)).toBe(true);
    }
    const part = await next.get("/big", { range: "bytes=1000000-1000009" });
    expect([part.status, await part.text()]).toEqual([206, "0123456789"]);
    expect((await next.get("/big", {}, { method: "HEAD" })).response.contentLength).toBe(body.length);
    expect(next.cache.stats().bytes).toBeLessThan(100_000);
  });

  test("a large body is still there after a client that left in the middle of it", async () => {
    const sizes = { memoryBytes: 64 * 1024 * 1024, objectBytes: 4 * 1024 * 1024 };
    const rig = await open(sizes);
    await store(rig, "/big", { headers: FRESH, body: Buffer.alloc(3 * 1024 * 1024, "x") });
    const next = await reopened(rig, sizes);
    for (const reads of [0, 1, 1, 2]) {
      const reader = ((await next.get("/big")).response.body as ReadableStream<Uint8Array>).getReader();
      for (let at = 0; at < reads; at += 1) await reader.read();
      // The next piece is being read.
      const reading = reader.read();
      await reader.cancel();
      await reading;
    }
    const got = await next.get("/big");
    expect([got.isHit, (await got.text()).length, next.fetches]).toEqual([true, 3 * 1024 * 1024, 0]);
  });

  test("what is stale is validated, and the file is the newer one", async () => {
    const rig = await open();
    await store(rig, "/a");
    const next = await reopened(rig);
    next.pass(601);
    next.next = { status: 304, headers: { "cache-control": "max-age=900", "x-new": "1" } };
    expect((await next.get("/a")).cacheStatus).toContain("fwd=stale; fwd-status=304");
    await eventually("one newer file", texts, (found) => found.length === 1 && found[0]?.includes("x-new") === true);
    const last = await reopened(next);
    expect((await last.get("/a")).field("x-new")).toBe("1");
  });

  test("each variant is found by its own fields, and no secret of theirs is on disk", async () => {
    const rig = await open();
    for (const cookie of ["session=secret-1", "session=secret-2"]) await store(rig, "/a", { headers: { ...FRESH, vary: "Cookie" }, text: cookie.slice(-1) }, { cookie });
    const next = await reopened(rig);
    expect(await (await next.get("/a", { cookie: "session=secret-2" })).text()).toBe("2");
    expect(await (await next.get("/a", { cookie: "session=secret-1" })).text()).toBe("1");
    next.next = { headers: { "cache-control": "no-store" } };
    expect((await next.get("/a", { cookie: "session=other" })).isHit).toBe(false);
    for (const text of await texts()) expect(text).not.toContain("secret");
  });

  test("what was invalidated or purged is not there", async () => {
    const rig = await open();
    for (const target of ["/a", "/b", "/c"]) await store(rig, target);
    let next = await reopened(rig);
    next.cache.invalidate({ method: "POST", scheme: "https", host: "a.example", target: "/a", scope: "other", headers: {} }, 200, []);
    expect(next.cache.purge({ url: "https://a.example/b" })).toBe(1);
    next = await reopened(next);
    next.next = { headers: { "cache-control": "no-store" } };
    expect(await Promise.all(["/a", "/b", "/c"].map(async (target) => (await next.get(target)).isHit))).toEqual([false, false, true]);
    expect(await files()).toHaveLength(1);
  });

  test("a smaller limit is kept to", async () => {
    const rig = await open();
    for (let at = 0; at < 10; at += 1) await store(rig, `/${at}`);
    const next = await reopened(rig, {}, 5 * 4096);
    expect(next.cache.stats().disk).toEqual({ entries: 5, bytes: 5 * 4096 });
    await eventually("five files", files, (found) => found.length === 5);
    expect((await next.get("/9")).isHit).toBe(true);
  });
});

describe("a file's name", () => {
  for (const target of ["/../../../etc/passwd", "/%2e%2e/%2e%2e/x", `/${"x".repeat(20_000)}`, "/\u0000", "/a?b=/../c"]) {
    test(`says nothing about ${target.slice(0, 30)}`, async () => {
      const rig = await open();
      const file = await store(rig, target);
      expect(file.slice(directory.length)).toMatch(/^\/[0-9a-f]{2}\/[0-9a-f]{32}-[0-9a-f]{16}$/);
      const next = await reopened(rig);
      expect((await next.get(target)).isHit).toBe(true);
    });
  }

  test("and the file are the owner's only", async () => {
    const file = await store(await open(), "/a");
    expect(((await stat(file)).mode & 0o777).toString(8)).toBe("600");
  });
});

describe("a file that is not what was written", () => {
  type Harm = readonly [what: string, harm: (file: string, bytes: Buffer) => Promise<void>];
  const flip = (at: (bytes: Buffer) => number): Harm[1] => async (file, bytes) => {
    const changed = Buffer.from(bytes);
    const index = at(bytes);
    changed[index] = (changed[index] ?? 0) ^ 1;
    await writeFile(file, changed);
  };
  const HARMS: readonly Harm[] = [
    ["is empty", (file) => truncate(file, 0)], ["has a piece of its beginning", (file) => truncate(file, 20)], ["has a piece of its head", (file) => truncate(file, 100)],
    ["lacks its last byte", (file, bytes) => truncate(file, bytes.length - 1)], ["has a byte too many", (file, bytes) => writeFile(file, Buffer.concat([bytes, Buffer.from("x")]))],
    ["is of another version", flip(() => 0)], ["says another length of its head", flip(() => 11)], ["says another length of its body", flip(() => 19)],
    ["says a giant length", async (file, bytes) => { const changed = Buffer.from(bytes); changed.writeBigUInt64BE(2n ** 60n, 12); await writeFile(file, changed); }],
    ["has another checksum", flip(() => 21)], ["has another body checksum", flip(() => 25)], ["has another head", flip(() => 60)], ["has another body", flip((bytes) => bytes.length - 1)],
    ["is all zeros", (file, bytes) => writeFile(file, Buffer.alloc(bytes.length))], ["is a folder", async (file) => { await rm(file); await mkdir(file); }],
    ["cannot be read", (file) => chmod(file, 0)],
  ];
  for (const [what, harm] of HARMS) {
    test(`because it ${what}, is not served, before and after a restart`, async () => {
      const rig = await open();
      const file = await store(rig, "/a", { headers: FRESH, text: "the one and only" });
      const bytes = await readFile(file);
      // While it is known: memory is emptied by another purge than that of the disk, so a second store looks at it.
      const other = await open();
      other.nowMs = rig.nowMs;
      await harm(file, bytes);
      other.next = { headers: { "cache-control": "no-store" }, text: "from the origin" };
      const known = await other.get("/a");
      const isUnharmed = what === "cannot be read" && process.getuid?.() === 0;
      expect(await known.text()).toBe(isUnharmed ? "the one and only" : "from the origin");
      const next = await reopened(rig);
      next.next = other.next;
      expect(await (await next.get("/a")).text()).toBe(isUnharmed ? "the one and only" : "from the origin");
    });
  }

  test("is reported once, however many there are, and removed", async () => {
    const rig = await open();
    const all = [];
    for (let at = 0; at < 5; at += 1) all.push(await store(rig, `/${at}`));
    for (const file of all) await truncate(file, 50);
    const next = await reopened(rig);
    expect(next.warnings).toEqual(["broken files were removed from the cache on disk"]);
    expect(await files()).toEqual([]);
  });

  test("ends in an error when it is found out while it is sent", async () => {
    const sizes = { memoryBytes: 64 * 1024 * 1024, objectBytes: 4 * 1024 * 1024 };
    const rig = await open(sizes);
    const file = await store(rig, "/big", { headers: FRESH, body: Buffer.alloc(3 * 1024 * 1024, "x") });
    const bytes = await readFile(file);
    bytes[bytes.length - 10] = 0;
    await writeFile(file, bytes);
    const next = await reopened(rig, sizes);
    await expect((await next.get("/big")).text()).rejects.toThrow("changed on the disk");
    next.next = { headers: { "cache-control": "no-store" }, text: "new" };
    expect(await (await next.get("/big")).text()).toBe("new");
  });

  test("and none of ours stays, is reported once, and does no harm", async () => {
    await mkdir(join(directory, "ab"));
    await mkdir(join(directory, "photos"));
    for (const name of ["notes.txt", "ab/notes.txt", "photos/cat.png", `ab/${"0".repeat(32)}`]) await writeFile(join(directory, name), "mine");
    await writeFile(join(directory, `tmp-${"0".repeat(16)}`), "half");
    const rig = await open();
    expect(rig.warnings).toEqual(["files in the directory of the cache are none of its own"]);
    expect((await files()).map((file) => file.slice(directory.length + 1)).sort()).toEqual([`ab/${"0".repeat(32)}`, "ab/notes.txt", "notes.txt", "photos/cat.png"]);
  });
});

describe("an older version on disk", () => {
  const NOT_FOUND = { headers: { "cache-control": "no-store" }, text: "from the origin" };
  /** What is found after a restart. */
  async function found(rig: CacheRig, headers: Record<string, string> = {}): Promise<string> {
    const next = await reopened(rig);
    next.next = NOT_FOUND;
    return (await next.get("/a", headers)).text();
  }

  test("is gone when the newer one is too large to be stored", async () => {
    const rig = await open();
    await store(rig, "/a", { headers: FRESH, text: "old" });
    rig.next = { headers: FRESH, body: Buffer.alloc(2 * 1024 * 1024) };
    await rig.get("/a", { "cache-control": "no-cache" });
    expect(await found(rig)).toBe("from the origin");
  });

  for (const [what, vary] of [["", undefined], [", and depends on other fields", "x"]] as const) {
    test(`is gone when the newer one is not written, because the disk failed${what}`, async () => {
      const rig = await open();
      await store(rig, "/a", { headers: FRESH, text: "old" });
      await rename(directory, `${directory}-moved`);
      await writeFile(directory, "a file");
      rig.next = { headers: { ...FRESH, vary }, text: "new" };
      await rig.get("/b");
      await eventually("the report", () => rig.warnings, (warnings) => warnings.length === 1);
      await rm(directory);
      await rename(`${directory}-moved`, directory);
      await rig.get("/a", { "cache-control": "no-cache" });
      expect(await found(rig)).toBe("from the origin");
      // And nothing was written while the disk is left alone.
      expect(await files()).toEqual([]);
    });
  }

  test("is gone when the newer one depends on other fields", async () => {
    const rig = await open();
    await store(rig, "/a", { headers: FRESH, text: "for all" });
    rig.pass(601);
    await store(rig, "/a", { headers: { ...FRESH, vary: "x" }, text: "for 1" }, { x: "1" });
    expect(await found(rig, { x: "2" })).toBe("from the origin");
  });

  test("is gone when the validated one may be used for a shorter time", async () => {
    const rig = await open();
    await store(rig, "/a", { headers: { "cache-control": "max-age=600, stale-while-revalidate=600", etag: '"a"' }, text: "old" });
    rig.next = { status: 304, headers: { "cache-control": "max-age=5" } };
    await rig.get("/a", { "cache-control": "no-cache" });
    await eventually("a file with the new fields", texts, (found) => found.length === 1 && found[0]?.includes("max-age=5") === true);
    rig.pass(6);
    expect(await found(rig)).toBe("from the origin");
  });

  test("stays when the validated one is the same for a short time, and is validated again", async () => {
    const rig = await open();
    const file = await store(rig, "/a", { headers: { "cache-control": "max-age=5", etag: '"a"' } });
    rig.pass(6);
    rig.next = { status: 304, headers: { "cache-control": "max-age=5" } };
    await rig.get("/a");
    const next = await reopened(rig);
    next.next = rig.next;
    expect((await next.get("/a")).cacheStatus).toContain("fwd=stale; fwd-status=304");
    expect(await files()).toEqual([file]);
  });

  for (const what of ["invalidated", "purged"]) {
    test(`does not come to be when it is ${what} while it is written`, async () => {
      const rig = await open();
      for (let time = 0; time < 10; time += 1) {
        rig.next = { headers: FRESH, body: Buffer.alloc(500_000, "x") };
        await rig.get("/a");
        // From the queue at first, then from under the pen.
        for (let turn = 0; turn < time; turn += 1) await Bun.sleep(0);
        if (what === "purged") rig.cache.purge({ url: "https://a.example/a" });
        else rig.cache.invalidate({ method: "POST", scheme: "https", host: "a.example", target: "/a", scope: "website", headers: {} }, 200, []);
      }
      await rig.cache.close();
      expect(await files()).toEqual([]);
      expect(await found(rig)).toBe("from the origin");
    });
  }

  for (const [what, forget] of [
    ["stored", async (rig: CacheRig) => { rig.next = { headers: { "cache-control": "max-age=1" }, text: "new" }; await rig.get("/a"); rig.pass(2); }],
    ["invalidated", async (rig: CacheRig) => rig.cache.invalidate({ method: "POST", scheme: "https", host: "a.example", target: "/a", scope: "website", headers: {} }, 200, [])],
    ["purged", async (rig: CacheRig) => { rig.cache.purge({ prefix: "/" }); }],
  ] as const) {
    test(`is not found when its URL was ${what} before the disk was read`, async () => {
      const rig = await open();
      await store(rig, "/a", { headers: FRESH, text: "old" });
      await rig.close();
      const next = new CacheRig({ disk: { directory, bytes: 10 * 1024 * 1024 } });
      rigs.push(next);
      await forget(next);
      await next.cache.open();
      next.next = NOT_FOUND;
      expect(await (await next.get("/a")).text()).toBe("from the origin");
    });
  }
});

describe("a disk that does not take it", () => {
  test("that is not there is reported, and memory goes on", async () => {
    await rm(directory, { recursive: true });
    await writeFile(directory, "a file");
    const rig = await open();
    rig.next = { headers: FRESH };
    await rig.get();
    expect([(await rig.get()).isHit, rig.warnings]).toEqual([true, ["the cache on disk cannot be used"]]);
  });

  test("that fails later is reported once, left alone, and tried again", async () => {
    const rig = await open();
    // Root may write anywhere, so the way is blocked by a file.
    await rename(directory, `${directory}-moved`);
    await writeFile(directory, "a file");
    rig.next = { headers: FRESH };
    for (const target of ["/a", "/b", "/c"]) {
      await rig.get(target);
      expect((await rig.get(target)).isHit).toBe(true);
    }
    await eventually("the report", () => rig.warnings, (warnings) => warnings.length === 1);
    await rm(directory);
    await rename(`${directory}-moved`, directory);
    rig.pass(31);
    await store(rig, "/d");
    expect(rig.warnings).toEqual(["the cache on disk cannot be written, and is left alone for a while"]);
  });

  test("takes no more than its limit, whatever comes", async () => {
    const limit = 200_000;
    const rig = await open({}, limit);
    for (let at = 0; at < 100; at += 1) {
      rig.next = { headers: FRESH, body: Buffer.alloc((at * 7919) % 50_000, "x") };
      await rig.get(`/${at}`);
      if (at % 7 === 0) await Bun.sleep(2);
      expect(rig.cache.stats().disk?.bytes).toBeLessThanOrEqual(limit);
      const sizes = await Promise.all((await files()).map((file) => stat(file).then(({ size }) => Math.ceil(size / 4096) * 4096, () => 0)));
      // A file that is being replaced or removed this moment may still be seen.
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(limit + 2 * 53_248);
    }
  });
});
