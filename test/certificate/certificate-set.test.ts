import { describe, expect, test } from "bun:test";
import type { Certificate } from "../../src/certificate.ts";
import { CertificateSet } from "../../src/certificate/certificate-set.ts";

function certificate(fingerprint: string, ...names: string[]): Certificate {
  return { names, fingerprint, certPem: "", keyPem: "", issuer: "", notBeforeMs: 0, notAfterMs: 0 };
}

function setOf(...certificates: Certificate[]): CertificateSet {
  const set = new CertificateSet();
  for (const each of certificates) set.put(each);
  return set;
}

const found = (set: CertificateSet, name: string): string | null => set.find(name)?.fingerprint ?? null;

describe("CertificateSet", () => {
  test("finds an exact name before a wildcard, whichever was put first", () => {
    const [wildcard, exact] = [certificate("wildcard", "*.example.org"), certificate("exact", "a.example.org")];
    for (const set of [setOf(wildcard, exact), setOf(exact, wildcard)]) {
      expect(found(set, "a.example.org")).toBe("exact");
      expect(found(set, "b.example.org")).toBe("wildcard");
    }
  });

  test("prefers what has not ended, and takes what has where there is nothing else", () => {
    const ending = (fingerprint: string, notAfterMs: number, name: string): Certificate => ({ ...certificate(fingerprint, name), notAfterMs });
    let nowMs = 1000;
    const set = new CertificateSet(() => nowMs);
    for (const each of [ending("wildcard", 2000, "*.example.org"), ending("lasting", 1500, "a.example.org"), ending("short", 1001, "a.example.org")]) set.put(each);
    for (const [ms, fingerprint] of [[1000, "short"], [1001, "lasting"], [1499, "lasting"], [1500, "wildcard"], [1999, "wildcard"], [2000, "short"]] as const) {
      nowMs = ms;
      expect(found(set, "a.example.org")).toBe(fingerprint);
    }
    expect(found(set, "b.example.org")).toBe("wildcard");
  });

  test("lets a wildcard stand for one label, and not for none", () => {
    const set = setOf(certificate("wildcard", "*.example.org"));
    for (const name of ["example.org", "a.b.example.org", ".example.org", "org", "", ".", "aexample.org"]) expect(found(set, name)).toBeNull();
  });

  test("compares without case and without the dot at the end", () => {
    const set = setOf(certificate("one", "a.example.org"));
    expect(found(set, "A.Example.ORG")).toBe("one");
    expect(found(set, "a.example.org.")).toBe("one");
    expect(found(set, "a.example.org..")).toBeNull();
  });

  test("finds nothing by names that objects have", () => {
    for (const name of ["constructor", "__proto__", "toString.example.org"]) expect(found(setOf(certificate("one", "a.example.org")), name)).toBeNull();
  });

  test("serves the one that was put last, and the earlier one again when that is removed", () => {
    const [first, second] = [certificate("first", "a.example.org"), certificate("second", "a.example.org", "b.example.org")];
    const set = setOf(first, second);
    expect(found(set, "a.example.org")).toBe("second");
    set.remove(second);
    expect(found(set, "a.example.org")).toBe("first");
    expect(found(set, "b.example.org")).toBeNull();
    expect(set.all()).toEqual([first]);
  });

  test("replaces one by another at once: no listener ever sees neither", () => {
    const [old, fresh] = [certificate("old", "a.example.org"), certificate("fresh", "a.example.org")];
    const set = setOf(old);
    const seen: Array<string | null> = [];
    set.onChange(() => seen.push(found(set, "a.example.org")));
    set.replace(old, fresh);
    expect(seen).toEqual(["fresh"]);
    expect(set.all()).toEqual([fresh]);
  });

  test("tells of changes only, and only those who still listen", () => {
    const one = certificate("one", "a.example.org");
    const set = new CertificateSet();
    let changes = 0;
    const end = set.onChange(() => changes++);
    set.remove(one);
    expect(changes).toBe(0);
    set.put(one);
    set.remove(one);
    expect(changes).toBe(2);
    end();
    set.put(one);
    expect(changes).toBe(2);
  });

  test("finds each of ten thousand", () => {
    const many = Array.from({ length: 10_000 }, (_, index) => certificate(`c${index}`, `n${index}.example.org`, `*.n${index}.example.org`));
    const set = setOf(...many);
    expect(many.every(({ fingerprint }, index) => found(set, `n${index}.example.org`) === fingerprint && found(set, `x.n${index}.example.org`) === fingerprint)).toBe(true);
    for (const each of many) set.remove(each);
    expect(set.all()).toEqual([]);
  });
});
