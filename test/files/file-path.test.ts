import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { fileNames } from "../../src/files/file-path.ts";

describe("the names of a path", () => {
  const CASES: ReadonlyArray<readonly [path: string, names: string[]]> = [
    ["/", []], ["/a", ["a"]], ["/a/", ["a"]], ["/a/b.c", ["a", "b.c"]], ["/a%20b", ["a b"]], ["/%C3%A9%E2%82%AC", ["é€"]], ["/%F0%9F%98%80", ["😀"]], ["/100%25", ["100%"]],
    ["/a%252b", ["a%2b"]], ["/a+b", ["a+b"]], ["/a..b", ["a..b"]], ["/a.", ["a."]], ["/a;b=c", ["a;b=c"]], ["/%41", ["A"]], ["/a%3Fb%23c", ["a?b#c"]], ["/a~$&'()*,=:@!", ["a~$&'()*,=:@!"]],
    ["/.well-known/x", [".well-known", "x"]], ["/%2Ewell-known/x", [".well-known", "x"]],
  ];
  test.each(CASES)("%s is %p", (path, names) => {
    expect(fileNames(path)).toEqual(names);
  });

  test.each([
    // Climbing, in every spelling.
    "/..", "/../x", "/x/..", "/x/../y", "/.", "/./x", "/...", "/%2e%2e/x", "/%2E%2E/x", "/.%2e/x", "/%2e./x", "/%2e/x", "/x/%2e%2e", "/..%2fx", "/x%2f..%2fy", "/%2e%2e%2fx", "/..%5cx", "/..\\x", "/x\\..\\y",
    "/%252e%252e/x", "/%252E%252E%252Fx", "/..%252fx", "/%25%32%65%25%32%65/x", "/..;/x", "/..;x=y/z", "/.;/x",
    // Separators and NUL inside a name.
    "/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b", "/%5C%5Chost/share", "/a%00", "/a%00.html", "/a\0b", "/%00", "/a%2500",
    // Hidden.
    "/.git/config", "/.env", "/a/.env", "/%2eenv", "/a/.well-known/x", "/x/.", "/.well-known/.hidden", "/.well-known/..", "/.well-known2/x", "/.WELL-KNOWN/x",
    // Empty names: two servers might read them two ways.
    "//", "//x", "/x//y", "/x//", "///", "",
    // No path at all.
    "x", "x/y", "C:/x", "*",
    // Not UTF-8, not percent-encoding: overlong slash and dot, a lone surrogate, a cut sequence, Latin-1.
    "/%c0%af", "/%c0%ae%c0%ae/x", "/%e0%80%af", "/%f0%80%80%af", "/%ed%a0%80", "/%e2%82", "/%e9", "/%ff", "/%", "/%2", "/%zz", "/%u002e", "/a%2",
  ])("%p is refused", (path) => {
    expect(() => fileNames(path)).toThrow(expect.objectContaining({ code: "not_found" }));
  });

  test("no path whatsoever leads to a name that climbs or hides", () => {
    const piece = fc.constantFrom("/", ".", "..", "%2e", "%2f", "%5c", "\\", "%00", "%25", "2e", "%c0%ae", "a", ";", "%", "well-known");
    fc.assert(fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      let names: readonly string[];
      try {
        names = fileNames(`/${pieces.join("")}`);
      } catch {
        return;
      }
      for (const [i, name] of names.entries()) {
        expect(name).not.toMatch(/[/\\\0]/);
        expect(name === "" || (name.startsWith(".") && !(i === 0 && name === ".well-known"))).toBe(false);
      }
    }), { numRuns: 2000 });
  });
});
