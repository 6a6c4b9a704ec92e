import { describe, expect, test } from "bun:test";
import { gunzipSync } from "node:zlib";
import { Compressors } from "../../src/compression/compressors.ts";
import { PushedSource, records, streamOf } from "./bodies.ts";

const open = (compressors: Compressors, source: PushedSource): ReadableStream<Uint8Array> | null => compressors.stream(source.stream, "gzip", 5, { flush: true });

describe("compressors", () => {
  test("over the limit an answer stays plain and its body untouched", () => {
    const compressors = new Compressors(2);
    const sources = [new PushedSource(), new PushedSource(), new PushedSource()] as const;
    expect([open(compressors, sources[0]) === null, open(compressors, sources[1]) === null, open(compressors, sources[2]) === null]).toEqual([false, false, true]);
    expect(sources[2].stream.locked).toBe(false);
    expect([compressors.open, compressors.refused]).toEqual([2, 1]);
  });

  test("a place is free again after an end, an error, and a cancel", async () => {
    const compressors = new Compressors(1);
    const ended = new PushedSource();
    const body = new Response(open(compressors, ended)).bytes();
    ended.push("x");
    ended.end();
    expect(gunzipSync(await body).toString()).toBe("x");
    expect(compressors.open).toBe(0);

    const failed = new PushedSource();
    const reading = new Response(open(compressors, failed)).bytes();
    failed.fail(new Error("died"));
    expect(await reading.then(() => "whole", (error: Error) => error.message)).toBe("died");
    expect(compressors.open).toBe(0);

    await open(compressors, new PushedSource())?.cancel();
    expect(compressors.open).toBe(0);
  });

  test("collected bodies count while they are compressed", async () => {
    const compressors = new Compressors(1);
    const body = records(50_000);
    const first = compressors.bytes(body, "gzip", 5);
    expect(compressors.bytes(body, "gzip", 5)).toBeNull();
    expect(gunzipSync(await (first as Promise<Uint8Array>))).toHaveLength(body.length);
    expect(compressors.open).toBe(0);
    await expect(compressors.bytes(body, "gzip", 99) as Promise<Uint8Array>).rejects.toThrow();
    expect(compressors.open).toBe(0);
  });

  test("a stream that cannot be made leaves its place", () => {
    const compressors = new Compressors(1);
    expect(() => compressors.stream(streamOf(records(10), 1), "gzip", 99, { flush: true })).toThrow();
    expect(compressors.open).toBe(0);
  });

  test("a limit of nothing switches it off", () => {
    expect(new Compressors(0).bytes(records(5000), "zstd", 3)).toBeNull();
  });
});
