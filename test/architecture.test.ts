// The layout is a rule: imports point down, folders of one level don't know each other, nothing goes in a circle.

import { describe, expect, test } from "bun:test";
import { Glob } from "bun";
import { dirname, join, normalize } from "node:path";

const SRC = join(import.meta.dir, "..", "src");
const LEVEL: Record<string, number> = {
  lib: 0, config: 2, router: 2, token: 2, upstream: 2, viewer: 2, registry: 2, tls: 2, certificate: 2, acme: 2, dns: 2, metrics: 2, balance: 2, cache: 2, compression: 2, files: 2, limits: 2, proxy: 3, entrypoint: 4, admin: 4, zbus: 4, demo: 6, cli: 7,
};
const ROOT_LEVEL: Record<string, number> = { "certificates.ts": 5, "front.ts": 5, "app.ts": 5, "websocket-proxy.ts": 6, "websocket-proxy-worker.ts": 7, "index.ts": 8, "main.ts": 8 };

function place(file: string): { folder: string; level: number } {
  const [first = "", ...rest] = file.split("/");
  return rest.length === 0 ? { folder: "", level: ROOT_LEVEL[first] ?? 1 } : { folder: first, level: LEVEL[first] ?? Number.NaN };
}

async function imports(): Promise<Array<{ from: string; to: string }>> {
  const found: Array<{ from: string; to: string }> = [];
  for await (const from of new Glob("**/*.ts").scan(SRC)) {
    const text = await Bun.file(join(SRC, from)).text();
    for (const [, path = ""] of text.matchAll(/(?:from|import\()\s*"(\.[^"]+\.ts)"/g)) found.push({ from, to: normalize(join(dirname(from), path)) });
  }
  return found;
}

describe("architecture", () => {
  test("every folder has a level", async () => {
    const files = await Array.fromAsync(new Glob("**/*.ts").scan(SRC));
    expect(files.length).toBeGreaterThan(50);
    expect(files.filter((file) => Number.isNaN(place(file).level))).toEqual([]);
  });

  test("imports point to the own folder or down", async () => {
    const wrong = (await imports()).filter(({ from, to }) => {
      const [a, b] = [place(from), place(to)];
      return a.folder === b.folder ? false : a.level <= b.level;
    });
    expect(wrong).toEqual([]);
  });

  test("no file imports itself through others", async () => {
    const edges = new Map<string, string[]>();
    for (const { from, to } of await imports()) edges.set(from, [...(edges.get(from) ?? []), to]);
    const cycles: string[] = [];
    const done = new Set<string>();
    const walk = (file: string, trail: string[]): void => {
      if (trail.includes(file)) return void cycles.push([...trail.slice(trail.indexOf(file)), file].join(" → "));
      if (done.has(file)) return;
      for (const next of edges.get(file) ?? []) walk(next, [...trail, file]);
      done.add(file);
    };
    for (const file of edges.keys()) walk(file, []);
    expect(cycles).toEqual([]);
  });
});
