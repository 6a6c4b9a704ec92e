import { describe, expect, test } from "bun:test";
import { compressedHeaders, notModifiedHeaders, plainHeaders } from "../../src/compression/headers.ts";

type Pairs = Array<[string, string]>;

describe("the head of a compressed answer", () => {
  test("names the coding and what the answer depends on, and keeps everything else in its order", () => {
    const headers: Pairs = [["content-type", "text/plain"], ["set-cookie", "a=1"], ["set-cookie", "b=2"], ["x-y", "z"]];
    expect(compressedHeaders(headers, "br")).toEqual([...headers, ["vary", "Accept-Encoding"], ["content-encoding", "br"]]);
  });

  test.each(["content-length", "accept-ranges", "content-md5", "digest", "content-digest"])("has no %s: it was true of the plain bytes", (name) => {
    expect(compressedHeaders([[name, "x"]], "gzip").map(([name]) => name)).toEqual(["vary", "content-encoding"]);
  });

  test.each([["\"x\"", "W/\"x\""], ["W/\"x\"", "W/\"x\""], ["\"\"", "W/\"\""]])("ETag %s becomes %s", (etag, weak) => {
    expect(compressedHeaders([["etag", etag]], "gzip")).toContainEqual(["etag", weak]);
  });

  const VARY: ReadonlyArray<readonly [sent: string[], merged: string]> = [
    [[], "Accept-Encoding"], [["Origin"], "Origin, Accept-Encoding"], [["accept-encoding"], "accept-encoding"], [["Cookie, ACCEPT-ENCODING"], "Cookie, ACCEPT-ENCODING"],
    [["Origin", "Cookie"], "Origin, Cookie, Accept-Encoding"], [["*"], "*"], [["Origin, *"], "*"], [["Origin", "*"], "*"], [[""], "Accept-Encoding"], [[" , "], "Accept-Encoding"],
  ];
  test.each(VARY)("Vary %p becomes %p, compressed or not", (sent, merged) => {
    const headers = sent.map((value): [string, string] => ["vary", value]);
    expect(compressedHeaders(headers, "gzip").filter(([name]) => name === "vary")).toEqual([["vary", merged]]);
    expect(plainHeaders(headers)).toEqual([["vary", merged]]);
  });
});

describe("the head of an answer that stays plain", () => {
  test("keeps its length, its ranges and its strong ETag", () => {
    const headers: Pairs = [["content-length", "9999"], ["accept-ranges", "bytes"], ["etag", "\"x\""]];
    expect(plainHeaders(headers)).toEqual([...headers, ["vary", "Accept-Encoding"]]);
  });
});

describe("the head of a 304", () => {
  const CASES: ReadonlyArray<readonly [etag: string, ifNoneMatch: string | undefined, sent: string]> = [
    ["\"x\"", "W/\"x\"", "W/\"x\""], ["\"x\"", "\"x\"", "\"x\""], ["\"x\"", "\"y\", W/\"x\"", "W/\"x\""], ["\"x\"", "W/\"xx\"", "\"x\""], ["W/\"x\"", "W/\"x\"", "W/\"x\""], ["\"x\"", undefined, "\"x\""],
  ];
  test.each(CASES)("%s for a client that has %p says %s", (etag, ifNoneMatch, sent) => {
    const headers = notModifiedHeaders([["etag", etag]], ifNoneMatch);
    expect(headers.find(([name]) => name === "etag")?.[1]).toBe(sent);
    expect(headers.some(([name]) => name === "vary")).toBe(sent !== etag);
  });
});
