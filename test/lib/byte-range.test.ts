import { describe, expect, test } from "bun:test";
import { type ByteRange, byteRange } from "../../src/lib/byte-range.ts";

const range = (first: number, last: number): ByteRange => ({ first, last });

describe("a Range of a file of 10,000 bytes", () => {
  // RFC 9110 section 14.1.2 and around.
  const CASES: ReadonlyArray<readonly [field: string | undefined, found: ByteRange | "whole" | "unsatisfiable"]> = [
    [undefined, "whole"], ["", "whole"], ["bytes=0-499", range(0, 499)], ["bytes=500-999", range(500, 999)], ["bytes=-500", range(9500, 9999)], ["bytes=9500-", range(9500, 9999)],
    ["bytes=0-0", range(0, 0)], ["bytes=-1", range(9999, 9999)], ["bytes=9999-9999", range(9999, 9999)], ["bytes=0-", range(0, 9999)], ["bytes=0-9999", range(0, 9999)],
    // Longer than the file.
    ["bytes=0-10000", range(0, 9999)], ["bytes=9000-99999999999999999999999", range(9000, 9999)], ["bytes=-10000", range(0, 9999)], ["bytes=-99999999999999999999999", range(0, 9999)],
    // None of it.
    ["bytes=10000-", "unsatisfiable"], ["bytes=10000-10001", "unsatisfiable"], ["bytes=99999999999999999999999-", "unsatisfiable"], ["bytes=-0", "unsatisfiable"],
    // Spelled differently.
    ["Bytes=0-1", range(0, 1)], ["bytes= 0-1 ", range(0, 1)], ["bytes=00-01", range(0, 1)],
    // Several.
    ["bytes=0-0,-1", "whole"], ["bytes=0-1, 5-6", "whole"], ["bytes=0-1,", "whole"], [`bytes=${"0-,".repeat(1000)}0-`, "whole"],
    // Malformed, or not of bytes: as if it were not there.
    ["bytes=5-4", "whole"], ["bytes=-", "whole"], ["bytes=", "whole"], ["bytes", "whole"], ["bytes=a-b", "whole"], ["bytes=1-2-3", "whole"], ["bytes=--1", "whole"], ["bytes=+1-2", "whole"],
    ["bytes=0x1-2", "whole"], ["bytes=1.5-2", "whole"], ["bytes 0-1", "whole"], ["bytes:0-1", "whole"], ["items=0-1", "whole"], ["0-1", "whole"], ["bytes=0 -1", "whole"], ["bytes=٣-٤", "whole"],
  ];
  test.each(CASES)("%p: %p", (field, found) => {
    expect(byteRange(field, 10_000)).toEqual(found);
  });

  test("of an empty file there is no first byte; its last ones are all of it", () => {
    expect(["bytes=0-", "bytes=0-0", "bytes=-0", "bytes=-5"].map((field) => byteRange(field, 0))).toEqual(["unsatisfiable", "unsatisfiable", "unsatisfiable", "whole"]);
  });
});
