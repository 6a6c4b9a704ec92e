// What the program prints, as a process: commands print through Io, main.ts brings it out.

import { describe, expect, test } from "bun:test";
import { existsSync, openSync } from "node:fs";
import { join } from "node:path";

const MAIN = join(import.meta.dir, "../../src/main.ts");
/** Prints more than a pipe takes at once (64 KiB on Linux). */
const LONG = [process.execPath, MAIN, "schema"];

describe("the output", () => {
  test("is whole in a pipe, however slow its reader is", async () => {
    // A shell reads byte by byte.
    const child = Bun.spawn(["sh", "-c", '"$@" | while IFS= read -r line; do printf "%s\\n" "$line"; done', "sh", ...LONG], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    expect([await child.exited, stderr]).toEqual([0, ""]);
    expect(stdout.length).toBeGreaterThan(65_536);
    expect(JSON.parse(stdout)).toMatchObject({ $schema: expect.any(String) });
  });

  test("is no trouble to a reader that has seen enough", async () => {
    const child = Bun.spawn(["sh", "-c", '"$@" | head -c 10', "sh", ...LONG], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    expect(await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])).toEqual(['{\n  "$sche', "", 0]);
  });

  test.skipIf(!existsSync("/dev/full"))("that finds no place is a failure, said in one line (needs /dev/full)", async () => {
    const child = Bun.spawn(LONG, { stdin: "ignore", stdout: openSync("/dev/full", "w"), stderr: "pipe" });
    expect(await child.stderr.text()).toBe("route-gateway: cannot write to stdout: ENOSPC: no space left on device, write\n");
    expect(await child.exited).toBe(1);
  });
});
