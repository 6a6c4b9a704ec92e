// `npm test`: runs every test file with `bun test`, one process a file, one after the other: figures for memory, descriptors
// and time then belong to the file that measures them, and a crash costs one file. Prints the runner's own output, then the
// skipped tests by name, the failed ones by name and reason, and as its last line `N passed, N failed, N skipped` from the JUnit
// reports.
//
//   npm test                     all files below test/
//   npm test -- router e2e/vnc   the files whose path contains one of these
//
// A file that ends badly without saying why, or holds no test, counts as one failure: nothing passes by not running.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** In the summary, each `file > describe > test`; below what failed stands why. */
type Report = { passed: number; readonly failed: string[]; readonly skipped: string[] };

/** Of one test that says nothing itself; above the waits in them, which say what they waited for. */
const TEST_TIMEOUT_MS = 30_000;

/** Far above any file's need; a hang must end before the machine's patience does. */
const FILE_TIMEOUT_MS = 15 * 60_000;

/** Of why one test failed; the whole of it stands in the runner's own output. */
const REASON_LIMIT_LINES = 20;

const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

const words = process.argv.slice(2);
const root = words[0] === "--root" ? words.splice(0, 2)[1]! : import.meta.dir;
process.exitCode = await runAll(root, words);

async function runAll(directory: string, patterns: readonly string[]): Promise<number> {
  const files = await findTests(directory, patterns);
  const reports = await mkdtemp(join(tmpdir(), "route-test-"));
  const total: Report = { passed: 0, failed: [], skipped: [] };
  try {
    for (const file of files) await runFile(directory, file, join(reports, "report.xml"), total);
  } finally {
    await rm(reports, { recursive: true });
  }
  if (total.passed + total.failed.length === 0) total.failed.push(`no test ran (files matching: ${patterns.join(" ") || "*"})`);
  printNames("skipped", total.skipped);
  printNames("failed", total.failed);
  console.log(`${total.passed} passed, ${total.failed.length} failed, ${total.skipped.length} skipped`);
  return total.failed.length === 0 ? 0 : 1;
}

async function findTests(directory: string, patterns: readonly string[]): Promise<string[]> {
  const files = await Array.fromAsync(new Bun.Glob("**/*.test.ts").scan(directory));
  return files.filter((file) => patterns.length === 0 || patterns.some((pattern) => `test/${file}`.includes(pattern))).toSorted();
}

async function runFile(directory: string, file: string, reportFile: string, total: Report): Promise<void> {
  await rm(reportFile, { force: true });
  // The limit that build.ts gives the executable: tests meet the server as it ships.
  const command = [process.execPath, "--max-http-header-size=65536", "test", "--no-orphans", `--timeout=${TEST_TIMEOUT_MS}`];
  const report = ["--reporter=junit", `--reporter-outfile=${reportFile}`];
  const child = Bun.spawn([...command, ...report, join(directory, file)], {
    stdin: "ignore", stdout: "inherit", stderr: "inherit", timeout: FILE_TIMEOUT_MS,
  });
  const code = await child.exited;
  const failedBefore = total.failed.length;
  const written = Bun.file(reportFile);
  const found = (await written.exists()) ? addReport(file, await written.text(), total) : 0;
  if (code !== 0 && total.failed.length === failedBefore) {
    total.failed.push(`${file}: ended with ${child.signalCode ?? `exit code ${code}`}`);
  } else if (found === 0 && code === 0) total.failed.push(`${file}: holds no test`);
}

/** @returns how many tests the report names. */
function addReport(file: string, xml: string, total: Report): number {
  const cases = [...xml.matchAll(/<testcase ([^>]*?)(\/>|>([\s\S]*?)<\/testcase>)/g)];
  for (const [, attributes = "", , body = ""] of cases) {
    // Bun names the innermost `describe` first.
    const groups = attribute(attributes, "classname").split(" > ").toReversed();
    const name = [file, ...groups, attribute(attributes, "name")].filter((part) => part !== "").join(" > ");
    if (body.includes("<skipped")) total.skipped.push(name);
    else if (body.trim() === "") total.passed += 1;
    else total.failed.push([name, ...reason(body)].join("\n      "));
  }
  return cases.length;
}

function reason(body: string): string[] {
  const [, attributes = "", text] = /<failure([^>]*?)(?:\/>|>([\s\S]*?)<\/failure>)/.exec(body) ?? [];
  const said = text === undefined ? attribute(attributes, "message") : decoded(text);
  return said.split("\n").filter((line) => line.trim() !== "").slice(0, REASON_LIMIT_LINES);
}

function attribute(attributes: string, name: string): string {
  return decoded(new RegExp(`(?:^| )${name}="([^"]*)"`).exec(attributes)?.[1] ?? "");
}

function decoded(text: string): string {
  return text.replace(/&(\w+|#\d+);/g, (whole, entity: string) =>
    entity.startsWith("#") ? String.fromCodePoint(Number(entity.slice(1))) : (ENTITIES[entity] ?? whole));
}

function printNames(title: string, names: readonly string[]): void {
  if (names.length > 0) console.log(`\n${title}:\n${names.map((name) => `  ${name}`).join("\n")}`);
  if (title === "failed") console.log("");
}
