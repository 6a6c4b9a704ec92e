import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { startWebsite, type Website } from "../../src/demo/website.ts";

type Hash = { update(bytes: Uint8Array): Hash; hex(): string };
type Source = { name: string; size: number; id: string };

// The page's scripts are plain JavaScript for browsers; these two need none of a browser's own parts.
const { Sha256 } = await import("../../src/demo/page/sha256.js" as string) as { Sha256: new () => Hash };
const { fileSource, readSource, sampleSource } = await import("../../src/demo/page/source.js" as string) as {
  fileSource(file: File): Source;
  readSource(source: Source, start: number, end: number): Promise<Uint8Array>;
  sampleSource(mebibytes: number, seed: number): Source;
};

const reference = (bytes: Uint8Array) => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

describe("the page's SHA-256", () => {
  test.each([0, 1, 3, 54, 55, 56, 57, 63, 64, 65, 119, 120, 128, 1000, 70_001])("is right for %d bytes", (length) => {
    const bytes = Uint8Array.from({ length }, (_, index) => (index * 7 + length) & 255);
    expect(new Sha256().update(bytes).hex()).toBe(reference(bytes));
  });

  test("does not depend on how the bytes are cut", () => {
    const bytes = Uint8Array.from({ length: 1000 }, (_, index) => index & 255);
    for (const cut of [1, 7, 31, 63, 64, 65, 200]) {
      const hash = new Sha256();
      for (let at = 0; at < bytes.length; at += cut) hash.update(bytes.subarray(at, at + cut));
      expect(hash.hex()).toBe(reference(bytes));
    }
  });
});

describe("the page's upload sources", () => {
  test("a sample is the same bytes however it is cut, and other bytes in every block", async () => {
    const source = sampleSource(1, 42);
    const whole = await readSource(source, 0, source.size);
    expect(whole.length).toBe(1024 ** 2);
    expect(await readSource(source, 65_530, 65_550)).toEqual(whole.slice(65_530, 65_550));
    const block = (index: number) => reference(whole.subarray(index * 65_536, (index + 1) * 65_536));
    const blocks = Array.from({ length: 16 }, (_, index) => block(index));
    expect(new Set(blocks).size).toBe(16);
  });

  test("a file is read where it was asked", async () => {
    const source = fileSource(new File(["hello world"], "greeting.txt", { lastModified: 5 }));
    expect(source).toMatchObject({ name: "greeting.txt", size: 11, id: "11-5-greeting.txt" });
    expect(new TextDecoder().decode(await readSource(source, 6, 11))).toBe("world");
  });
});

describe("demo website", () => {
  let website: Website;
  beforeAll(() => { website = startWebsite(); });
  afterAll(() => website.stop());
  const get = (path: string) => fetch(`http://127.0.0.1:${website.port}${path}`);

  test("serves the page with a policy that allows nothing from elsewhere and nothing inline", async () => {
    const response = await get("/");
    expect(response.headers.get("content-type")).toBe("text/html; charset=utf-8");
    const policy = response.headers.get("content-security-policy");
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toContain("unsafe");
    const html = await response.text();
    expect(html).not.toMatch(/<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=/i);
    expect(html).not.toMatch(/(?:src|href)="(?!\/)/);
  });

  test("serves every file that the page and its scripts ask for", async () => {
    const wanted = ["/"];
    for (let at = 0; at < wanted.length; at++) {
      const response = await get(wanted[at]!);
      expect([wanted[at], response.status]).toEqual([wanted[at], 200]);
      const text = await response.text();
      for (const match of text.matchAll(/(?:src="|href="|from "|Worker\(")\.?(\/[\w.-]+)"/g)) {
        if (!wanted.includes(match[1]!)) wanted.push(match[1]!);
      }
    }
    expect(wanted).toContain("/sha256.js");
    expect(wanted.length).toBeGreaterThan(10);
  });

  test("serves nothing else", async () => {
    expect((await get("/website.ts")).status).toBe(404);
    expect((await get("/constructor")).status).toBe(404);
  });
});
