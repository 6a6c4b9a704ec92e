import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkDirectory } from "../../src/registry/check.ts";
import { formatGateway } from "../../src/registry/format.ts";
import { Registry } from "../../src/registry/registry.ts";
import { gateway, NAME_FILE, NAME_GATEWAY, PASSTHROUGH_FILE, PASSTHROUGH_GATEWAY, Told } from "./examples.ts";

/** Neither events nor polls come in these tests: what is seen is seen because of a call. */
const DEAF = { delayMs: 3_600_000, pollMs: 3_600_000 };

let root: string;
let directory: string;
let told: Told;
const open: Registry[] = [];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "route-registry-"));
  directory = join(root, "proxy");
  told = new Told();
});
afterEach(() => {
  for (const registry of open.splice(0)) registry.close();
  rmSync(root, { recursive: true, force: true });
});

async function openRegistry(files: Readonly<Record<string, string>> = {}, domain: string | null = null): Promise<Registry> {
  mkdirSync(directory, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  const registry = await Registry.open({ directory, domain, log: told, watch: DEAF });
  open.push(registry);
  return registry;
}

function file(name: string): string {
  return readFileSync(join(directory, name), "utf8");
}

async function refusalOf(call: Promise<unknown>): Promise<{ code: string; message: string }> {
  const error = await call.then(() => new Error("it was not refused"), (error: unknown) => error as Error);
  return { code: (error as { code?: string }).code ?? "", message: error.message };
}

describe("opening", () => {
  test("makes the directory, and is empty then", async () => {
    const registry = await Registry.open({ directory: join(root, "a", "b"), domain: null, log: told, watch: DEAF });
    open.push(registry);
    expect(readdirSync(join(root, "a", "b"))).toEqual([]);
    expect(registry.list()).toEqual([]);
  });

  test("reads every file, whoever wrote it", async () => {
    const registry = await openRegistry({ "37-1976-workloadname.yaml": NAME_FILE, "37-2039-testname.yaml": PASSTHROUGH_FILE });
    expect(registry.get("37-1976-workloadname")).toEqual(NAME_GATEWAY);
    expect(registry.gateways.get("remote.omar.grid.tf")).toEqual(PASSTHROUGH_GATEWAY);
    expect(registry.list()).toHaveLength(2);
    expect(registry.problems.size).toBe(0);
  });

  test("reports each bad file with all its mistakes, and reads all others", async () => {
    const registry = await openRegistry({ "a.yaml": formatGateway(gateway("a")), "b.yaml": "http: [\n", "c.yaml": NAME_FILE.replace("rule", "rul").replace("9000", "0") });
    expect(registry.list()).toEqual([gateway("a")]);
    expect([...registry.problems.keys()].toSorted()).toEqual(["b.yaml", "c.yaml"]);
    expect(registry.problems.get("c.yaml")).toBe('3:9: missing key "rule"; 4:13: unknown key "rul" (did you mean "rule"?); 15:28: backend "http://[2001:db8::7]:0": port "0" is not a number from 1 to 65535');
    expect(told.lines).toHaveLength(2);
  });

  test("passes over dotfiles, files being written and files of other kinds", async () => {
    const registry = await openRegistry({ ".a.yaml": "x", ".route-x.tmp": "x", "a.yaml.tmp": "x", "a.yaml~": "x", "readme.md": "x", "#a.yaml#": "x" });
    mkdirSync(join(directory, "..2026"));
    expect([registry.list(), registry.problems.size]).toEqual([[], 0]);
  });

  test("reports what looks like a file of the registry and is none", async () => {
    mkdirSync(join(directory, "d.yaml"), { recursive: true });
    const registry = await openRegistry({ "e.yml": NAME_FILE, "f.YAML": NAME_FILE, "g\u0007.yaml": NAME_FILE, "h.yaml": `#${"x".repeat(300_000)}\n` });
    expect(Object.fromEntries(registry.problems)).toEqual({
      "d.yaml": "is a directory",
      "e.yml": "not read: its name must end in .yaml",
      "f.YAML": "not read: its name must end in .yaml",
      "g\u0007.yaml": 'workload id "g\\u0007" holds characters that cannot be printed',
      "h.yaml": "has 300002 bytes, more than any registration (262144)",
    });
  });

  test.skipIf(Bun.which("mkfifo") === null)("does not wait for a pipe (needs mkfifo)", async () => {
    mkdirSync(directory);
    Bun.spawnSync(["mkfifo", join(directory, "a.yaml")]);
    expect((await openRegistry()).problems.get("a.yaml")).toBe("is not a file");
  });

  test("of two files for one domain serves the older one, in any letter case, and names both", async () => {
    mkdirSync(directory);
    writeFileSync(join(directory, "a.yaml"), formatGateway(gateway("a", "x.example.org")).replace("x.ex", "X.EX"));
    writeFileSync(join(directory, "b.yaml"), formatGateway(gateway("b", "x.example.org")));
    utimesSync(join(directory, "a.yaml"), 2000, 2000);
    utimesSync(join(directory, "b.yaml"), 1000, 1000);
    const registry = await openRegistry();
    expect(registry.gateways.get("x.example.org")?.id).toBe("b");
    expect(Object.fromEntries(registry.problems)).toEqual({ "a.yaml": 'domain "x.example.org" is already registered by workload "b", so workload "a" cannot have it (b.yaml)' });
    expect(registry.get("a")).toBeUndefined();
  });

  test("removes what a writer left long ago, and nothing else", async () => {
    mkdirSync(directory);
    const names = [`.route-${crypto.randomUUID()}.tmp`, `.route-${crypto.randomUUID()}.tmp`, ".route-mine.tmp"];
    for (const name of names) writeFileSync(join(directory, name), "half a fi");
    for (const name of [names[0]!, names[2]!]) utimesSync(join(directory, name), 1000, 1000);
    await openRegistry();
    expect(readdirSync(directory).toSorted()).toEqual([names[1]!, names[2]!].toSorted());
  });

  test("fails where no directory can be", async () => {
    writeFileSync(join(root, "file"), "");
    await expect(Registry.open({ directory: join(root, "file", "proxy"), domain: null, log: told })).rejects.toThrow("ENOTDIR");
    await expect(Registry.open({ directory: join(root, "file"), domain: null, log: told })).rejects.toThrow("EEXIST");
  });
});

describe("a domain that another file waits for", () => {
  test("stays with its workload over updates and a restart, also for `check DIR`", async () => {
    const registry = await openRegistry();
    await registry.set(gateway("owner", "x.example.org"));
    const claimedMs = statSync(join(directory, "owner.yaml")).mtimeMs;
    const waiting = join(directory, "waiting.yaml");
    writeFileSync(waiting, formatGateway(gateway("waiting", "x.example.org")));
    // Of the time between the claim and the update, however coarse the clock of the file system is.
    utimesSync(waiting, (claimedMs + 1) / 1000, (claimedMs + 1) / 1000);
    for (const port of [1, 2]) {
      await registry.set(gateway("owner", "x.example.org", { backends: [{ address: "10.0.0.1", port }] }));
      expect(registry.get("owner")?.backends[0]?.port).toBe(port);
    }
    registry.close();
    const again = await openRegistry();
    expect(again.gateways.get("x.example.org")?.id).toBe("owner");
    expect([...again.problems.keys()]).toEqual(["waiting.yaml"]);
    expect((await checkDirectory(directory, null)).mistakes.map(({ file }) => file)).toEqual(["waiting.yaml"]);
  });

  test("is claimed anew by a workload that had left it", async () => {
    const registry = await openRegistry({ "owner.yaml": formatGateway(gateway("owner", "x.example.org")) });
    utimesSync(join(directory, "owner.yaml"), 1000, 1000);
    await registry.set(gateway("owner", "y.example.org"));
    expect(statSync(join(directory, "owner.yaml")).mtimeMs).toBeGreaterThan(Date.now() - 60_000);
  });
});

describe("registering", () => {
  test("writes the file, and nothing stays beside it", async () => {
    const registry = await openRegistry();
    await registry.set(NAME_GATEWAY);
    expect(file("37-1976-workloadname.yaml")).toBe(NAME_FILE);
    expect(readdirSync(directory)).toEqual(["37-1976-workloadname.yaml"]);
    expect(registry.gateways.get(NAME_GATEWAY.fqdn)).toEqual(NAME_GATEWAY);
  });

  test("is seen by listeners before it resolves, until they end", async () => {
    const registry = await openRegistry();
    const seen: string[][] = [];
    const end = registry.onChange((gateways) => void seen.push([...gateways.keys()]));
    await registry.set(gateway("a"));
    expect(seen).toEqual([["a.example.org"]]);
    end();
    await registry.set(gateway("b"));
    expect(seen).toHaveLength(1);
  });

  test("again by the same workload replaces what it had", async () => {
    const registry = await openRegistry();
    await registry.set(gateway("a", "x.example.org"));
    await registry.set(gateway("a", "y.example.org", { isPassthrough: true, resolver: null }));
    expect([...registry.gateways.keys()]).toEqual(["y.example.org"]);
    expect(file("a.yaml")).toStartWith("tcp:\n");
  });

  test("of a domain that another workload has is a conflict, and changes nothing", async () => {
    const registry = await openRegistry();
    await registry.set(gateway("a", "x.example.org"));
    expect(await refusalOf(registry.set(gateway("b", "x.example.org")))).toEqual({
      code: "conflict", message: 'domain "x.example.org" is already registered by workload "a", so workload "b" cannot have it',
    });
    expect(readdirSync(directory)).toEqual(["a.yaml"]);
  });

  test("of a domain that a file has, which nobody has told of yet, is a conflict and leaves nothing", async () => {
    const registry = await openRegistry();
    writeFileSync(join(directory, "a.yaml"), formatGateway(gateway("a", "x.example.org")));
    expect(await refusalOf(registry.set(gateway("b", "x.example.org")))).toMatchObject({ code: "conflict", message: expect.stringContaining('by workload "a"') });
    expect(readdirSync(directory)).toEqual(["a.yaml"]);
    expect(registry.gateways.get("x.example.org")?.id).toBe("a");
    expect(registry.problems.size).toBe(0);
  });

  test.each([["nothing", null], ["what it had, to the letter", `# by hand\n${formatGateway(gateway("b", "b.example.org"))}`]])("that finds its domain taken while it is written leaves %s", async (_, before) => {
    const registry = await openRegistry(before === null ? {} : { "b.yaml": before });
    const served = registry.get("b");
    // Seen by the look before the write: the moment at which an older file for the domain appears, of which another call tells.
    writeFileSync(join(directory, "c.yaml"), formatGateway(gateway("c")));
    const end = registry.onChange(() => {
      end();
      writeFileSync(join(directory, "a.yaml"), formatGateway(gateway("a", "x.example.org")));
      utimesSync(join(directory, "a.yaml"), 1000, 1000);
      void registry.set(gateway("d"));
    });
    expect(await refusalOf(registry.set(gateway("b", "x.example.org")))).toMatchObject({ code: "conflict", message: expect.stringContaining('by workload "a"') });
    expect(existsSync(join(directory, "b.yaml")) ? file("b.yaml") : null).toBe(before);
    expect(registry.get("b")).toEqual(served);
    expect(registry.problems.size).toBe(0);
    await registry.set(gateway("d"));
    expect(readdirSync(directory).filter((name) => name.startsWith("."))).toEqual([]);
  });

  test("of one domain by many at once gives it to exactly one", async () => {
    const registry = await openRegistry();
    const calls = Array.from({ length: 20 }, (_, index) => registry.set(gateway(`w${index}`, "x.example.org")));
    const results = await Promise.allSettled(calls);
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect(readdirSync(directory)).toHaveLength(1);
    expect(registry.problems.size).toBe(0);
  });

  test("by one workload many times at once ends with the last", async () => {
    const registry = await openRegistry();
    await Promise.all(Array.from({ length: 30 }, (_, index) => registry.set(gateway("a", "x.example.org", { backends: [{ address: "10.0.0.1", port: index + 1 }] }))));
    expect(registry.get("a")?.backends).toEqual([{ address: "10.0.0.1", port: 30 }]);
    expect(file("a.yaml")).toContain("http://10.0.0.1:30\n");
  });

  test("of many workloads at once loses none, and makes few snapshots", async () => {
    const registry = await openRegistry();
    let snapshots = 0;
    registry.onChange(() => { snapshots += 1; });
    await Promise.all(Array.from({ length: 200 }, (_, index) => registry.set(gateway(`w${index}`))));
    expect(registry.list()).toHaveLength(200);
    expect(snapshots).toBeLessThan(100);
  });

  test("leaves every other gateway the same object", async () => {
    const registry = await openRegistry();
    await registry.set(gateway("a"));
    await registry.set(gateway("b"));
    const [before, a] = [registry.gateways, registry.get("a")];
    await registry.set(gateway("b", "b.example.org", { backends: [{ address: "10.0.0.2", port: 1 }] }));
    expect(registry.gateways).not.toBe(before);
    expect(registry.get("a")).toBe(a!);
    expect(before.get("b.example.org")?.backends[0]?.port).toBe(8080);
  });

  test("of the same once more is no change", async () => {
    const registry = await openRegistry();
    await registry.set(gateway("a"));
    const before = registry.gateways;
    registry.onChange(() => { throw new Error("nothing changed"); });
    await registry.set(gateway("a"));
    expect(registry.gateways).toBe(before);
  });

  test.each([["../a"], [".."], [""], [".a"], ["a\0"], ["x".repeat(251)]])("by a workload that can be no file is refused: %j", async (id) => {
    const registry = await openRegistry();
    expect(await refusalOf(registry.set(gateway(id, "x.example.org")))).toMatchObject({ code: "invalid", message: expect.stringContaining("workload id") });
    expect(await refusalOf(registry.delete(id))).toMatchObject({ code: "invalid" });
    expect(readdirSync(root)).toEqual(["proxy"]);
    expect(readdirSync(directory)).toEqual([]);
  });

  test("by the longest id that can be a file works", async () => {
    const registry = await openRegistry();
    await registry.set(gateway("x".repeat(250), "x.example.org"));
    expect(registry.list()).toHaveLength(1);
  });

  test.each([
    [{ fqdn: "localhost" }, '"localhost" is not a domain such as app.example.org'],
    [{ fqdn: "a.org`) || Host(`b.org" }, "expected the rule Host"],
    [{ backends: [] }, "expected a list, found nothing"],
    [{ backends: [{ address: "host", port: 1 }] }, '"host" is a host name'],
    [{ backends: [{ address: "10.0.0.1", port: 0 }] }, 'port "0" is not a number'],
    [{ certificateNames: ["*.example.org"] }, "needs dnsresolver"],
    [{ service: "" }, "a service needs a name"],
    [{ backends: Array.from({ length: 10_000 }, () => ({ address: "10.0.0.1", port: 1 })) }, "the file would have more than 262144 bytes (10000 backends)"],
  ])("what could not be read back is refused: %#", async (changes, message) => {
    const registry = await openRegistry();
    expect(await refusalOf(registry.set(gateway("a", "a.example.org", changes)))).toEqual({ code: "invalid", message: expect.stringContaining(message) });
    expect(readdirSync(directory)).toEqual([]);
  });

  test("repairs a file that was bad", async () => {
    const registry = await openRegistry({ "a.yaml": "nonsense" });
    expect(registry.problems.size).toBe(1);
    await registry.set(gateway("a"));
    expect(registry.problems.size).toBe(0);
    expect(told.lines.at(-1)).toBe("a.yaml: solved");
  });

  test("fails when the registry is closed", async () => {
    const registry = await openRegistry();
    registry.close();
    expect(await refusalOf(registry.set(gateway("a")))).toEqual({ code: "storage", message: "the registry is closed" });
    expect(existsSync(join(directory, "a.yaml"))).toBe(false);
  });
});

describe("deleting", () => {
  test("removes the file and the gateway, and says whether there was one", async () => {
    const registry = await openRegistry();
    await registry.set(gateway("a"));
    expect(await registry.delete("a")).toBe(true);
    expect(await registry.delete("a")).toBe(false);
    expect(registry.list()).toEqual([]);
    expect(readdirSync(directory)).toEqual([]);
  });

  test("removes a bad file and its problem", async () => {
    const registry = await openRegistry({ "a.yaml": "nonsense" });
    expect(await registry.delete("a")).toBe(true);
    expect(registry.problems.size).toBe(0);
  });

  test("of the first of two files for a domain gives it to the second", async () => {
    const text = formatGateway(gateway("a", "x.example.org"));
    const registry = await openRegistry({ "a.yaml": text, "b.yaml": text });
    const [first, second] = registry.get("a") === undefined ? ["b", "a"] : ["a", "b"];
    await registry.delete(first!);
    expect(registry.gateways.get("x.example.org")?.id).toBe(second!);
    expect(registry.problems.size).toBe(0);
  });

  test("frees the domain for others at once", async () => {
    const registry = await openRegistry();
    await registry.set(gateway("a", "x.example.org"));
    await registry.delete("a");
    await registry.set(gateway("b", "x.example.org"));
    expect(registry.gateways.get("x.example.org")?.id).toBe("b");
  });
});
