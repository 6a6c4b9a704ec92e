// kill -9 at any moment: what is left is loaded, whole, bounded, and nothing else is left.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CacheRig } from "../support/cache-origin.ts";
import { bodyOf } from "../support/cache-writer.ts";

const ROUNDS = 12;
const LIMIT = 1_500_000;
let directory: string;
beforeAll(async () => { directory = await mkdtemp(join(tmpdir(), "route-cache-crash-")); });
afterAll(() => rm(directory, { recursive: true, force: true }));

/** Writes for a random time, and is killed in the middle of it. */
async function crash(): Promise<void> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "../support/cache-writer.ts"), directory, String(LIMIT)], { stdout: "pipe", stderr: "inherit" });
  await child.stdout.getReader().read();
  await Bun.sleep(Math.random() * 60);
  child.kill("SIGKILL");
  await child.exited;
}

describe("the cache on disk", () => {
  test(`survives ${ROUNDS} crashes while it is written`, async () => {
    let found = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      await crash();
      const rig = new CacheRig({ disk: { directory, bytes: LIMIT } });
      await rig.cache.open();
      // A crash leaves no broken file behind, only temporary ones, which are gone without a word.
      expect(rig.warnings).toEqual([]);
      expect((await readdir(directory)).filter((name) => name.startsWith("tmp-"))).toEqual([]);
      expect(rig.cache.stats().disk?.bytes).toBeLessThanOrEqual(LIMIT);
      rig.next = { status: 404, headers: { "cache-control": "no-store" } };
      for (let at = 0; at < 40; at += 1) {
        for (let version = 0; version < 40; version += 1) {
          const target = `/${at}?v=${version}`;
          const got = await rig.get(target, { x: "1" });
          if (got.status === 404) continue;
          found += 1;
          expect(Buffer.from(await new Response(got.response.body as Uint8Array<ArrayBuffer>).bytes()).equals(bodyOf(target))).toBe(true);
        }
      }
      await rig.close();
    }
    // Or the test would have looked at nothing.
    expect(found).toBeGreaterThan(ROUNDS);
  }, 60_000);
});
