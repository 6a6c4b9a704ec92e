// The package as a user gets it: `npm pack` in a copy of this project, unpacked into a project of its own. Nothing is fetched.

import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const ROOT = join(import.meta.dir, "..", "..");

/** What packing needs, and what might slip in. */
const COPIED = [
  "package.json", "README.md", "CHANGELOG.md", "build.ts", "engine.mjs", "consoles.yaml", "routes.yaml", "tsconfig.json", "tsconfig.library.json",
  "src", "docs", "examples", "deploy", "test/architecture.test.ts",
];

export const CAN_PACK = Bun.which("npm") !== null && Bun.which("tar") !== null;

export class Package {
  /** Of the archive, without its root folder. */
  readonly files: readonly string[];

  private constructor(private readonly directory: string, private readonly archive: string, readonly npmSays: { path: string; size: number }[]) {
    this.files = run(["tar", "-tzf", archive], directory).trim().split("\n").map((path) => path.replace(/^package\//, "")).toSorted();
  }

  static pack(): Package {
    const directory = mkdtempSync(join(tmpdir(), "route-package-"));
    const clone = join(directory, "clone");
    for (const path of COPIED) cpSync(join(ROOT, path), join(clone, path), { recursive: true });
    symlinkSync(join(ROOT, "node_modules"), join(clone, "node_modules"));
    mkdirSync(join(clone, "dist"));
    writeFileSync(join(clone, "dist/route-gateway"), "stands for the executable\n");
    const [packed] = JSON.parse(run(["npm", "pack", "--json"], clone)) as [{ filename: string; files: { path: string; size: number }[] }];
    return new Package(directory, join(clone, packed.filename), packed.files);
  }

  /** A project with the package in its node_modules and nothing else. */
  project(name: string): string {
    const project = join(this.directory, name);
    const place = join(project, "node_modules/route");
    mkdirSync(place, { recursive: true });
    run(["tar", "-xzf", this.archive, "-C", place, "--strip-components=1"], project);
    writeFileSync(join(project, "package.json"), '{ "type": "module" }\n');
    return project;
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function run(command: string[], cwd: string): string {
  const { success, stdout, stderr } = Bun.spawnSync(command, {
    // Neither the user's settings nor their cache, and no look-up of newer versions.
    cwd, env: { ...process.env, npm_config_cache: join(cwd, ".npm"), npm_config_update_notifier: "false", npm_config_userconfig: "/dev/null" },
  });
  if (!success) throw new Error(`${command.join(" ")}: ${stdout}${stderr}`);
  return stdout.toString();
}
