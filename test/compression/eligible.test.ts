import { describe, expect, test } from "bun:test";
import { type AnswerHead, isCompressible, isEventStream, MINIMUM_BYTES } from "../../src/compression/eligible.ts";

const answer = (headers: Record<string, string>, rest: Partial<AnswerHead> = {}): AnswerHead => ({ status: 200, contentLength: 10_000, ...rest, headers: Object.entries(headers) });
const typed = (type: string): AnswerHead => answer({ "content-type": type });

describe("isCompressible", () => {
  test.each(["text/html", "text/html; charset=utf-8", "TEXT/HTML", "text/html;charset=x", " text/css ", "text/event-stream", "text/x-whatever", "application/json",
    "application/problem+json", "application/vnd.api+json;v=1", "application/javascript", "text/javascript", "application/x-javascript", "image/svg+xml", "application/xml",
    "application/rss+xml", "application/xhtml+xml", "application/wasm", "application/manifest+json", "font/ttf", "font/otf", "application/vnd.ms-fontobject", "application/x-ndjson",
  ])("%s is compressed", (type) => {
    expect(isCompressible(typed(type))).toBe(true);
  });

  test.each(["image/png", "image/jpeg", "video/mp4", "audio/mpeg", "font/woff", "font/woff2", "application/zip", "application/gzip", "application/octet-stream", "application/pdf",
    "application/grpc-web", "multipart/byteranges; boundary=x", "multipart/x-mixed-replace", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "text/", "text", "",
    "application/jsonx", "x/y+jsonp", "application/json, text/html",
  ])("%p is not", (type) => {
    expect(isCompressible(typed(type))).toBe(false);
  });

  test("an answer that says nothing about itself is not", () => {
    expect(isCompressible(answer({}))).toBe(false);
  });

  test.each([[0, false], [MINIMUM_BYTES - 1, false], [MINIMUM_BYTES, true], [1e9, true], [null, true]] as const)("with %p bytes: %p", (contentLength, expected) => {
    expect(isCompressible(answer({ "content-type": "text/plain" }, { contentLength }))).toBe(expected);
  });

  test.each([[200, true], [201, true], [203, true], [301, true], [404, true], [500, true], [101, false], [204, false], [205, false], [206, false], [304, false]])("status %d: %p", (status, expected) => {
    expect(isCompressible(answer({ "content-type": "text/plain" }, { status }))).toBe(expected);
  });

  test.each([
    [{ "content-encoding": "gzip" }], [{ "content-encoding": "aws-chunked" }], [{ "content-encoding": "identity" }], [{ "content-range": "bytes 0-5/10" }],
    [{ "cache-control": "no-transform" }], [{ "cache-control": "public, No-Transform,max-age=3" }], [{ "cache-control": "max-age=3 , no-transform " }],
  ])("not with %p", (headers: Record<string, string>) => {
    expect(isCompressible(answer({ "content-type": "text/plain", ...headers }))).toBe(false);
  });

  test("with a Cache-Control of another kind it is", () => {
    expect(isCompressible(answer({ "content-type": "text/plain", "cache-control": "public, x-no-transform, max-age=1" }), "no-cache")).toBe(true);
  });

  test("not when the client asks that nothing be transformed", () => {
    expect(isCompressible(typed("text/plain"), "no-cache, no-transform")).toBe(false);
  });
});

describe("isEventStream", () => {
  test.each([["text/event-stream", true], ["Text/Event-Stream; charset=utf-8", true], ["text/html", false], ["text/event-streams", false], [undefined, false]] as const)("%p: %p", (type, expected) => {
    expect(isEventStream(type)).toBe(expected);
  });
});
