import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { watchFiles } from "../../src/lib/file-watch.ts";

/** The poll is far away in most tests, so that what is seen was seen through events. */
const EVENTS_ONLY = { debounceMs: 10, pollMs: 60_000 };

let root: string;
let stop: Array<{ close(): void }> = [];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "file-watch-"));
});
afterEach(() => {
  for (const watcher of stop) watcher.close();
  stop = [];
  rmSync(root, { recursive: true, force: true });
});

/** Counts changes; `next()` resolves at the first one after the last `next()`. */
function observe(paths: string[], options: { debounceMs: number; pollMs: number } = EVENTS_ONLY) {
  let seen = 0;
  let taken = 0;
  let wake: (() => void) | undefined;
  const watcher = watchFiles(paths, () => {
    seen++;
    wake?.();
  }, options);
  stop.push(watcher);
  const next = async () => {
    if (seen === taken) await new Promise<void>((resolve) => { wake = resolve; });
    taken = seen;
  };
  return { next, seen: () => seen, close: () => watcher.close() };
}

describe("watchFiles", () => {
  test("reports a rewrite in place", async () => {
    const file = join(root, "a");
    writeFileSync(file, "one");
    const changes = observe([file]);
    writeFileSync(file, "two");
    await changes.next();
    expect(readFileSync(file, "utf8")).toBe("two");
  });

  test("reports every one of several renames over the file", async () => {
    const file = join(root, "a");
    writeFileSync(file, "0");
    const changes = observe([file]);
    for (let round = 1; round <= 3; round++) {
      writeFileSync(join(root, "tmp"), String(round));
      renameSync(join(root, "tmp"), file);
      await changes.next();
    }
    expect(changes.seen()).toBe(3);
  });

  test("reports every swap of a Kubernetes ..data link", async () => {
    const publish = (version: number) => {
      mkdirSync(join(root, `..v${version}`));
      writeFileSync(join(root, `..v${version}`, "key.pem"), "same");
      symlinkSync(`..v${version}`, join(root, "..data_tmp"));
      renameSync(join(root, "..data_tmp"), join(root, "..data"));
    };
    publish(1);
    symlinkSync("..data/key.pem", join(root, "key.pem"));
    const changes = observe([join(root, "key.pem")]);
    for (const version of [2, 3, 4]) {
      publish(version);
      await changes.next();
    }
    expect(changes.seen()).toBe(3);
  });

  test("reports a rewrite of the file behind a link into another directory", async () => {
    mkdirSync(join(root, "real"));
    mkdirSync(join(root, "links"));
    writeFileSync(join(root, "real", "a"), "one");
    symlinkSync(join(root, "real", "a"), join(root, "links", "a"));
    const changes = observe([join(root, "links", "a")]);
    writeFileSync(join(root, "real", "a"), "two");
    await changes.next();
    expect(changes.seen()).toBe(1);
  });

  test("reports removal and appearance", async () => {
    const file = join(root, "a");
    writeFileSync(file, "one");
    const changes = observe([file]);
    rmSync(file);
    await changes.next();
    writeFileSync(file, "one");
    await changes.next();
    expect(changes.seen()).toBeGreaterThanOrEqual(2);
  });

  test("waits for a directory that does not exist yet, and follows it when it is made anew", async () => {
    const file = join(root, "later", "a");
    const changes = observe([file], { debounceMs: 5, pollMs: 20 });
    for (let round = 0; round < 2; round++) {
      rmSync(join(root, "later"), { recursive: true, force: true });
      mkdirSync(join(root, "later"));
      writeFileSync(file, String(round));
      await changes.next();
    }
    expect(changes.seen()).toBeGreaterThanOrEqual(2);
  });

  test("is silent about neighbours and about events that changed nothing", async () => {
    const file = join(root, "a");
    writeFileSync(file, "one");
    const changes = observe([file], { debounceMs: 1, pollMs: 5 });
    writeFileSync(join(root, "neighbour"), "x");
    rmSync(join(root, "neighbour"));
    for (let look = 0; look < 5; look++) await Bun.sleep(5);
    expect(changes.seen()).toBe(0);
    utimesSync(file, 1, 1);
    await changes.next();
  });

  test("joins a burst of writes into one report", async () => {
    const file = join(root, "a");
    writeFileSync(file, "0");
    const changes = observe([file], { debounceMs: 100, pollMs: 60_000 });
    for (let write = 1; write <= 20; write++) writeFileSync(file, String(write));
    await changes.next();
    expect(changes.seen()).toBe(1);
  });

  test("says nothing after close", async () => {
    const file = join(root, "a");
    writeFileSync(file, "one");
    const closed = observe([file], { debounceMs: 1, pollMs: 5 });
    const open = observe([file], { debounceMs: 5, pollMs: 10 });
    closed.close();
    writeFileSync(file, "two");
    await open.next();
    expect(closed.seen()).toBe(0);
  });

  test("does not keep the process alive", async () => {
    const script = join(root, "script.ts");
    const module = join(import.meta.dir, "../../src/lib/file-watch.ts");
    writeFileSync(script, `import { watchFiles } from ${JSON.stringify(module)}; watchFiles([import.meta.path], () => {});`);
    const run = Bun.spawn([process.execPath, script], { stdout: "ignore", stderr: "pipe" });
    const [code, errors] = await Promise.all([run.exited, new Response(run.stderr).text()]);
    expect(errors).toBe("");
    expect(code).toBe(0);
  });
});
