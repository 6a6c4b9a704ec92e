// Macros: they run while the program is transpiled or built, and what they return becomes a constant of the program. So the
// viewer's script and the noVNC that it imports are one embedded text, in the executable as well as from the sources.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** @param path of the entry script, relative to this file */
export function bundle(path: string): string {
  const words = [process.execPath, "build", new URL(path, import.meta.url).pathname, "--format=esm", "--target=browser", "--minify"];
  const built = Bun.spawnSync(words, { env: { ...process.env, BUN_BE_BUN: "1" } });
  if (!built.success) throw new Error(`cannot bundle ${path}: ${built.stderr.toString()}`);
  return built.stdout.toString();
}

/**
 * What has to be said of the noVNC that was bundled. MPL 2.0 section 3.2: whoever gets the executable form is told where the
 * source is. Its DES and pako have licences of their own, whose words must stay; a bundle loses all comments.
 */
export function notice(): string {
  const root = join(dirname(Bun.resolveSync("@novnc/novnc", import.meta.dir)), "..");
  const text = (path: string): string => readFileSync(join(root, path), "utf8");
  const { version } = JSON.parse(text("package.json")) as { version: string };
  const des = text("core/crypto/des.js");
  return `/*\nnoVNC ${version}, Mozilla Public License 2.0 (https://www.mozilla.org/MPL/2.0/)\nSource: https://github.com/novnc/noVNC/tree/v${version}\n*/\n`
    + `${des.slice(0, des.indexOf("*/") + 2)}\n/*\npako, ${text("vendor/pako/LICENSE").trim()}\n*/\n`;
}
