import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DirectoryWatch, type DirectoryWatchOptions } from "../../src/registry/directory-watch.ts";
import { eventually } from "../support/eventually.ts";

let directory: string;
let told: Array<readonly string[] | "all">;
let watch: DirectoryWatch | null = null;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "route-watch-"));
  told = [];
});
afterEach(() => {
  watch?.close();
  rmSync(directory, { recursive: true, force: true });
});

function start(options: DirectoryWatchOptions): void {
  watch = new DirectoryWatch(directory, async (names) => void told.push(names), options);
}

const namesTold = (): Set<string> => new Set(told.flatMap((names) => (names === "all" ? [] : names)));

describe("a watched directory", () => {
  test("tells a burst of changes once, by name", async () => {
    start({ delayMs: 50, pollMs: 3_600_000 });
    for (const name of ["a", "b", "a", "c"]) writeFileSync(join(directory, name), "x");
    await eventually("the names", namesTold, (names) => names.size === 3);
    expect(told).toHaveLength(1);
  });

  test("is told as a whole at every poll", async () => {
    start({ delayMs: 3_600_000, pollMs: 5 });
    await eventually("polls", () => told.length, (polls) => polls >= 3);
    expect(new Set(told)).toEqual(new Set(["all"]));
  });

  test("tells names again when it was made anew", async () => {
    start({ delayMs: 1, pollMs: 10 });
    rmSync(directory, { recursive: true });
    await eventually("its end", () => told.length, (polls) => polls >= 3);
    mkdirSync(directory);
    let index = 0;
    await eventually("a name", () => {
      writeFileSync(join(directory, `new${index += 1}`), "x");
      return namesTold();
    }, (names) => [...names].some((name) => name.startsWith("new")));
  });

  test("tells nothing after close", async () => {
    start({ delayMs: 1, pollMs: 1 });
    watch?.close();
    const other = told.length;
    const seen: unknown[] = [];
    watch = new DirectoryWatch(directory, async (names) => void seen.push(names), { delayMs: 5, pollMs: 5 });
    writeFileSync(join(directory, "a"), "x");
    await eventually("the other watcher", () => seen.length, (count) => count > 2);
    expect(told).toHaveLength(other);
  });
});
