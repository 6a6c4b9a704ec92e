import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Thread } from "../../src/lib/thread.ts";

const directory = mkdtempSync(join(tmpdir(), "route-thread-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** A Worker that evaluates its orders. */
const FILE = join(directory, "worker.ts");
writeFileSync(FILE, 'self.onmessage = ({ data }) => { new Function("post", data)(postMessage); };');

const READY = 'post({ kind: "ready", ready: 7 });';
const STOPPED = 'post({ kind: "stopped" });';
const noDeath = (error: Error): void => { throw error; };

describe("a thread", () => {
  test("is started when it says so, and gone when it was stopped", async () => {
    const thread = new Thread<number, string>(new Worker(FILE), READY, noDeath);
    expect(await thread.started).toBe(7);
    await thread.stop(STOPPED);
  });

  test("that fails to start rejects with its words and its code", async () => {
    const thread = new Thread<number, string>(new Worker(FILE), 'post({ kind: "failed", message: "no room", code: "ENOSPC" });', noDeath);
    expect(await thread.started.catch((error: unknown) => error)).toMatchObject({ message: "no room", code: "ENOSPC" });
  });

  test.each([
    ["an error", 'throw new Error("at once");', "at once"],
    ["a rejection", 'Promise.reject(new Error("unheard"));', "unheard"],
    ["an exit", "process.exit(3);", "the thread ended by itself"],
  ])("that ends with %s before it is ready rejects with it", async (_, order, message) => {
    const thread = new Thread<number, string>(new Worker(FILE), order, noDeath);
    expect((await thread.started.catch((error: unknown) => error) as Error).message).toContain(message);
  });

  test("without its file rejects", async () => {
    const thread = new Thread<number, string>(new Worker(join(directory, "missing.ts")), READY, noDeath);
    expect((await thread.started.catch((error: unknown) => error) as Error).message).toContain("missing.ts");
  });

  test.each([
    ["an error", 'setTimeout(() => { throw new Error("later"); }, 1);', "later"],
    ["an exit", "setTimeout(() => process.exit(0), 1);", "the thread ended by itself"],
  ])("that ends with %s while it runs is reported, and need not be stopped any more", async (_, order, message) => {
    const death = Promise.withResolvers<Error>();
    const thread = new Thread<number, string>(new Worker(FILE), READY + order, death.resolve);
    await thread.started;
    expect((await death.promise).message).toContain(message);
    await thread.stop(STOPPED);
  });

  test("that fails while it stops says so to whoever stops it", async () => {
    const thread = new Thread<number, string>(new Worker(FILE), READY, noDeath);
    await thread.started;
    expect((await thread.stop('throw new Error("stuck");').catch((error: unknown) => error) as Error).message).toContain("stuck");
  });

  test("that does not answer is ended after a while", async () => {
    const thread = new Thread<number, string>(new Worker(FILE), READY, noDeath, 50);
    await thread.started;
    expect(await thread.stop("for (;;);").catch((error: unknown) => error)).toEqual(new Error("the thread did not stop within 0.05 s"));
  });
});
