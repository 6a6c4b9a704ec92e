import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lockFile } from "../../src/lib/file-lock.ts";

const root = mkdtempSync(join(tmpdir(), "file-lock-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const lock = (path: string): Promise<Disposable> => lockFile(path, new AbortController().signal);

describe("a lock on a file", () => {
  test("that cannot be had says which file, and why", async () => {
    const file = join(root, "file");
    writeFileSync(file, "");
    await expect(lock(join(root, "absent/lock"))).rejects.toThrow(`cannot lock ${root}/absent/lock: no such file`);
    await expect(lock(join(file, "lock"))).rejects.toThrow(`cannot lock ${file}/lock: what stands before a slash is not a directory`);
    await expect(lock(root)).rejects.toThrow(`cannot lock ${root}: `);
  });

  test.skipIf(process.getuid?.() === 0)("says that this user may not write", async () => {
    const directory = join(root, "closed");
    mkdirSync(directory);
    chmodSync(directory, 0o500);
    await expect(lock(join(directory, "lock"))).rejects.toThrow(`cannot lock ${directory}/lock: not permitted (this user needs write access there)`);
  });

  test("that another one waits for ends the wait by the signal's own reason", async () => {
    const path = join(root, "held");
    using _ = await lock(path);
    const reason = new Error("enough");
    await expect(lockFile(path, AbortSignal.abort(reason))).rejects.toBe(reason);
  });
});
