import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatGateway } from "../../src/registry/format.ts";
import { Registry } from "../../src/registry/registry.ts";
import { Told } from "./examples.ts";
import { versioned } from "./writer.ts";

const WRITER = join(import.meta.dir, "writer.ts");
/** Of `nobody`, on every Linux. */
const NOBODY = "65534";

let root: string;
let directory: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "route-crash-"));
  directory = join(root, "proxy");
  mkdirSync(directory);
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** The same moments in every run, as far as a process can be stopped at the same moments. */
function* random(seed: number): Generator<number, never> {
  for (let state = seed; ;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    yield state / 2 ** 32;
  }
}

async function openRegistry(): Promise<Registry> {
  return await Registry.open({ directory, domain: null, log: new Told(), watch: { pollMs: 3_600_000 } });
}

async function output(command: readonly string[]): Promise<string> {
  const child = Bun.spawn([...command], { stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return stdout.trim() || stderr.trim();
}

describe("a writer that is killed", () => {
  test("at any moment leaves files that all load, each with one version of itself", async () => {
    const moments = random(20_260_924);
    let versions = 0;
    for (let round = 0; round < 24; round += 1) {
      const child = Bun.spawn([process.execPath, WRITER, directory, "forever"], { stdout: "pipe", stderr: "inherit" });
      await child.stdout.getReader().read();
      await Bun.sleep(moments.next().value * 25);
      child.kill("SIGKILL");
      await child.exited;
      const registry = await openRegistry();
      expect(Object.fromEntries(registry.problems)).toEqual({});
      for (const { backends } of registry.list()) {
        expect(backends).toHaveLength(300);
        expect(new Set(backends.map(({ port }) => port)).size).toBe(1);
        versions += backends[0]?.port ?? 0;
      }
      registry.close();
    }
    // They did write: in each round two files at least.
    expect(versions).toBeGreaterThanOrEqual(48);
  }, 30_000);

  test("before the rename leaves the old file", async () => {
    writeFileSync(join(directory, "a.yaml"), formatGateway(versioned("a", 1)));
    writeFileSync(join(directory, `.route-${crypto.randomUUID()}.tmp`), formatGateway(versioned("a", 2)).slice(0, 500));
    const registry = await openRegistry();
    expect(registry.get("a")?.backends[0]?.port).toBe(1);
    expect(registry.problems.size).toBe(0);
    registry.close();
  });
});

describe("a disk that takes nothing more", () => {
  test("refuses the write, and what was registered stays, in the file and in use", async () => {
    const old = formatGateway(versioned("a", 1));
    writeFileSync(join(directory, "a.yaml"), old);
    // A limit of four blocks for any file: the write ends in the middle, as on a full disk (with EFBIG in place of ENOSPC).
    const script = "trap '' XFSZ; ulimit -f 4; exec \"$@\"";
    const answer = JSON.parse(await output(["sh", "-c", script, "sh", process.execPath, WRITER, directory, "once", "a", "2"])) as object;
    expect(answer).toEqual({ code: "storage", message: expect.stringContaining('cannot write the file of workload "a": EFBIG'), served: 1 });
    expect(readFileSync(join(directory, "a.yaml"), "utf8")).toBe(old);
    expect(readdirSync(directory)).toEqual(["a.yaml"]);
  });
});

describe("a directory that may not be written to", () => {
  test.skipIf(process.getuid?.() !== 0)("refuses the write, and what was registered stays (needs root, to become nobody)", async () => {
    const old = formatGateway(versioned("a", 1));
    writeFileSync(join(directory, "a.yaml"), old);
    chmodSync(root, 0o755);
    chmodSync(directory, 0o755);
    const answer = JSON.parse(await output([process.execPath, WRITER, directory, "once", "a", "2", NOBODY])) as object;
    expect(answer).toEqual({ code: "storage", message: expect.stringMatching(/^cannot write the file of workload "a": EACCES/), served: 1 });
    expect(readFileSync(join(directory, "a.yaml"), "utf8")).toBe(old);
    expect(readdirSync(directory)).toEqual(["a.yaml"]);
  });

  test.skipIf(process.getuid?.() === 0)("refuses the write, and what was registered stays (needs not to be root)", async () => {
    writeFileSync(join(directory, "a.yaml"), formatGateway(versioned("a", 1)));
    chmodSync(directory, 0o555);
    const answer = JSON.parse(await output([process.execPath, WRITER, directory, "once", "a", "2"])) as object;
    chmodSync(directory, 0o755);
    expect(answer).toEqual({ code: "storage", message: expect.stringMatching(/EACCES/), served: 1 });
  });
});

describe("a directory that went away", () => {
  test.each([["ENOTDIR", (path: string) => writeFileSync(path, "a file in its place")], ["the registry's directory is gone", () => {}]])("refuses writes and deletions, and what was registered stays in use: %s", async (reason, replace) => {
    writeFileSync(join(directory, "a.yaml"), formatGateway(versioned("a", 1)));
    const registry = await openRegistry();
    renameSync(directory, join(root, "away"));
    replace(directory);
    await expect(registry.set(versioned("a", 2))).rejects.toMatchObject({ code: "storage", message: expect.stringContaining(reason) });
    await expect(registry.delete("a")).rejects.toMatchObject({ code: "storage", message: expect.stringContaining(reason) });
    expect(registry.get("a")?.backends[0]?.port).toBe(1);
    rmSync(directory, { force: true });
    renameSync(join(root, "away"), directory);
    await registry.set(versioned("a", 3));
    expect(registry.get("a")?.backends[0]?.port).toBe(3);
    expect(registry.problems.size).toBe(0);
    registry.close();
  });
});
