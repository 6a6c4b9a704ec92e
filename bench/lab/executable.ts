// Which route-gateway is measured: the compiled executable, built first when a source is newer than it.

import { statSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const EXECUTABLE = join(ROOT, "dist/route-gateway");

/** What the executable is made of. One pattern each: a scan finds nothing for braces with a slash in them. */
const SOURCES = ["src/**", "build.ts", "*.yaml", "package.json"].map((pattern) => new Bun.Glob(pattern));

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
  const files = SOURCES.flatMap((glob) => [...glob.scanSync({ cwd: ROOT })]);
  return Math.max(...files.map((file) => modifiedMs(join(ROOT, file))));
}

/** 0 when it does not exist. */
function modifiedMs(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
