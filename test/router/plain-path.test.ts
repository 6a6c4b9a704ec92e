// The plainest spelling of a path: what need not be encoded is not, and nothing else changes.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { plainPath } from "../../src/router/plain-path.ts";

describe("the plain spelling", () => {
  test("decodes unreserved characters and the slash, and no other byte (RFC 3986 section 2.3)", () => {
    for (let byte = 0; byte < 256; byte += 1) {
      const character = String.fromCharCode(byte);
      for (const hex of [byte.toString(16).padStart(2, "0"), byte.toString(16).padStart(2, "0").toUpperCase()]) {
        expect(plainPath(`/a%${hex}b`)).toBe(/[A-Za-z0-9\-._~/]/.test(character) ? `/a${character}b` : `/a%${hex}b`);
      }
    }
  });

  test.each([
    ["//secret", "/secret"], ["/a///b//", "/a/b/"], ["/%2f%2Fa", "/a"], ["/a;x=1/b;y", "/a/b"], ["/;/a", "/a"], ["/a%3bx/b", "/a%3bx/b"],
    ["/%2573", "/%2573"], ["/%zz%7", "/%zz%7"], ["/plain/path.html", "/plain/path.html"], ["/", "/"],
  ])("of %s is %s", (path, plain) => {
    expect(plainPath(path)).toBe(plain);
  });

  test("has no doubled slash and no parameter, whatever it is made of", () => {
    const pieces = fc.array(fc.constantFrom("/", "//", "a", "%61", "%2f", "%25", ";x", "%3b", "~", "%zz", "."), { maxLength: 12 });
    fc.assert(fc.property(pieces, (path) => {
      const plain = plainPath(`/${path.join("")}`);
      expect(plain.startsWith("/")).toBe(true);
      expect(plain).not.toMatch(/\/\/|;/);
    }));
  });
});
