// What changes while it is served: releases swapped, files cut short, clients that leave.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { appendFileSync, mkdirSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import type { Server } from "bun";
import { asRouteError } from "../../src/errors.ts";
import { answerFile } from "../../src/files/file-service.ts";
import { eventually } from "../support/eventually.ts";
import { Site } from "./site.ts";

const BIG = 8_000_000;

let site: Site;
let server: Server<undefined>;
beforeEach(() => {
  site = new Site();
  server = Bun.serve({
    port: 0, hostname: "127.0.0.1", development: false,
    async fetch({ url, method, headers }) {
      try {
        const { pathname: path, search } = new URL(url);
        const answer = await answerFile(join(site.root, "current"), { fallback: null }, { method, path, query: search.slice(1), headers: headers.toJSON() as Record<string, string> });
        return new Response(answer.body, { status: answer.status, headers: answer.headers as [string, string][] });
      } catch (error) {
        return new Response(null, { status: asRouteError(error).status });
      }
    },
  });
});
afterEach(async () => { await server.stop(true); site.remove(); });

const fetchText = async (path: string): Promise<[status: number, text: string]> => {
  const answer = await fetch(`http://127.0.0.1:${server.port}${path}`);
  return [answer.status, await answer.text()];
};

/** Sizes differ, so that a length of one with the bytes of another would show. */
function release(number: number): string {
  const directory = join(site.root, `release-${number}`);
  mkdirSync(directory);
  writeFileSync(join(directory, "small.txt"), `${number};`.repeat(1000 + number));
  writeFileSync(join(directory, "long.txt"), `${number};`.repeat(50_000 + number));
  return directory;
}

function isWhole(text: string): boolean {
  const number = Number.parseInt(text, 10);
  return text === `${number};`.repeat(1000 + number) || text === `${number};`.repeat(50_000 + number);
}

test("a symlink swapped 200 times to a new release, the old one removed: every answer is one release, whole", async () => {
  symlinkSync(release(0), join(site.root, "current"));
  let isOver = false;
  const seen = new Set<number>();
  const client = async (path: string): Promise<void> => {
    while (!isOver) {
      const [status, text] = await fetchText(path);
      expect([status, isWhole(text)]).toEqual([200, true]);
      seen.add(Number.parseInt(text, 10));
    }
  };
  const clients = ["/small.txt", "/small.txt", "/long.txt", "/long.txt"].map(client);
  for (let number = 1; number <= 200; number++) {
    const directory = release(number);
    symlinkSync(directory, join(site.root, "next"));
    renameSync(join(site.root, "next"), join(site.root, "current"));
    rmSync(join(site.root, `release-${number - 1}`), { recursive: true });
    await Bun.sleep(3);
  }
  isOver = true;
  await Promise.all(clients);
  expect(seen.size).toBeGreaterThan(20);
}, 30_000);

test("a directory renamed away and another into its place 200 times: whole, or for a moment not there", async () => {
  renameSync(release(0), join(site.root, "current"));
  let isOver = false;
  let whole = 0;
  const client = async (): Promise<void> => {
    while (!isOver) {
      const [status, text] = await fetchText("/small.txt");
      if (status !== 404) expect([status, isWhole(text)]).toEqual([200, true]);
      if (status === 200) whole += 1;
    }
  };
  const clients = [client(), client()];
  for (let number = 1; number <= 200; number++) {
    const directory = release(number);
    renameSync(join(site.root, "current"), join(site.root, "old"));
    renameSync(directory, join(site.root, "current"));
    rmSync(join(site.root, "old"), { recursive: true });
    await Bun.sleep(3);
  }
  isOver = true;
  await Promise.all(clients);
  expect(whole).toBeGreaterThan(20);
}, 30_000);

describe("a file that changes while a slow client reads it", () => {
  /** One request, read only when told to. */
  async function slowly(path: string, whileSending: () => void): Promise<{ text: string; isEnded: boolean }> {
    const socket = connect(server.port!, "127.0.0.1");
    socket.on("error", () => {});
    let text = "";
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    await new Promise<void>((resolve) => socket.once("data", (chunk) => { text += chunk.toString("latin1"); socket.pause(); resolve(); }));
    whileSending();
    socket.on("data", (chunk) => { text += chunk.toString("latin1"); });
    const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    socket.resume();
    await closed;
    return { text, isEnded: text.endsWith("\r\n0\r\n\r\n") };
  }

  beforeEach(() => {
    mkdirSync(join(site.root, "current"));
    writeFileSync(join(site.root, "current/big.bin"), Buffer.alloc(BIG, "x"));
  });
  const file = (): string => join(site.root, "current/big.bin");
  const count = (text: string): number => text.slice(text.indexOf("\r\n\r\n")).split("x").length - 1;

  test("cut short: the connection is cut, nothing is padded", async () => {
    const { text, isEnded } = await slowly("/big.bin", () => truncateSync(file(), 1_000_000));
    expect([isEnded, count(text) < BIG]).toEqual([false, true]);
    expect(text).not.toContain("\0");
  });

  test("appended to: what was there is sent", async () => {
    const { text, isEnded } = await slowly("/big.bin", () => appendFileSync(file(), "ZZZZ"));
    expect([isEnded, count(text), text.includes("Z")]).toEqual([true, BIG, false]);
  });

  test("removed or replaced: the one that was opened is sent", async () => {
    const { text, isEnded } = await slowly("/big.bin", () => { rmSync(file()); writeFileSync(file(), "Z"); });
    expect([isEnded, count(text), text.includes("Z")]).toEqual([true, BIG, false]);
  });
});

describe("descriptors", () => {
  beforeEach(() => {
    mkdirSync(join(site.root, "current"));
    writeFileSync(join(site.root, "current/big.bin"), Buffer.alloc(BIG, "x"));
    writeFileSync(join(site.root, "current/small.txt"), "small");
    writeFileSync(join(site.root, "current/small.txt.gz"), Bun.gzipSync("small"));
    mkdirSync(join(site.root, "current/directory"));
  });
  const allClosed = (): Promise<string[]> => eventually("all files to be closed", () => site.openFiles(), (open) => open.length === 0);

  test("are closed after answers of every kind", async () => {
    const ask = (path: string, init?: RequestInit): Promise<unknown> => fetch(`http://127.0.0.1:${server.port}${path}`, init).then((answer) => answer.bytes());
    for (let i = 0; i < 20; i++) {
      await Promise.all([
        ask("/small.txt"), ask("/big.bin"), ask("/big.bin", { method: "HEAD" }), ask("/small.txt", { headers: { "if-none-match": "*" } }), ask("/small.txt", { headers: { "if-match": "\"x\"" } }),
        ask("/big.bin", { headers: { range: "bytes=99999999-" } }), ask("/big.bin", { headers: { range: "bytes=1-2000000" } }), ask("/directory"), ask("/directory/"), ask("/none"), ask("/.env"),
      ]);
    }
    await allClosed();
  });

  test("are closed when clients leave in the middle, at once, or before the answer", async () => {
    for (let i = 0; i < 60; i++) {
      const socket = connect(server.port!, "127.0.0.1");
      socket.on("error", () => {});
      socket.write("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
      if (i % 3 === 0) await new Promise((resolve) => socket.once("data", resolve));
      if (i % 3 === 1) await new Promise((resolve) => socket.once("connect", resolve));
      socket.destroy();
    }
    await allClosed();
    // And none of them was another one's, closed twice.
    expect((await fetchText("/big.bin"))[1]).toHaveLength(BIG);
  });

  test("a stream cancelled while it reads closes its file once", async () => {
    for (let i = 0; i < 50; i++) {
      const answer = await answerFile(join(site.root, "current"), { fallback: null }, { method: "GET", path: "/big.bin", query: "", headers: {} });
      const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
      const reading = reader.read();
      await reader.cancel();
      await reading;
    }
    await allClosed();
  });

  test("a slow client holds a bounded part of a file in memory", async () => {
    const answer = await answerFile(join(site.root, "current"), { fallback: null }, { method: "GET", path: "/big.bin", query: "", headers: {} });
    const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
    let longest = 0;
    for (let read = await reader.read(); !read.done; read = await reader.read()) longest = Math.max(longest, read.value.length);
    expect(longest).toBeLessThanOrEqual(128 * 1024);
    await allClosed();
  });
});
