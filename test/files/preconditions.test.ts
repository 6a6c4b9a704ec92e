import { describe, expect, test } from "bun:test";
import { failedPrecondition, mayServeRange, type Validators, validatorsOf } from "../../src/files/preconditions.ts";

const NOW_MS = Date.UTC(2026, 10, 21);
const STRONG: Validators = { etag: "\"a\"", modifiedMs: Date.UTC(2026, 9, 1, 12), isSettled: true };
const WEAK: Validators = { ...STRONG, etag: "W/\"a\"", isSettled: false };
const [BEFORE, SAME, AFTER] = ["Thu, 01 Oct 2026 11:59:59 GMT", "Thu, 01 Oct 2026 12:00:00 GMT", "Thu, 01 Oct 2026 12:00:01 GMT"] as const;

describe("preconditions, in the order of RFC 9110 section 13.2.2", () => {
  const CASES: ReadonlyArray<readonly [headers: Record<string, string>, strong: 304 | 412 | null, weak: 304 | 412 | null]> = [
    [{}, null, null],
    // If-None-Match compares weakly.
    [{ "if-none-match": "\"a\"" }, 304, 304], [{ "if-none-match": "W/\"a\"" }, 304, 304], [{ "if-none-match": "\"b\"" }, null, null], [{ "if-none-match": "\"b\", \"a\"" }, 304, 304],
    [{ "if-none-match": "\"b\",W/\"a\" , \"c\"" }, 304, 304], [{ "if-none-match": "*" }, 304, 304], [{ "if-none-match": " * " }, 304, 304], [{ "if-none-match": "a" }, null, null],
    [{ "if-none-match": "\"A\"" }, null, null], [{ "if-none-match": "" }, null, null], [{ "if-none-match": "\"a, b\"" }, null, null], [{ "if-none-match": "\"x\"a\"\"" }, null, null],
    // If-Modified-Since only counts without it.
    [{ "if-modified-since": BEFORE }, null, null], [{ "if-modified-since": SAME }, 304, 304], [{ "if-modified-since": AFTER }, 304, 304], [{ "if-modified-since": "yesterday" }, null, null],
    [{ "if-modified-since": "1" }, null, null], [{ "if-none-match": "\"b\"", "if-modified-since": AFTER }, null, null], [{ "if-none-match": "\"a\"", "if-modified-since": BEFORE }, 304, 304],
    // If-Match compares strongly.
    [{ "if-match": "\"a\"" }, null, 412], [{ "if-match": "W/\"a\"" }, 412, 412], [{ "if-match": "\"b\"" }, 412, 412], [{ "if-match": "\"b\", \"a\"" }, null, 412], [{ "if-match": "*" }, null, null],
    [{ "if-match": "a" }, 412, 412],
    // If-Unmodified-Since only counts without it.
    [{ "if-unmodified-since": BEFORE }, 412, 412], [{ "if-unmodified-since": SAME }, null, null], [{ "if-unmodified-since": AFTER }, null, null], [{ "if-unmodified-since": "x" }, null, null],
    [{ "if-match": "*", "if-unmodified-since": BEFORE }, null, null],
    // 412 before 304.
    [{ "if-match": "\"b\"", "if-none-match": "\"a\"" }, 412, 412], [{ "if-match": "*", "if-none-match": "\"a\"" }, 304, 304], [{ "if-unmodified-since": BEFORE, "if-modified-since": AFTER }, 412, 412],
  ];
  test.each(CASES)("%p: %p of a settled file, %p of a fresh one", (headers, strong, weak) => {
    expect([failedPrecondition(headers, STRONG, NOW_MS), failedPrecondition(headers, WEAK, NOW_MS)]).toEqual([strong, weak]);
  });
});

describe("If-Range", () => {
  const CASES: ReadonlyArray<readonly [field: string | undefined, strong: boolean, weak: boolean]> = [
    [undefined, true, true], ["\"a\"", true, false], ["W/\"a\"", false, false], ["\"b\"", false, false], ["*", false, false], ["", false, false], ["\"a\", \"b\"", false, false],
    [BEFORE, false, false], [SAME, true, false], [AFTER, false, false], ["Thu Oct  1 12:00:00 2026", false, false], ["nonsense", false, false],
  ];
  test.each(CASES)("%p fits a settled file: %p, a fresh one: %p", (field, strong, weak) => {
    expect([mayServeRange(field, STRONG), mayServeRange(field, WEAK)]).toEqual([strong, weak]);
  });
});

describe("validators", () => {
  const file = { fd: -1, size: 1234, modifiedMs: Date.UTC(2026, 9, 1, 12, 0, 0, 999), changedNs: BigInt(NOW_MS - 10_000) * 1_000_000n };

  test("are strong once the file has not changed for two seconds", () => {
    const etags = [8001, 8000, 0].map((agoMs) => validatorsOf(file, "", NOW_MS - agoMs).etag);
    expect(etags.map((etag) => etag.startsWith("W/"))).toEqual([true, false, false]);
    expect(new Set(etags.map((etag) => etag.replace("W/", ""))).size).toBe(1);
  });

  test("change with the size, the change time and the coding, by a nanosecond or a byte", () => {
    const all = [validatorsOf(file, "", NOW_MS), validatorsOf({ ...file, size: 1235 }, "", NOW_MS), validatorsOf({ ...file, changedNs: file.changedNs + 1n }, "", NOW_MS), validatorsOf(file, "br", NOW_MS), validatorsOf(file, "gzip", NOW_MS)];
    expect(new Set(all.map(({ etag }) => etag)).size).toBe(5);
    for (const { etag } of all) expect(etag).toMatch(/^"[\w-]+"$/);
  });

  test("say whole seconds, and never the future", () => {
    expect(validatorsOf(file, "", NOW_MS).modifiedMs).toBe(STRONG.modifiedMs);
    expect(validatorsOf({ ...file, modifiedMs: NOW_MS + 1e9 }, "", NOW_MS).modifiedMs).toBe(NOW_MS);
  });
});
