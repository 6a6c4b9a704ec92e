import { describe, expect, test } from "bun:test";
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from "node:zlib";
import { compressBytes, compressStream } from "../../src/compression/compress.ts";
import { DEFAULT_LEVELS, ENCODINGS, type Encoding } from "../../src/compression/encoding.ts";
import { Decoder, noise, PushedSource, records, streamOf } from "./bodies.ts";

const DECODE: Readonly<Record<Encoding, (body: Uint8Array) => Uint8Array>> = { gzip: gunzipSync, br: brotliDecompressSync, zstd: zstdDecompressSync };
const JSON_BODY = records(100 * 1024);
const whole = (stream: ReadableStream<Uint8Array>): Promise<Uint8Array> => new Response(stream).bytes();
const same = (found: Uint8Array, expected: Uint8Array): boolean => Buffer.compare(found, expected) === 0;

describe.each([...ENCODINGS])("%s", (encoding) => {
  const level = DEFAULT_LEVELS[encoding];
  const compressed = (body: ReadableStream<Uint8Array>, flush = true, isLongLived = false): ReadableStream<Uint8Array> => compressStream(body, encoding, level, { flush, isLongLived });

  test.each([0, 1, 2048, 8192, 8193, 12_289, 65_536, 65_537, 1_000_000])("a collected body of %d bytes comes back as it was", async (bytes) => {
    for (const body of [records(bytes).subarray(0, bytes), noise(bytes)]) expect(same(DECODE[encoding](await compressBytes(body, encoding, level)), body)).toBe(true);
  });

  test("a list of records becomes at least three times shorter", async () => {
    expect((await compressBytes(JSON_BODY, encoding, level)).length).toBeLessThan(JSON_BODY.length / 3);
    expect((await whole(compressed(streamOf(JSON_BODY, 16_384)))).length).toBeLessThan(JSON_BODY.length / 3);
  });

  test.each([[1000, true, false], [16_384, true, false], [16_384, false, false], [65_536, false, true], [1_000_000, true, true]])("a body streamed in chunks of %d comes back as it was (flush %p, long-lived %p)", async (chunk, flush, isLongLived) => {
    expect(same(DECODE[encoding](await whole(compressed(streamOf(JSON_BODY, chunk), flush, isLongLived))), JSON_BODY)).toBe(true);
  });

  test("an empty stream is a whole, empty body", async () => {
    expect(DECODE[encoding](await whole(compressed(streamOf(new Uint8Array(), 1))))).toHaveLength(0);
  });

  test("a body much longer than every buffer comes back as it was", async () => {
    const body = Buffer.concat([noise(3_000_000), records(3_000_000)]);
    expect(same(DECODE[encoding](await whole(compressed(streamOf(body, 50_000)))), body)).toBe(true);
  });

  test("each event arrives before the next one is said", async () => {
    const source = new PushedSource();
    const reader = compressed(source.stream, true, true).getReader();
    const decoder = new Decoder(encoding);
    void (async () => { for (let read = await reader.read(); !read.done; read = await reader.read()) decoder.write(read.value); })();
    for (let i = 0; i < 50; i++) {
      source.push(`id: ${i}\ndata: {"n":${i}}\n\n`);
      await decoder.until(`data: {"n":${i}}\n\n`);
    }
    source.end();
    await reader.closed;
    decoder.close();
  }, 10_000);

  test("a source that is always ahead is not flushed for each chunk", async () => {
    const flushed = await whole(compressed(streamOf(JSON_BODY, 500), true));
    const unflushed = await whole(compressed(streamOf(JSON_BODY, 500), false));
    expect(flushed.length).toBeLessThan(unflushed.length * 1.02);
  });

  test("an error of the source is an error of the result, after what came before it", async () => {
    const source = new PushedSource();
    const reader = compressed(source.stream).getReader();
    source.push("first line\n");
    expect((await reader.read()).done).toBe(false);
    source.fail(new Error("upstream died"));
    const end = await (async () => { for (;;) if ((await reader.read()).done) return "clean end"; })().catch((error: Error) => error.message);
    expect(end).toBe("upstream died");
  });

  test("cancelling the result cancels the source with the same reason, and frees the compressor once", async () => {
    const source = new PushedSource();
    let closed = 0;
    const reader = compressStream(source.stream, encoding, level, { flush: true, closed: () => { closed += 1; } }).getReader();
    source.push("line\n");
    await reader.read();
    await reader.cancel("client left");
    expect([source.cancelled, closed]).toEqual(["client left", 1]);
  });

  test("cancelling while chunks are under way does so as well", async () => {
    let closed = 0;
    let cancelled = false;
    const busy = new ReadableStream<Uint8Array>({ pull: (controller) => controller.enqueue(noise(65_536)), cancel: () => { cancelled = true; } });
    await compressStream(busy, encoding, level, { flush: true, closed: () => { closed += 1; } }).cancel();
    expect([cancelled, closed]).toEqual([true, 1]);
  });

  test("a client that does not read stops the source", async () => {
    let sent = 0;
    const source = new ReadableStream<Uint8Array>({ async pull(controller) { await Bun.sleep(0); sent += 65_536; controller.enqueue(noise(65_536)); } });
    const reader = compressed(source).getReader();
    await reader.read();
    // It stands still when nothing was taken from the source for long enough to have taken megabytes.
    let before = -1;
    while (before !== sent) {
      before = sent;
      await Bun.sleep(100);
    }
    expect(sent).toBeLessThan(1_000_000);
    for (let i = 0; i < 40; i++) await reader.read();
    expect(sent).toBeGreaterThan(before);
    await reader.cancel();
  });

  test("a level that there is not is refused, and the body is left alone", async () => {
    const source = streamOf(JSON_BODY, 1000);
    expect(() => compressStream(source, encoding, 1000, { flush: false })).toThrow();
    expect(source.locked).toBe(false);
    await expect(compressBytes(JSON_BODY, encoding, 1000)).rejects.toThrow();
  });
});
