import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { within } from "../../src/lib/within.ts";

const FILE = join(import.meta.dir, "../../src/lib/within.ts");

describe("within", () => {
  test("waits for a promise, and passes on what it rejects with", async () => {
    const timer = Promise.withResolvers<void>();
    setTimeout(timer.resolve, 5);
    await within(timer.promise, 60_000);
    expect(Bun.peek.status(timer.promise)).toBe("fulfilled");
    expect(await within(Promise.reject(new Error("no")), 60_000).catch((error: unknown) => error)).toEqual(new Error("no"));
  });

  test("waits no longer than it may", async () => {
    await within(new Promise(() => {}), 5);
  });

  test("leaves nothing behind that would keep the process", async () => {
    const program = Bun.spawn([process.execPath, "-e", `const { within } = await import(${JSON.stringify(FILE)}); await within(Promise.resolve(), 60_000);`]);
    expect(await program.exited).toBe(0);
  });
});
