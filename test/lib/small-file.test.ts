import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readSmallFile } from "../../src/lib/small-file.ts";

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "small-file-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function file(name: string, content: string | Uint8Array): string {
  writeFileSync(join(root, name), content);
  return join(root, name);
}

describe("a small file", () => {
  test("is read byte for byte", () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
    expect(Buffer.from(readSmallFile(file("bytes", bytes), 256, "key"), "latin1").equals(bytes)).toBe(true);
    expect(readSmallFile(file("empty", ""), 10, "key")).toBe("");
  });

  test("may have as many bytes as the limit, and not one more", () => {
    const path = file("limit", "x".repeat(11));
    expect(readSmallFile(path, 11, "key")).toBe("x".repeat(11));
    expect(() => readSmallFile(path, 10, "secret")).toThrow("it has 11 bytes, more than any secret (10)");
  });

  test("is found behind a link", () => {
    symlinkSync(file("real", "text"), join(root, "link"));
    expect(readSmallFile(join(root, "link"), 10, "key")).toBe("text");
  });

  test("is not read when it is a directory or a device, which would have no end", () => {
    for (const path of [root, "/dev/zero"]) expect(() => readSmallFile(path, 10, "key")).toThrow("it is not a file");
  });

  test.skipIf(Bun.which("mkfifo") === null)("is not waited for when it is a fifo that nobody writes to", () => {
    const fifo = join(root, "fifo");
    expect(Bun.spawnSync(["mkfifo", fifo]).exitCode).toBe(0);
    expect(() => readSmallFile(fifo, 10, "key")).toThrow("it is not a file");
  });

  test("that is absent, or behind a link to nothing, is the file system's own error", () => {
    symlinkSync(join(root, "nowhere"), join(root, "broken"));
    for (const path of [join(root, "absent"), join(root, "broken")]) expect(() => readSmallFile(path, 10, "key")).toThrow(expect.objectContaining({ code: "ENOENT" }));
  });

  test.skipIf(process.getuid?.() === 0)("that may not be read is the file system's own error", () => {
    const path = file("closed", "x");
    chmodSync(path, 0o000);
    expect(() => readSmallFile(path, 10, "key")).toThrow(expect.objectContaining({ code: "EACCES" }));
  });
});
