// Compiles src/main.ts into one executable per platform: `npm run build` makes dist/route-gateway for this machine and, where
// the registry has Bun's builds, dist/route-gateway-linux-arm64 and -linux-x64-musl. `--native` makes only the first.
// `--library` makes dist/library instead, what the npm package holds: src/index.ts and its worker, bundled for Bun, and their types.
//
// Each platform is built by a child process with a deadline: a runtime that cannot be fetched costs that one file, reported
// by name, never the native one. The result must not be stripped or packed: the program is appended to the runtime.

import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { arch, platform } from "node:os";
import { join } from "node:path";

type Platform = { readonly name: string; readonly target: Bun.Build.CompileTarget | null; readonly file: string };

const ROOT = import.meta.dir;

const OUT = process.env.ROUTE_BUILD_DIR ?? join(ROOT, "dist");

const PLATFORMS: readonly Platform[] = [
  { name: `${platform()}-${arch()} (this machine)`, target: null, file: "route-gateway" },
  { name: "linux-arm64", target: "bun-linux-arm64", file: "route-gateway-linux-arm64" },
  { name: "linux-x64-musl", target: "bun-linux-x64-musl", file: "route-gateway-linux-x64-musl" },
];

/** A cross build downloads about 40 MB once; a registry that does not answer must not hold the build up. */
const CROSS_BUILD_TIMEOUT_MS = 120_000;

/** What the package is loaded by: the library itself, and the file of its thread, found beside it. */
const LIBRARY = ["src/index.ts", "src/websocket-proxy-worker.ts"];

/** Worker scripts are files of their own inside the executable and so must be entry points. */
const WORKERS = ["src/token/decrypt-worker.ts"];

const only = process.argv.indexOf("--only");
if (only > 0) await compile(PLATFORMS.find(({ file }) => file === process.argv[only + 1])!);
else if (process.argv.slice(2).join(" ") === "--library") await buildLibrary();
else process.exitCode = await buildAll(process.argv.slice(2));

async function buildAll(flags: readonly string[]): Promise<number> {
  const unknown = flags.find((flag) => flag !== "--native" && flag !== "--all");
  if (unknown !== undefined) {
    console.error(`unknown flag "${unknown}": use --native (this machine only), --all (fail when one cannot be built) or, alone, --library`);
    return 2;
  }
  const wanted = flags.includes("--native") ? PLATFORMS.slice(0, 1) : PLATFORMS;
  let missing = 0;
  for (const each of wanted) {
    const problem = await buildInChild(each);
    if (problem === null) continue;
    console.error(`not built: ${each.file} for ${each.name}: ${problem}`);
    if (each.target === null) return 1;
    missing += 1;
  }
  return missing > 0 && flags.includes("--all") ? 1 : 0;
}

/** null, or why there is no executable for this platform. */
async function buildInChild(wanted: Platform): Promise<string | null> {
  const child = Bun.spawn([process.execPath, import.meta.path, "--only", wanted.file], {
    cwd: ROOT, stdin: "ignore", stdout: "inherit", stderr: "pipe",
    ...(wanted.target === null ? {} : { timeout: CROSS_BUILD_TIMEOUT_MS }),
  });
  const complaint = (await new Response(child.stderr).text()).trim();
  if (await child.exited === 0) return null;
  if (child.signalCode !== null) return `no result within ${CROSS_BUILD_TIMEOUT_MS / 1000} s (${child.signalCode})`;
  return complaint === "" ? `exit code ${child.exitCode}` : complaint.replace(/\s*Bun v.*$/, "");
}

async function compile(wanted: Platform): Promise<void> {
  // Built in a directory beside its place and renamed: a running executable cannot be overwritten, but it can be replaced;
  // source maps of the workers, which Bun also writes to disk, go with the directory.
  const temporary = join(OUT, `.building-${wanted.file}-${process.pid}`);
  await mkdir(temporary, { recursive: true });
  try {
    await Bun.build(options(wanted, join(temporary, wanted.file)));
    await rename(join(temporary, wanted.file), join(OUT, wanted.file));
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  const { size } = await stat(join(OUT, wanted.file));
  console.log(`built ${wanted.file} for ${wanted.name}, ${Math.round(size / 1e6)} MB`);
}

function options(wanted: Platform, outfile: string): Bun.BuildConfig {
  return {
    entrypoints: ["src/main.ts", ...WORKERS].map((path) => join(ROOT, path)).filter((path, i) => i === 0 || existsSync(path)),
    // Flat, because import.meta.url of every bundled file is the root of the executable: `./decrypt-worker.ts` is found there.
    naming: { entry: "[name].[ext]" },
    root: ROOT,
    target: "bun",
    format: "esm",
    // Measured on `serve`, exec to first answer: 60 ms without bytecode, 28 ms with it, 27 ms and 1 MB less when a command
    // loads only its own chunks. The source map costs 0.5 MB of file and no time; it puts our files and lines into stack traces.
    bytecode: true,
    splitting: true,
    sourcemap: "inline",
    // Names stay: they are what a stack trace and a log line show.
    minify: { whitespace: true, syntax: true, identifiers: false },
    define: buildInfo(),
    compile: {
      outfile,
      ...(wanted.target === null ? {} : { target: wanted.target }),
      // Bun's own limit for a request head is 16 KiB; ours is a setting, checked by the proxy.
      execArgv: ["--max-http-header-size=65536"],
      // A .env or bunfig.toml in the working directory must not change what an installed program does.
      autoloadDotenv: false,
      autoloadBunfig: false,
    },
  };
}

/** Made beside its place and moved there: nobody packs half of it. */
async function buildLibrary(): Promise<void> {
  const temporary = join(OUT, `.building-library-${process.pid}`);
  try {
    await Bun.build({
      entrypoints: LIBRARY.map((path) => join(ROOT, path)), outdir: temporary, root: join(ROOT, "src"),
      naming: { entry: "[name].[ext]", chunk: "[name]-[hash].[ext]" },
      // Not minified: whoever debugs a program of theirs reads these lines.
      target: "bun", format: "esm", splitting: true, define: { ...buildInfo(), ROUTE_WITHOUT_FRONT: "true" },
    });
    await Bun.write(join(temporary, "index.d.ts"), await libraryTypes(join(temporary, "types")));
    await rm(join(temporary, "types"), { recursive: true });
    await rm(join(OUT, "library"), { recursive: true, force: true });
    await rename(temporary, join(OUT, "library"));
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  const sizes = await Promise.all((await readdir(join(OUT, "library"))).map(async (file) => (await stat(join(OUT, "library", file))).size));
  // Not on standard output: `npm pack --json` has that for itself.
  console.error(`built library, ${sizes.length} files, ${Math.round(sizes.reduce((a, b) => a + b) / 1000)} kB`);
}

/** The public types all stand in one source file, so that its declarations need no other. @throws Error when they do */
async function libraryTypes(directory: string): Promise<string> {
  const compiler = [process.execPath, join(ROOT, "node_modules/typescript/bin/tsc"), "-p", join(ROOT, "tsconfig.library.json"), "--outDir", directory];
  const { success, stdout, stderr } = Bun.spawnSync(compiler, { cwd: ROOT });
  if (!success) throw new Error(`cannot make the types of the library: ${stdout}${stderr}`);
  const text = await Bun.file(join(directory, "websocket-proxy.d.ts")).text();
  if (/\bimport\b|\bfrom\s+"/.test(text)) throw new Error("the types of the library need another file: src/websocket-proxy.ts exports what it should not");
  return text;
}

/** The constants that src/lib/build-info.ts declares. */
function buildInfo(): Record<string, string> {
  return { ROUTE_BUILD_COMMIT: JSON.stringify(process.env.ROUTE_BUILD_COMMIT ?? gitCommit() ?? "unknown") };
}

/** null without git, outside a clone (a container build, a source archive), or before the first commit. */
function gitCommit(): string | null {
  if (Bun.which("git") === null) return null;
  const git = (...args: string[]) => Bun.spawnSync(["git", "-C", ROOT, ...args], { stderr: "ignore" });
  const head = git("rev-parse", "--short=12", "HEAD");
  if (!head.success) return null;
  const changed = git("status", "--porcelain", "--untracked-files=no").stdout.length > 0;
  return `${head.stdout.toString().trim()}${changed ? "+changes" : ""}`;
}
