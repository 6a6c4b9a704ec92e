// The bound of the store, against a plain model, and whether its estimate is honest.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Entry } from "../../src/cache/entry.ts";
import { MemoryStore } from "../../src/cache/memory-store.ts";
import { resourceOf } from "../../src/cache/resource.ts";
import { request } from "../support/cache-origin.ts";

const POLICY = { bornMs: 0, lifetimeMs: 60_000, mustValidate: false, mustBeFresh: false, staleWhileRevalidateMs: 0, staleIfErrorMs: 0 };
const HEADERS = [["date", "Sat, 21 Nov 2026 12:00:00 GMT"], ["content-type", "text/html"], ["cache-control", "max-age=60"], ["etag", '"abcdef"'], ["last-modified", "Wed, 01 Jan 2020 00:00:00 GMT"]] as const;

function entry(target: string, bytes: number, variant = ""): Entry {
  const fields = variant === "" ? [] : ["x"];
  return new Entry({ resource: resourceOf(request(target)), fields, variant: variant === "" ? "" : `=${variant}\n`, status: 200, headers: HEADERS.map(([name, value]): [string, string] => [name, `${value}${target}`.slice(0, value.length)]), contentLength: bytes, policy: POLICY }, new Uint8Array(bytes), "cache");
}
const keyOf = (target: string): string => resourceOf(request(target)).key;

describe("the memory store", () => {
  test("lets go of what was not used for longest", () => {
    const size = entry("/a", 1000).bytes;
    const store = new MemoryStore(size * 3 + 10);
    const entries = ["/a", "/b", "/c"].map((target) => entry(target, 1000));
    for (const one of entries) store.put(one, 0);
    store.touch(entries[0] as Entry, 1000);
    store.put(entry("/d", 1000), 1000);
    expect(["/a", "/b", "/c", "/d"].map((target) => store.find(keyOf(target), {}) !== undefined)).toEqual([true, false, true, true]);
    expect(store.evicted).toBe(1);
  });

  test("takes nothing larger than itself, and forgets the older version all the same", () => {
    const store = new MemoryStore(10_000);
    store.put(entry("/a", 10), 0);
    expect(store.put(entry("/a", 20_000), 0)).toBe(false);
    expect([store.size, store.bytes]).toEqual([0, 0]);
  });

  test("counts the forms that are kept of a body, and forgets them with it", () => {
    const store = new MemoryStore(20_000);
    const [one, other] = [entry("/a", 4000), entry("/b", 4000)];
    for (const each of [one, other]) store.put(each, 0);
    const before = store.bytes;
    one.keepForm("gzip", new Uint8Array(1000));
    one.keepForm("gzip", new Uint8Array(500));
    expect(one.form("gzip")?.byteLength).toBe(1000);
    expect(store.bytes - before).toBeWithin(1000, 1500);
    store.delete(one);
    expect(store.bytes).toBe(other.bytes);
    expect(one.bytes - one.ownBytes).toBeWithin(1000, 1500);
  });

  test("keeps no form that does not fit, nor of what is not stored any more", () => {
    const store = new MemoryStore(8000);
    const one = entry("/a", 1000);
    one.keepForm("gzip", new Uint8Array(10));
    expect(one.form("gzip")).toBeUndefined();
    store.put(one, 0);
    one.keepForm("gzip", new Uint8Array(8000));
    expect(one.form("gzip")).toBeUndefined();
    // It was the one that had to go for its own form.
    one.keepForm("br", new Uint8Array(8000 - one.bytes + 1));
    expect([one.form("br"), store.find(keyOf("/a"), {}), store.bytes]).toEqual([undefined, undefined, 0]);
    store.put(entry("/a", 1000), 0);
    one.keepForm("br", new Uint8Array(10));
    expect(one.form("br")).toBeUndefined();
  });

  test("shares a body from the second time on, and counts that; not without room, nor of what is not stored any more", async () => {
    const store = new MemoryStore(20_000);
    const one = entry("/a", 4000);
    store.put(one, 0);
    const body = one.body as Uint8Array<ArrayBuffer>;
    expect(one.shared(body)).toBeNull();
    expect(store.bytes).toBe(one.ownBytes);
    const shared = one.shared(body) as Blob;
    expect(await shared.bytes()).toEqual(body);
    expect([one.shared(body), store.bytes]).toEqual([shared, one.ownBytes + 4000]);
    store.delete(one);
    expect(store.bytes).toBe(0);
    const small = new MemoryStore(8000);
    const other = entry("/b", 4000);
    small.put(other, 0);
    const wide = new Uint8Array(8000);
    expect([other.shared(wide), other.shared(wide), other.shared(wide)]).toEqual([null, null, null]);
  });

  test("keeps no more of a view than can be seen", () => {
    const store = new MemoryStore(20_000);
    const one = entry("/a", 1000);
    store.put(one, 0);
    one.keepForm("gzip", new Uint8Array(5000).subarray(0, 10));
    expect(one.form("gzip")?.buffer.byteLength).toBe(10);
  });

  test("reserves no more than half of itself", () => {
    const store = new MemoryStore(1000);
    expect([store.reserve(500), store.reserve(1)]).toEqual([true, false]);
    store.release(500);
    expect(store.reserve(1)).toBe(true);
  });

  test("never holds more than its limit, and finds what a plain model finds", () => {
    const limit = 50_000;
    const step = fc.oneof(
      fc.record({ kind: fc.constant("put" as const), target: fc.constantFrom("/a", "/b", "/c", "/d", "/e"), variant: fc.constantFrom("", "1", "2"), bytes: fc.nat(20_000) }),
      fc.record({ kind: fc.constant("delete" as const), target: fc.constantFrom("/a", "/b", "/c") }),
      fc.record({ kind: fc.constant("reserve" as const), bytes: fc.nat(30_000) }), fc.record({ kind: fc.constant("release" as const) }),
    );
    fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const store = new MemoryStore(limit);
      // Newest last; what the store holds must be what the model holds, in its order.
      let model: Entry[] = [];
      const reserved: number[] = [];
      const used = (): number => model.reduce((sum, one) => sum + one.bytes, 0) + reserved.reduce((sum, bytes) => sum + bytes, 0);
      const shrink = (bytes: number): void => { while (model.length > 0 && used() + bytes > limit) model.shift(); };
      for (const given of steps) {
        if (given.kind === "put") {
          const made = entry(given.target, given.bytes, given.variant);
          model = model.filter(({ head }) => head.resource.target !== given.target || (head.fields.join() === made.head.fields.join() && head.variant !== made.head.variant));
          const fits = made.bytes <= limit - reserved.reduce((sum, bytes) => sum + bytes, 0);
          if (fits) shrink(made.bytes);
          expect(store.put(made, 0)).toBe(fits);
          if (fits) model.push(made);
        } else if (given.kind === "delete") {
          store.deleteKey(keyOf(given.target));
          model = model.filter(({ head }) => head.resource.target !== given.target);
        } else if (given.kind === "reserve") {
          if (store.reserve(given.bytes)) {
            shrink(given.bytes);
            reserved.push(given.bytes);
          }
        } else store.release(reserved.pop() ?? 0);
        expect(store.bytes + store.reserved).toBeLessThanOrEqual(limit);
        expect(store.bytes + store.reserved).toBe(used());
        expect(store.size).toBe(model.length);
        for (const one of model) expect(store.find(one.head.resource.key, { x: one.head.variant.slice(1, -1) })).toBe(one);
      }
    }), { numRuns: 300 });
  });

  test("counts at least what its entries take", () => {
    const store = new MemoryStore(1e9);
    const count = 20_000;
    Bun.gc(true);
    const before = process.memoryUsage();
    for (let at = 0; at < count; at += 1) {
      const made = entry(`/assets/app-${at}.0123456789abcdef.js`, 1000);
      store.put(made, 0);
      // What a hit leaves behind: its answer, and the Headers that the proxy makes of it.
      kept.set(made.hit(1).headers, new Headers(made.hit(1).headers as [string, string][]));
    }
    Bun.gc(true);
    const after = process.memoryUsage();
    const taken = after.heapUsed + after.external - before.heapUsed - before.external;
    console.log(`an entry of 1000 bytes takes ${Math.round(taken / count)} bytes, ${Math.round(store.bytes / count)} are counted`);
    expect(store.size).toBe(count);
    expect(taken).toBeLessThan(store.bytes);
  });
});

const kept = new WeakMap<object, Headers>();
