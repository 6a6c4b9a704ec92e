import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const FILES: Readonly<Record<string, string>> = {
  "good/a.test.ts": `describe("outer <&>", () => { describe("inner", () => {
    test("passes", () => {}); test.skipIf(true)("needs \\"nginx\\"", () => {}); }); });`,
  "failing/b.test.ts": `test("fails", () => { expect(1).toBe(2); }); test("passes", () => {});
    describe("prepared", () => { beforeAll(() => { throw new Error("no <moon>"); }); test("never runs", () => {}); });`,
  "hanging/h.test.ts": `test("hangs", () => new Promise(() => {}), 100);`,
  "crashing/c.test.ts": `test("ends the process", () => process.exit(0)); test("never runs", () => {});`,
  "broken/d.test.ts": `throw new Error("cannot load");`,
  "empty/e.test.ts": `export {};`,
  "skipping/f.test.ts": `test.skipIf(true)("needs a moon", () => {});`,
};

describe("test runner", () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "runner-"));
    for (const [name, source] of Object.entries(FILES)) {
      await mkdir(join(directory, name, ".."), { recursive: true });
      await Bun.write(join(directory, name), `import { beforeAll, describe, expect, test } from "bun:test";\n${source}`);
    }
  });
  afterAll(() => rm(directory, { recursive: true }));

  async function run(...patterns: string[]) {
    const child = Bun.spawn([process.execPath, join(import.meta.dir, "runner.ts"), "--root", directory, ...patterns], {
      stdin: "ignore", stdout: "pipe", stderr: "ignore",
    });
    const lines = (await new Response(child.stdout).text()).trimEnd().split("\n");
    return { code: await child.exited, last: lines.at(-1), lines };
  }

  test("counts what passed and names what was skipped", async () => {
    const { code, last, lines } = await run("good");
    expect([code, last]).toEqual([0, "1 passed, 0 failed, 1 skipped"]);
    expect(lines).toContain('  good/a.test.ts > outer <&> > inner > needs "nginx"');
  });

  test("fails when a test or its preparation fails, names it and says why", async () => {
    const { code, last, lines } = await run("failing", "good");
    expect([code, last]).toEqual([1, "2 passed, 2 failed, 1 skipped"]);
    const failed = lines.slice(lines.indexOf("failed:") + 1, -2).map((line) => line.replace(/ at .*/, " at ..."));
    expect(failed).toEqual([
      "  failing/b.test.ts > fails", "      AssertionError: expect(received).toBe(expected)", "      Expected: 2", "      Received: 1", "            at ...",
      "  failing/b.test.ts > prepared > (unnamed)", "      Error: no <moon>", "            at ...",
    ]);
  });

  test("says of a test that hung that it did", async () => {
    const { code, last, lines } = await run("hanging");
    expect([code, last]).toEqual([1, "0 passed, 1 failed, 0 skipped"]);
    expect(lines.slice(-4, -2)).toEqual(["  hanging/h.test.ts > hangs", "      test timed out"]);
  });

  for (const [kind, name] of [["broken", "d: ended with exit code 1"], ["crashing", "c: holds no test"], ["empty", "e: holds no test"]]) {
    test(`fails when a file is ${kind}`, async () => {
      const { code, last, lines } = await run(`${kind}/`, "good/");
      expect([code, last]).toEqual([1, "1 passed, 1 failed, 1 skipped"]);
      expect(lines.join("\n")).toContain(`  ${kind}/${name!.replace(":", ".test.ts:")}`);
    });
  }

  test("fails when no test ran at all", async () => {
    expect((await run("nothing-is-called-this")).code).toBe(1);
    expect((await run("skipping")).last).toBe("0 passed, 1 failed, 1 skipped");
  });
});
