import { describe, expect, test } from "bun:test";
import { contentType } from "../../src/files/content-type.ts";

describe("the content type of a file", () => {
  test.each([
    ["index.html", "text/html; charset=utf-8"], ["INDEX.HTM", "text/html; charset=utf-8"], ["a.css", "text/css; charset=utf-8"], ["a.js", "text/javascript; charset=utf-8"],
    ["a.min.mjs", "text/javascript; charset=utf-8"], ["a.json", "application/json; charset=utf-8"], ["a.js.map", "application/json; charset=utf-8"], ["a.svg", "image/svg+xml; charset=utf-8"],
    ["a.txt", "text/plain; charset=utf-8"], ["a.md", "text/markdown; charset=utf-8"], ["a.xml", "text/xml; charset=utf-8"], ["site.webmanifest", "application/manifest+json; charset=utf-8"],
    ["a.wasm", "application/wasm"], ["a.woff2", "font/woff2"], ["a.ttf", "font/ttf"], ["favicon.ico", "image/x-icon"], ["a.png", "image/png"], ["a.avif", "image/avif"], ["a.webp", "image/webp"],
    ["a.mp4", "video/mp4"], ["a.pdf", "application/pdf"], ["a.tar.gz", "application/gzip"], ["a.exe", "application/octet-stream"], ["a.ts", "application/octet-stream"],
    ["a.php", "application/octet-stream"], ["token-_1", "text/plain; charset=utf-8"], ["LICENSE", "text/plain; charset=utf-8"], ["a.b-c", "text/plain; charset=utf-8"], ["a.", "text/plain; charset=utf-8"],
    ["a.constructor", "application/octet-stream"],
  ])("%s: %s", (name, type) => {
    expect(contentType(name).value).toBe(type);
  });

  test("only what gets shorter is looked for in a compressed form", () => {
    expect(["a.html", "a.wasm", "a.svg", "a.json", "a.png", "a.woff2", "a.zip", "a.exe", "LICENSE"].filter((name) => contentType(name).isCompressible)).toEqual(["a.html", "a.wasm", "a.svg", "a.json"]);
  });
});
