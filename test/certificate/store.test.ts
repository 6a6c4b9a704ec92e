import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CertificateStore } from "../../src/certificate/store.ts";
import { DAY_MS, newCertificate, START_MS } from "./fixtures.ts";

const never = new AbortController().signal;
let root: string;
let store: CertificateStore;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "route-store-"));
  store = new CertificateStore(join(root, "certificates", "resolver"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe("CertificateStore", () => {
  test("finds again what was written, wildcards too", async () => {
    const [one, wildcard] = [await newCertificate(["a.example.org"]), await newCertificate(["*.example.org"])];
    await store.write("a.example.org", one);
    await store.write("*.example.org", wildcard);
    const { certificates, problems } = await store.load(START_MS);
    expect(problems).toEqual([]);
    expect(certificates).toEqual(new Map([["a.example.org", one], ["*.example.org", wildcard]]));
  });

  test("writes files that only their owner can read, one for a certificate", async () => {
    await store.write("*.example.org", await newCertificate(["*.example.org"]));
    expect(readdirSync(store.directory)).toEqual(["+.example.org.pem"]);
    expect(statSync(store.pathOf("*.example.org")).mode & 0o777).toBe(0o600);
    expect(statSync(store.directory).mode & 0o777).toBe(0o700);
  });

  test("skips and tells what it cannot use, and leaves it as it is", async () => {
    const good = await newCertificate(["a.example.org"]);
    await store.write("a.example.org", good);
    await store.write("other.example.org", good);
    writeFileSync(store.pathOf("garbage.example.org"), "garbage");
    writeFileSync(store.pathOf("half.example.org"), good.certPem);
    writeFileSync(join(store.directory, "not a name.pem"), "x");
    mkdirSync(store.pathOf("directory.example.org"));
    const { certificates, problems } = await store.load(START_MS);
    expect([...certificates.keys()]).toEqual(["a.example.org"]);
    expect(problems.map(({ path, reason }) => [path.slice(store.directory.length + 1), reason.replace(/: .*/, "")])).toEqual([
      ["directory.example.org.pem", "is a directory"], ["garbage.example.org.pem", "there is no certificate in PEM"],
      ["half.example.org.pem", "there is no private key in PEM"], ["not a name.pem", "no certificate can ever be had for \"not a name\""],
      ["other.example.org.pem", "it is for a.example.org"],
    ]);
    expect(readFileSync(store.pathOf("garbage.example.org"), "utf8")).toBe("garbage");
  });

  test("finds again what failed lately, in files that only their owner can read, and removes what is long ago or of a clock that was ahead", async () => {
    const failure = { count: 2, atMs: START_MS, nextMs: START_MS + 180_000, askedMs: null, holdsOthers: true, setup: "s", reason: "the CA refuses “this”" };
    await store.write("b.example.org", await newCertificate(["b.example.org"]));
    await store.keepFailure("*.example.org", failure);
    await store.keepFailure("b.example.org", { ...failure, atMs: START_MS - 2 * DAY_MS, askedMs: START_MS + DAY_MS });
    await store.keepFailure("old.example.org", { ...failure, atMs: START_MS - DAY_MS });
    await store.keepFailure("ahead.example.org", { ...failure, atMs: START_MS + 1 });
    expect(statSync(store.failurePathOf("*.example.org")).mode & 0o777).toBe(0o600);
    const { failures, problems } = await store.load(START_MS);
    expect([...failures.keys()]).toEqual(["*.example.org", "b.example.org"]);
    expect(failures.get("*.example.org")).toEqual(failure);
    expect(failures.get("b.example.org")?.askedMs).toBe(START_MS + DAY_MS);
    expect(problems).toEqual([]);
    await store.forgetFailure("b.example.org");
    await store.forgetFailure("b.example.org");
    expect(readdirSync(store.directory).toSorted()).toEqual(["+.example.org.failed", "b.example.org.pem"]);
  });

  test("tells which failures it cannot read, and removes them", async () => {
    await store.write("a.example.org", await newCertificate(["a.example.org"]));
    const good = { reason: "r", failures: 1, failed: new Date(START_MS).toISOString(), next: new Date(START_MS).toISOString(), asked: null, holdsOthers: false, setup: "" };
    const broken = ["", "garbage", "null", "7", "[]", JSON.stringify({ ...good, failures: 0 }), JSON.stringify({ ...good, failures: "1" }), JSON.stringify({ ...good, failed: "soon" }),
      JSON.stringify({ ...good, next: null }), JSON.stringify({ ...good, asked: "never" }), JSON.stringify({ ...good, setup: undefined }), JSON.stringify({ ...good, reason: "x".repeat(20_000) })];
    broken.forEach((text, index) => writeFileSync(store.failurePathOf(`n${index}.example.org`), text));
    writeFileSync(store.failurePathOf("good.example.org"), JSON.stringify(good));
    const { certificates, failures, problems } = await store.load(START_MS);
    expect([certificates.size, [...failures.keys()]]).toEqual([1, ["good.example.org"]]);
    expect(problems).toHaveLength(broken.length);
    expect(readdirSync(store.directory).toSorted()).toEqual(["a.example.org.pem", "good.example.org.failed"]);
  });

  test("is empty where there is no directory", async () => {
    expect(await store.load()).toEqual({ certificates: new Map(), failures: new Map(), problems: [] });
    expect(await store.read("a.example.org")).toBeNull();
  });

  test("keeps what has ended, and removes what ended long ago", async () => {
    await store.write("a.example.org", await newCertificate(["a.example.org"]));
    expect((await store.load(START_MS + 119 * DAY_MS)).certificates.size).toBe(1);
    expect((await store.load(START_MS + 121 * DAY_MS)).certificates.size).toBe(0);
    expect(readdirSync(store.directory)).toEqual([]);
  });

  test("removes the locks of names that were given up", async () => {
    await store.exclusively("a.example.org", never, async () => store.write("a.example.org", await newCertificate(["a.example.org"], Date.now)));
    await store.exclusively("b.example.org", never, async () => {});
    await store.load(Date.now() + 29 * DAY_MS);
    expect(readdirSync(store.directory).toSorted()).toEqual(["a.example.org.lock", "a.example.org.pem", "b.example.org.lock"]);
    await store.load(Date.now() + 31 * DAY_MS);
    expect(readdirSync(store.directory).toSorted()).toEqual(["a.example.org.lock", "a.example.org.pem"]);
  });

  for (const name of ["", ".", "..", "../x", "a/b", "a\0b", "*", "*.", "a.*.example.org", "*.*.example.org", "A.example.org", "a_b.example.org", "-a.example.org", "a..b", `${"a".repeat(64)}.org`, `${"a.".repeat(127)}org`]) {
    test(`takes ${JSON.stringify(name.slice(0, 70))} for no name of a certificate`, async () => {
      expect(() => store.pathOf(name)).toThrow("no certificate can ever be had for");
    });
  }

  test("says so when it cannot be written: before anything is asked for", async () => {
    writeFileSync(join(root, "certificates"), "a file");
    let isRun = false;
    await expect(store.exclusively("a.example.org", never, async () => { isRun = true; })).rejects.toThrow(`cannot make the directory ${store.directory}: what stands before a slash is not a directory`);
    await expect(store.write("a.example.org", await newCertificate(["a.example.org"]))).rejects.toThrow(`cannot make the directory ${store.directory}: what stands before a slash is not a directory`);
    expect(isRun).toBe(false);
  });

  test("lets one job of a name run at a time, and jobs of other names meanwhile", async () => {
    const order: string[] = [];
    const first = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const one = store.exclusively("a.example.org", never, async () => { order.push("one"); begun.resolve(); await first.promise; order.push("one ends"); });
    await begun.promise;
    const two = store.exclusively("a.example.org", never, async () => { order.push("two"); });
    await store.exclusively("b.example.org", never, async () => { order.push("other"); });
    first.resolve();
    await Promise.all([one, two]);
    expect(order).toEqual(["one", "other", "one ends", "two"]);
  });

  test("gives the place to the next one when a job fails, and lets go who will not wait", async () => {
    await expect(store.exclusively("a.example.org", never, () => Promise.reject(new Error("failed")))).rejects.toThrow("failed");
    await store.exclusively("a.example.org", never, async () => {
      const impatient = new AbortController();
      const waiting = store.exclusively("a.example.org", impatient.signal, async () => {});
      impatient.abort(new Error("enough"));
      await expect(waiting).rejects.toThrow("enough");
    });
  });
});
