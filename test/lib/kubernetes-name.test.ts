import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { isLabelName, isSubdomainName } from "../../src/lib/kubernetes-name.ts";

fc.configureGlobal({ seed: 7 }); // The same cases every run: a failure can be looked at.

const HOSTILE = [
  "", "-", ".", "..", "...", "a..b", ".a", "a.", "-a", "a-", "a-.b", "a.-b", "A", "aB", "a_b", "a b", " a", "a ", "a\n", "\na", "a\r\nX: y", "a\0",
  "a/b", "/a", "../a", "a/../b", "a\\b", "%2e", "a%2fb", "a%2Fb", "a?b", "a#b", "a:80", "a@b", "a;b", "a&b", "a*", "{namespace}", "é", "а", "ａ", "a\u200b", "\ud800",
];

describe("a label", () => {
  test.each(["a", "0", "7-up", "lab-12", "a--b", "xn--e1afmkfd", "a".repeat(63), `${"a".repeat(31)}-${"b".repeat(31)}`])("takes %p", (name) => {
    expect(isLabelName(name)).toBe(true);
  });

  test.each([...HOSTILE, "a.b", "a".repeat(64)])("refuses %p", (name) => {
    expect(isLabelName(name)).toBe(false);
  });
});

describe("a subdomain", () => {
  const whole = `${"a".repeat(126)}.${"b".repeat(126)}`;

  test.each(["a", "0", "ubuntu-22.04", "a.b.c", "1.2.3.4", "a--b.c", "a".repeat(64), whole])("takes %p", (name) => {
    expect(isSubdomainName(name)).toBe(true);
  });

  test.each([...HOSTILE, `${whole}c`, "a".repeat(254), "a.".repeat(200)])("refuses %p", (name) => {
    expect(isSubdomainName(name)).toBe(false);
  });
});

describe("whatever is taken", () => {
  const piece = fc.constantFrom("a", "z", "0", "9", "-", ".", "..", "/", "%", "2f", "A", "_", "\n", "é");
  const text = fc.oneof(fc.array(piece, { maxLength: 20 }).map((pieces) => pieces.join("")), fc.string({ unit: "binary", maxLength: 300 }));

  test("is what the expression of Kubernetes takes", () => {
    const label = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
    fc.assert(fc.property(text, (name) => {
      expect(isLabelName(name)).toBe(name.length <= 63 && new RegExp(`^${label}$`).test(name));
      expect(isSubdomainName(name)).toBe(name.length <= 253 && new RegExp(`^${label}(\\.${label})*$`).test(name));
    }), { numRuns: 2000 });
  });

  test("stands in a URL as one segment, unchanged", () => {
    fc.assert(fc.property(text.filter(isSubdomainName), (name) => {
      expect(new URL(`http://api/namespaces/${name}/vnc`).pathname.split("/")).toEqual(["", "namespaces", name, "vnc"]);
    }), { numRuns: 300 });
  });
});
