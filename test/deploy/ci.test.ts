import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { scripts } from "../../package.json";

const ROOT = join(import.meta.dir, "..", "..");

describe("CI", () => {
  test("runs the scripts that package.json has", async () => {
    const script = await Bun.file(join(ROOT, ".ci/run")).text();
    const called = [...script.matchAll(/npm (?:run )?(?:--silent )?(test|build|lint|typecheck)\b/g)].map(([, name]) => name!);
    expect([...new Set(called)].toSorted()).toEqual(["build", "lint", "test", "typecheck"]);
    expect(called.filter((name) => !(name in scripts))).toEqual([]);
  });

  test("every script that needs Bun makes sure of it first", () => {
    const withBun = Object.entries(scripts).filter(([, command]) => /\bbun\b/.test(command));
    expect(withBun.length).toBeGreaterThanOrEqual(4);
    expect(withBun.filter(([, command]) => !command.startsWith("node engine.mjs && bun "))).toEqual([]);
  });
});
