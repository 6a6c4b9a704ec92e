import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Gateway } from "../../src/gateway.ts";
import type { DirectoryWatchOptions } from "../../src/registry/directory-watch.ts";
import { formatGateway } from "../../src/registry/format.ts";
import { Registry } from "../../src/registry/registry.ts";
import { eventually } from "../support/eventually.ts";
import { gateway, Told, until } from "./examples.ts";

/** The poll is far away, so that what is seen was seen through events; and the other way round. */
const EVENTS_ONLY = { delayMs: 10, pollMs: 3_600_000 };
const POLLS_ONLY = { delayMs: 3_600_000, pollMs: 30 };

let root: string;
let directory: string;
let told: Told;
const open: Registry[] = [];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "route-registry-"));
  directory = join(root, "proxy");
  mkdirSync(directory);
  told = new Told();
});
afterEach(() => {
  for (const registry of open.splice(0)) registry.close();
  rmSync(root, { recursive: true, force: true });
});

async function openRegistry(watch: DirectoryWatchOptions = EVENTS_ONLY): Promise<Registry> {
  const registry = await Registry.open({ directory, domain: null, log: told, watch });
  open.push(registry);
  return registry;
}

/** As another program would: in place. */
function put(gateway: Gateway, text = formatGateway(gateway), into = directory): void {
  writeFileSync(join(into, `${gateway.id}.yaml`), text);
}

function withPort(id: string, port: number): Gateway {
  return gateway(id, `${id}.example.org`, { backends: [{ address: "10.0.0.1", port }] });
}

describe.each([["events", EVENTS_ONLY], ["polls", POLLS_ONLY]])("a change that is seen through %s", (_how, watch) => {
  test("may be a new file, a rewrite, a rename over it, and its end", async () => {
    const registry = await openRegistry(watch);
    put(withPort("a", 1));
    await until(registry, () => registry.get("a")?.backends[0]?.port === 1);
    put(withPort("a", 22));
    await until(registry, () => registry.get("a")?.backends[0]?.port === 22);
    writeFileSync(join(directory, ".new"), formatGateway(withPort("a", 3)));
    renameSync(join(directory, ".new"), join(directory, "a.yaml"));
    await until(registry, () => registry.get("a")?.backends[0]?.port === 3);
    unlinkSync(join(directory, "a.yaml"));
    await until(registry, () => registry.list().length === 0);
    expect(registry.problems.size).toBe(0);
  });

  test("may be another name: the gateway goes on under another id", async () => {
    const registry = await openRegistry(watch);
    put(gateway("a"));
    await until(registry, () => registry.get("a") !== undefined);
    renameSync(join(directory, "a.yaml"), join(directory, "b.yaml"));
    await until(registry, () => registry.get("a") === undefined);
    expect(registry.gateways.get("a.example.org")?.id).toBe("b");
    expect(registry.problems.size).toBe(0);
  });

  test("may be a swap of the link that Kubernetes mounts a ConfigMap by", async () => {
    const publish = (version: number): void => {
      mkdirSync(join(directory, `..v${version}`));
      for (const id of ["a", "b"]) put(withPort(id, version), undefined, join(directory, `..v${version}`));
      symlinkSync(`..v${version}`, join(directory, "..data_tmp"));
      renameSync(join(directory, "..data_tmp"), join(directory, "..data"));
    };
    publish(1);
    for (const id of ["a", "b"]) symlinkSync(`..data/${id}.yaml`, join(directory, `${id}.yaml`));
    const registry = await openRegistry(watch);
    expect(registry.list()).toHaveLength(2);
    for (const version of [2, 3]) {
      publish(version);
      await until(registry, () => registry.get("a")?.backends[0]?.port === version);
      expect(registry.get("b")?.backends[0]?.port).toBe(version);
    }
    expect(told.lines).toEqual([]);
  });
});

describe("a file that turns bad", () => {
  test("keeps its last good version, is reported, and is solved by a good one", async () => {
    put(gateway("a"));
    put(gateway("b"));
    const registry = await openRegistry();
    const [good, other] = [registry.get("a"), registry.get("b")];
    put(gateway("a"), "http: [\n");
    await eventually("the problem", () => registry.problems.get("a.yaml"), (problem) => problem !== undefined);
    expect(registry.get("a")).toBe(good!);
    expect(registry.problems.get("a.yaml")).toEndWith("(its last good version stays in use)");
    put(withPort("a", 9));
    await until(registry, () => registry.get("a")?.backends[0]?.port === 9);
    expect(registry.problems.size).toBe(0);
    expect(registry.get("b")).toBe(other!);
    expect(told.lines.at(-1)).toBe("a.yaml: solved");
  });

  test("and is then removed is gone", async () => {
    put(gateway("a"));
    const registry = await openRegistry();
    put(gateway("a"), "nonsense");
    await eventually("the problem", () => registry.problems.size, (size) => size === 1);
    unlinkSync(join(directory, "a.yaml"));
    await until(registry, () => registry.list().length === 0);
    expect(registry.problems.size).toBe(0);
    expect(told.lines.at(-1)).toBe("a.yaml: removed");
  });

  test("because its link leads nowhere keeps its last good version too", async () => {
    put(gateway("a"), undefined, root);
    symlinkSync("../a.yaml", join(directory, "a.yaml"));
    const registry = await openRegistry(POLLS_ONLY);
    unlinkSync(join(root, "a.yaml"));
    await eventually("the problem", () => registry.problems.get("a.yaml"), (problem) => problem !== undefined);
    expect(registry.problems.get("a.yaml")).toBe("is a link to nothing (its last good version stays in use)");
    expect(registry.list()).toHaveLength(1);
  });
});

describe("a file that claims a taken domain", () => {
  test("waits, reported with both names, until the first one goes", async () => {
    put(gateway("a", "x.example.org"));
    const registry = await openRegistry();
    put(gateway("b", "X.Example.org"));
    await eventually("the problem", () => registry.problems.get("b.yaml"), (problem) => problem !== undefined);
    expect(registry.problems.get("b.yaml")).toBe('domain "x.example.org" is already registered by workload "a", so workload "b" cannot have it (a.yaml)');
    expect(registry.gateways.get("x.example.org")?.id).toBe("a");
    unlinkSync(join(directory, "a.yaml"));
    await until(registry, () => registry.gateways.get("x.example.org")?.id === "b");
    expect(registry.problems.size).toBe(0);
  });

  test("waits behind the first one also when that is rewritten", async () => {
    put(gateway("a", "x.example.org"));
    const registry = await openRegistry();
    put(gateway("b", "x.example.org"));
    await eventually("the problem", () => registry.problems.size, (size) => size === 1);
    put(gateway("a", "x.example.org", { backends: [{ address: "10.0.0.9", port: 9 }] }));
    await until(registry, () => registry.gateways.get("x.example.org")?.backends[0]?.port === 9);
    expect([...registry.problems.keys()]).toEqual(["b.yaml"]);
  });

  test("waits behind one that came to the domain earlier, however old its own file is", async () => {
    put(gateway("a", "y.example.org"));
    put(gateway("b", "x.example.org"));
    const registry = await openRegistry();
    put(gateway("a", "x.example.org"));
    await eventually("the problem", () => registry.problems.get("a.yaml"), (problem) => problem?.includes("already registered") ?? false);
    expect(registry.gateways.get("x.example.org")?.id).toBe("b");
  });

  test("goes on with what it served before", async () => {
    put(gateway("a", "x.example.org"));
    put(gateway("b", "y.example.org"));
    const registry = await openRegistry();
    put(gateway("b", "x.example.org"));
    await eventually("the problem", () => registry.problems.size, (size) => size === 1);
    expect(registry.gateways.get("y.example.org")?.id).toBe("b");
    await registry.delete("a");
    expect([...registry.gateways].map(([fqdn, { id }]) => [fqdn, id])).toEqual([["x.example.org", "b"]]);
  });
});

describe("the directory", () => {
  test("that is made anew is followed again", async () => {
    const registry = await openRegistry({ delayMs: 5, pollMs: 30 });
    for (const port of [1, 2]) {
      rmSync(directory, { recursive: true });
      mkdirSync(directory);
      put(withPort("a", port));
      await until(registry, () => registry.get("a")?.backends[0]?.port === port);
    }
  });

  test("that cannot be read leaves everything as it was, and is a problem", async () => {
    put(gateway("a"));
    const registry = await openRegistry(POLLS_ONLY);
    renameSync(directory, join(root, "away"));
    await eventually("the problem", () => registry.problems.get(directory), (problem) => problem !== undefined);
    expect(registry.problems.get(directory)).toStartWith("cannot read the directory: ENOENT");
    expect(registry.list()).toHaveLength(1);
    renameSync(join(root, "away"), directory);
    await eventually("its end", () => registry.problems.size, (size) => size === 0);
    expect(registry.list()).toHaveLength(1);
  });

  test("is not looked at after close", async () => {
    const [closed, other] = [await openRegistry(EVENTS_ONLY), await openRegistry({ delayMs: 30, pollMs: 3_600_000 })];
    closed.close();
    put(gateway("a"));
    await until(other, () => other.list().length === 1);
    expect(closed.list()).toEqual([]);
  });
});

describe("many changes", () => {
  test("of one file end with the last, and become few snapshots", async () => {
    put(withPort("a", 1));
    put(gateway("b"));
    const registry = await openRegistry();
    const other = registry.get("b");
    let snapshots = 0;
    registry.onChange(() => { snapshots += 1; });
    for (let port = 2; port <= 400; port += 1) {
      put(withPort("a", port));
      if (port % 20 === 0) await new Promise<void>((resolve) => { setImmediate(resolve); });
    }
    await until(registry, () => registry.get("a")?.backends[0]?.port === 400);
    expect(snapshots).toBeLessThan(100);
    expect(registry.get("b")).toBe(other!);
  });

  test("of many files, by calls and by others, end as the directory is", async () => {
    const registry = await openRegistry();
    const calls: Array<Promise<unknown>> = [];
    for (let round = 1; round <= 4; round += 1) {
      for (let index = 0; index < 25; index += 1) {
        put(withPort(`file${index}`, round));
        calls.push(registry.set(withPort(`call${index}`, round)));
      }
      for (let index = 0; index < 25; index += 5) {
        unlinkSync(join(directory, `file${index}.yaml`));
        calls.push(registry.delete(`call${index}`));
      }
    }
    await Promise.all(calls);
    await until(registry, () => registry.list().length === 40 && registry.list().every(({ backends }) => backends[0]?.port === 4));
    expect(registry.problems.size).toBe(0);
    const again = await openRegistry();
    expect(new Map(again.gateways)).toEqual(new Map(registry.gateways));
  });

  test("of a directory with thousands of files are read once each", async () => {
    for (let index = 0; index < 1500; index += 1) put(gateway(`w${index}`));
    const startedMs = performance.now();
    const registry = await openRegistry();
    expect(registry.list()).toHaveLength(1500);
    // 10,000 take half a second on an idle machine; this bound is forty times that, for a busy one.
    expect(performance.now() - startedMs).toBeLessThan(3000);
    const before = registry.get("w7");
    put(withPort("w8", 1));
    await until(registry, () => registry.get("w8")?.backends[0]?.port === 1);
    expect(registry.get("w7")).toBe(before!);
  }, 20_000);
});
