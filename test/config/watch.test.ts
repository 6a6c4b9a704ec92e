import { afterEach, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadSettings } from "../../src/config/load.ts";
import { watchSettings } from "../../src/config/watch.ts";
import type { Settings } from "../../src/settings.ts";
import { settingsOf, TABLE } from "./support.ts";

const cleanups: Array<() => unknown> = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function scratch(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "route-watch-"));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

type Event = { readonly settings?: Settings; readonly error?: unknown };

/** Events of a watched file, one after the other. */
function follow(file: string): { next(): Promise<Event> } {
  const events: Event[] = [];
  const waiting: Array<(event: Event) => void> = [];
  const push = (event: Event): void => {
    const take = waiting.shift();
    if (take === undefined) events.push(event);
    else take(event);
  };
  const watcher = watchSettings(file, () => loadSettings({ file, env: {} }), {
    onChange: (settings) => push({ settings }),
    onError: (error) => push({ error }),
  });
  cleanups.push(() => watcher.close());
  return { next: () => (events.length > 0 ? Promise.resolve(events.shift() as Event) : new Promise((resolve) => waiting.push(resolve))) };
}

const withDrain = (duration: string): string => `drainTimeout: ${duration}\n${TABLE}`;

describe("a watched configuration file", () => {
  test("is loaded when it changes; a broken one is reported and the next good one loaded", async () => {
    const file = join(await scratch(), "routes.yaml");
    await writeFile(file, withDrain("1s"));
    const events = follow(file);
    await writeFile(file, withDrain("2s"));
    expect((await events.next()).settings?.drainTimeoutMs).toBe(2000);
    await writeFile(file, withDrain("soon"));
    expect((await events.next()).error).toMatchObject({ name: "ConfigError", message: expect.stringContaining(`${file}:1:15: `) });
    await writeFile(`${file}.new`, withDrain("3s"));
    await rename(`${file}.new`, file);
    expect((await events.next()).settings?.drainTimeoutMs).toBe(3000);
  });

  test("is loaded each time Kubernetes swaps the symlink of a ConfigMap", async () => {
    const directory = await scratch();
    const swap = async (version: string, text: string): Promise<void> => {
      await mkdir(join(directory, version));
      await writeFile(join(directory, version, "routes.yaml"), text);
      await symlink(version, join(directory, "..data_tmp"));
      await rename(join(directory, "..data_tmp"), join(directory, "..data"));
    };
    await swap("..v1", withDrain("1s"));
    await symlink("..data/routes.yaml", join(directory, "routes.yaml"));
    const events = follow(join(directory, "routes.yaml"));
    for (const second of [2, 3, 4]) {
      await swap(`..v${second}`, withDrain(`${second}s`));
      expect((await events.next()).settings?.drainTimeoutMs).toBe(second * 1000);
    }
  });

  test("that changes while it is loaded is loaded once more, and only the last one counts", async () => {
    let changed = (): void => {};
    const loads: Array<(settings: Settings) => void> = [];
    const seen: number[] = [];
    const load = (): Promise<Settings> => new Promise((resolve) => loads.push(resolve));
    watchSettings("x", load, { onChange: (settings) => seen.push(settings.drainTimeoutMs), onError: () => {} }, (_paths, onChange) => {
      changed = onChange;
      return { close() {} };
    });
    changed();
    changed();
    changed();
    expect(loads).toHaveLength(1);
    loads[0]?.(settingsOf(withDrain("1s")));
    await Bun.sleep(0);
    expect(loads).toHaveLength(2);
    loads[1]?.(settingsOf(withDrain("2s")));
    await Bun.sleep(0);
    expect(seen).toEqual([2000]);
  });

  test("is of no interest any more after close, even while it is loaded", async () => {
    let changed = (): void => {};
    let finish = (_settings: Settings): void => {};
    const seen: Settings[] = [];
    const watcher = watchSettings("x", () => new Promise((resolve) => { finish = resolve; }), {
      onChange: (settings) => seen.push(settings), onError: () => {},
    }, (_paths, onChange) => {
      changed = onChange;
      return { close() {} };
    });
    changed();
    watcher.close();
    finish(settingsOf(TABLE));
    await Bun.sleep(0);
    expect(seen).toEqual([]);
  });
});
