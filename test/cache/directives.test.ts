import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { fieldNames, parseDirectives, seconds } from "../../src/cache/directives.ts";

const TABLE: ReadonlyArray<readonly [field: string, expected: Record<string, string | null>]> = [
  ["", {}],
  [" , ,, ", {}],
  ["no-store", { "no-store": null }],
  ["No-StOrE", { "no-store": null }],
  ["max-age=60, public", { "max-age": "60", public: null }],
  ["max-age=60,public", { "max-age": "60", public: null }],
  ['max-age="60"', { "max-age": "60" }],
  ['private="a, b", max-age=1', { private: "a, b", "max-age": "1" }],
  ['extension="max-age=3600", max-age=1', { extension: "max-age=3600", "max-age": "1" }],
  ['max-age=1, extension="a\\", max-age=3600"', { "max-age": "1", extension: 'a", max-age=3600' }],
  // Of several, the first.
  ["max-age=1, max-age=3600", { "max-age": "1" }],
  // What surrounds "=" makes it another thing, and none that is understood.
  ["max-age =3600", { "max-age": " =3600" }],
  ["max-age= 3600", { "max-age": " 3600" }],
  ["max-age='3600'", { "max-age": "'3600'" }],
  ["max-age=3600;foo, public", { "max-age": "3600;foo", public: null }],
  ["max-age=60 no-store", { "max-age": "60 no-store" }],
  ['private="a', { private: ' "a' }],
  ["=foo, public", { public: null }],
  ['"quoted", public', { public: null }],
];

describe("directives", () => {
  for (const [field, expected] of TABLE) {
    test(`reads ${JSON.stringify(field)}`, () => {
      expect(Object.fromEntries(parseDirectives(field))).toEqual(expected);
    });
  }

  test("are none without the field", () => {
    expect(parseDirectives(undefined).size).toBe(0);
  });

  for (const [argument, expected] of [["0", 0], ["003600", 3600], ["2147483648", 2 ** 31], ["99999999999", 2 ** 31]] as const) {
    test(`count ${argument} as ${expected} seconds`, () => {
      expect(seconds(parseDirectives(`max-age=${argument}`), "max-age")).toBe(expected);
    });
  }

  for (const argument of ["", "-1", "1.5", "3600.0", "a60", "60a", "'60'", "1e3", "0x10", "+5", "60;x"]) {
    test(`take "${argument}" for no number of seconds`, () => {
      expect(seconds(parseDirectives(`max-age=${argument}`), "max-age")).toBeNaN();
    });
  }

  test("say nothing about what is not there", () => {
    expect(seconds(parseDirectives("public"), "max-age")).toBeNull();
    expect(seconds(parseDirectives("max-age"), "max-age")).toBeNaN();
  });

  test("name fields only where all of the list are names", () => {
    expect(fieldNames(parseDirectives('private="Set-Cookie, X-User"'), "private")).toEqual(["set-cookie", "x-user"]);
    for (const field of ["private", 'private=""', 'private=" , "', 'private="a b"', 'private="a', 'private="a" b']) {
      expect(fieldNames(parseDirectives(field), "private")).toBeNull();
    }
  });

  test("are found among anything else", () => {
    const noise = fc.stringMatching(/^[a-z0-9=;'\\ ]{0,20}$/);
    fc.assert(fc.property(fc.array(noise), fc.array(noise), (before, after) => {
      const parsed = parseDirectives([...before, "no-store", ...after].join(","));
      expect(parsed.has("no-store")).toBe(true);
    }));
  });

  test("are read in linear time", () => {
    const started = performance.now();
    for (const part of ['a="', 'a="\\', "a=,", '"', "=", "a ", ", "]) parseDirectives(part.repeat(20_000));
    expect(performance.now() - started).toBeLessThan(2000);
  });
});
