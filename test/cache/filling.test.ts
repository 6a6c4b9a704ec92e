// A body on its way: who gets what of it, what is held, and how it ends.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type Filled, Filling } from "../../src/cache/filling.ts";
import { PushedBody } from "../support/cache-origin.ts";

const LIMIT = 1000;

class Room {
  reserved = 0;
  constructor(readonly limit = 10_000) {}
  reserve(bytes: number): boolean {
    if (this.reserved + bytes > this.limit) return false;
    this.reserved += bytes;
    return true;
  }
  release(bytes: number): void { this.reserved -= bytes; }
}

function fill(length: number | null, { room = new Room(), limit = LIMIT }: { room?: Room; limit?: number } = {}) {
  const body = new PushedBody();
  const ends: Filled[] = [];
  if (length !== null) room.reserve(length);
  const filling = new Filling(body.stream, length, limit, room, (filled) => ends.push(filled));
  return { body, ends, room, filling };
}

const turn = (): Promise<void> => Bun.sleep(0);
const text = (stream: ReadableStream<Uint8Array>): Promise<string> => new Response(stream).text();
const kinds = (ends: Filled[]): string[] => ends.map(({ kind }) => kind);

describe("a body on its way", () => {
  for (const length of [10, null]) {
    test(`with ${length === null ? "an unknown" : "a known"} length is whole in the end, and nothing stays reserved`, async () => {
      const { body, ends, room, filling } = fill(length);
      const client = text(filling.join());
      const done = filling.read();
      body.push("hello");
      await turn();
      expect(room.reserved).toBe(length ?? 5);
      body.push("world");
      body.end();
      await done;
      expect(await client).toBe("helloworld");
      expect(ends).toEqual([{ kind: "whole", bytes: new Uint8Array(Buffer.from("helloworld")) }]);
      expect(room.reserved).toBe(0);
    });
  }

  test("reaches those who come later from its beginning", async () => {
    const { body, filling } = fill(10);
    const first = text(filling.join());
    const done = filling.read();
    body.push("hello");
    await turn();
    const second = text(filling.join());
    body.push("world");
    body.end();
    await done;
    expect(await Promise.all([first, second])).toEqual(["helloworld", "helloworld"]);
  });

  test("is read to its end when everybody has left", async () => {
    const { body, ends, filling } = fill(10);
    const stream = filling.join();
    const done = filling.read();
    await stream.cancel();
    body.push("hello");
    await turn();
    body.push("world");
    body.end();
    await done;
    expect(kinds(ends)).toEqual(["whole"]);
  });

  for (const [what, length, break_] of [
    ["is cut", 10, (body: PushedBody) => body.cut()], ["ends early", 10, (body: PushedBody) => body.end()], ["is cut without a length", null, (body: PushedBody) => body.cut()],
    ["is longer than announced", 10, (body: PushedBody) => body.push("world and more")],
  ] as const) {
    test(`that ${what} is an error to everybody, and never whole`, async () => {
      const { body, ends, room, filling } = fill(length);
      const clients = [filling.join(), filling.join()].map(async (stream) => text(stream).then(() => "whole", () => "error"));
      const done = filling.read();
      body.push("hello");
      await turn();
      break_(body);
      await done;
      expect(await Promise.all(clients)).toEqual(["error", "error"]);
      expect([kinds(ends), room.reserved]).toEqual([["cut"], 0]);
    });
  }

  test("that outgrows the limit goes on to its reader, complete, and is not stored", async () => {
    const { body, ends, room, filling } = fill(null);
    const client = text(filling.join());
    const done = filling.read();
    for (let at = 0; at < 30; at += 1) {
      body.push("x".repeat(100));
      await turn();
    }
    expect(kinds(ends)).toEqual(["outgrown"]);
    body.end();
    await done;
    expect((await client).length).toBe(3000);
    expect([kinds(ends), room.reserved]).toEqual([["outgrown"], 0]);
  });

  test("that outgrows the room is not stored either", async () => {
    const { body, ends, filling } = fill(null, { room: new Room(150) });
    const client = text(filling.join());
    const done = filling.read();
    for (const part of ["a", "b", "c"]) {
      body.push(part.repeat(100));
      await turn();
    }
    body.end();
    await done;
    expect([(await client).length, kinds(ends)]).toEqual([300, ["outgrown"]]);
  });

  test("that nobody reads any more once it has outgrown the limit is not read to its end", async () => {
    const { body, ends, filling } = fill(null);
    const stream = filling.join();
    const done = filling.read();
    await stream.cancel();
    body.push("x".repeat(LIMIT + 1));
    await done;
    expect([body.isCancelled, kinds(ends)]).toEqual([true, ["outgrown"]]);
  });

  test("waits for a slow reader once it will not be stored", async () => {
    const CHUNK = 64 * 1024;
    const { body, room, filling } = fill(null, { limit: CHUNK, room: new Room(CHUNK) });
    const reader = filling.join().getReader();
    const done = filling.read();
    for (let at = 0; at < 20; at += 1) {
      body.push(new Uint8Array(CHUNK));
      await turn();
    }
    // One is stored, one made it outgrow, and the source holds the others.
    expect([body.isWanted, room.reserved]).toEqual([false, CHUNK]);
    let got = 0;
    for (let at = 0; at < 3; at += 1) got += (await reader.read()).value?.byteLength ?? 0;
    await turn();
    expect(room.reserved).toBe(0);
    body.end();
    for (let next = await reader.read(); !next.done; next = await reader.read()) got += next.value.byteLength;
    await done;
    expect(got).toBe(20 * CHUNK);
  });

  test("stays reserved while a slow reader has it before them", async () => {
    const size = 200_000;
    const { body, ends, room, filling } = fill(size, { limit: size, room: new Room(size) });
    const reader = filling.join().getReader();
    const done = filling.read();
    body.push(new Uint8Array(size / 2));
    await turn();
    body.push(new Uint8Array(size / 2));
    body.end();
    await done;
    expect([kinds(ends), room.reserved]).toEqual([["whole"], size]);
    let got = 0;
    for (let next = await reader.read(); !next.done; next = await reader.read()) got += next.value.byteLength;
    expect([got, room.reserved]).toEqual([size, 0]);
  });

  test("gives its room back when a slow reader leaves", async () => {
    const { body, room, filling } = fill(200_000, { limit: 200_000, room: new Room(200_000) });
    const reader = filling.join().getReader();
    const done = filling.read();
    body.push(new Uint8Array(200_000));
    body.end();
    await done;
    expect(room.reserved).toBe(200_000);
    await reader.cancel();
    expect(room.reserved).toBe(0);
  });

  test("is the same to all, in whatever pieces it comes and whenever they join", async () => {
    const pieces = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 12 });
    await fc.assert(fc.asyncProperty(pieces, fc.boolean(), fc.array(fc.nat(11), { maxLength: 4 }), async (parts, isKnown, joins) => {
      const whole = Buffer.concat(parts);
      const { body, ends, room, filling } = fill(isKnown ? whole.length : null, { limit: isKnown ? whole.length : 2000 });
      const readers = [new Response(filling.join()).bytes()];
      const done = filling.read();
      for (const [at, part] of parts.entries()) {
        if (isKnown) for (const join of joins) if (join === at) readers.push(new Response(filling.join()).bytes());
        if (part.length > 0) body.push(part);
        await turn();
      }
      body.end();
      await done;
      for (const got of await Promise.all(readers)) expect(Buffer.from(got).equals(whole)).toBe(true);
      expect(kinds(ends)).toEqual([isKnown || whole.length <= 2000 ? "whole" : "outgrown"]);
      expect(room.reserved).toBe(0);
    }), { numRuns: 60 });
  });
});
