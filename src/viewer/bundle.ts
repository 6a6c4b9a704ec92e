// A macro: runs while the program is transpiled or built, and what it returns becomes a constant of the program. So the
// viewer's script and the noVNC that it imports are one embedded text, in the executable as well as from the sources.

/** @param path of the entry script, relative to this file */
export function bundle(path: string): string {
  const words = [process.execPath, "build", new URL(path, import.meta.url).pathname, "--format=esm", "--target=browser", "--minify"];
  const built = Bun.spawnSync(words, { env: { ...process.env, BUN_BE_BUN: "1" } });
  if (!built.success) throw new Error(`cannot bundle ${path}: ${built.stderr.toString()}`);
  return built.stdout.toString();
}
