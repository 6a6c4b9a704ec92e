// Which route-gateway is measured: the compiled executable, built first when a source is newer than it.

import { statSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const EXECUTABLE = join(ROOT, "dist/route-gateway");

/** What the executable is made of. */
const SOURCES = new Bun.Glob("{src/**,build.ts,routes.yaml,package.json}");

/** Command words that run route-gateway, up to its own arguments. @throws Error when it cannot be built */
export async function compiledGateway(print: (line: string) => void): Promise<readonly string[]> {
  if (modifiedMs(EXECUTABLE) < newestSourceMs()) {
    print("building dist/route-gateway: a source is newer");
    const build = Bun.spawn([process.execPath, "build.ts", "--native"], {
      cwd: ROOT, stdin: "ignore", stdout: "ignore", stderr: "inherit",
    });
    if (await build.exited !== 0) throw new Error(`cannot build dist/route-gateway: exit code ${build.exitCode}`);
  }
  return [EXECUTABLE];
}

/** The same from its sources: slower to start, and to be trusted for nothing but seeing that the bench works. */
export function sourceGateway(): readonly string[] {
  return [process.execPath, "--max-http-header-size=65536", join(ROOT, "src/main.ts")];
}

function newestSourceMs(): number {
  return Math.max(...[...SOURCES.scanSync({ cwd: ROOT })].map((file) => modifiedMs(join(ROOT, file))));
}

/** 0 when it does not exist. */
function modifiedMs(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
