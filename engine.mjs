// Runs before every npm script that needs Bun. The npm package `bun` puts its executable in place by an install script, which
// `npm ci --ignore-scripts` (or the same in .npmrc) leaves out; then this runs it. Needs no network: the executable came
// with the platform package. Plain JavaScript, because only Node is certain to be there.

import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const bun = join(dirname(fileURLToPath(import.meta.url)), "node_modules", "bun");
const executable = join(bun, "bin", "bun.exe"); // on every platform

if (!existsSync(executable)) {
  console.error("bun is not installed: run `npm install` first");
  process.exit(1);
}
// The placeholder is a text of a few hundred bytes, Bun is 100 MB.
if (statSync(executable).size < 1_000_000) {
  process.exit(spawnSync(process.execPath, ["install.js"], { cwd: bun, stdio: "inherit" }).status ?? 1);
}
