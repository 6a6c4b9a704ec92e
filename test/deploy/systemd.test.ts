import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { command as serve } from "../../src/cli/serve.ts";

const UNIT = join(import.meta.dir, "..", "..", "deploy", "systemd", "route-gateway.service");
const ANALYZE = Bun.which("systemd-analyze");

describe("systemd unit", () => {
  let directory: string;
  let unit: string;
  let settings: ReadonlyMap<string, readonly string[]>;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "unit-"));
    unit = join(directory, "route-gateway.service");
    const text = await Bun.file(UNIT).text();
    settings = Map.groupBy(text.matchAll(/^([A-Za-z]+)=(.*)$/gm), ([, name]) => name!)
      .entries().reduce((all, [name, values]) => all.set(name, values.map(([, , value]) => value!)), new Map<string, string[]>());
    // systemd-analyze looks whether the program is there: a copy of the unit names one that is.
    const program = join(directory, "route-gateway");
    await Bun.write(program, "#!/bin/sh\n");
    await chmod(program, 0o755);
    await Bun.write(unit, text.replaceAll("/usr/local/bin/route-gateway", program));
  });
  afterAll(() => rm(directory, { recursive: true }));

  const analyze = (...words: string[]) => {
    const { exitCode, stdout, stderr } = Bun.spawnSync(["systemd-analyze", ...words, unit], { env: { ...process.env, LC_ALL: "C" } });
    return { exitCode, output: `${stdout}${stderr}` };
  };

  test.skipIf(!ANALYZE)("is clean for systemd-analyze verify (needs systemd-analyze)", () => {
    expect(analyze("verify", "--man=no")).toEqual({ exitCode: 0, output: "" });
  });

  test.skipIf(!ANALYZE)("has an exposure below 2.0 for systemd-analyze security (needs systemd-analyze)", () => {
    const { output } = analyze("security", "--offline=true", "--no-pager");
    expect(Number(/exposure level for \S+: ([\d.]+)/.exec(output)?.[1])).toBeLessThan(2);
  });

  test("runs serve, as a user of its own that may bind low ports and nothing more", () => {
    expect(settings.get("ExecStart")).toEqual(["/usr/local/bin/route-gateway serve $ROUTE_GATEWAY_OPTIONS"]);
    expect(settings.get("User")).toEqual(["route-gateway"]);
    expect(settings.get("AmbientCapabilities")).toEqual(["CAP_NET_BIND_SERVICE"]);
    expect(settings.get("CapabilityBoundingSet")).toEqual(["CAP_NET_BIND_SERVICE"]);
    expect(settings.get("NoNewPrivileges")).toEqual(["yes"]);
  });

  test("is told about readiness and reloads as the program tells it", () => {
    expect(settings.get("Type")).toEqual(["notify"]);
    expect(settings.get("ExecReload")).toEqual(["/bin/kill -HUP $MAINPID"]);
  });

  test("may write where routes.yaml suggests to keep the cache, and where certificates are kept", async () => {
    const [, suggested] = /# directory: (\S+)/.exec(await Bun.file(join(UNIT, "../../../routes.yaml")).text()) ?? [];
    expect(settings.get("ProtectSystem")).toEqual(["strict"]);
    expect(suggested).toBe(`/var/cache/${settings.get("CacheDirectory")}`);
    expect(settings.get("StateDirectory")).toEqual(["route-gateway"]);
  });

  test("leaves the JIT compiler its memory, and Bun's own variables outside", () => {
    expect(settings.has("MemoryDenyWriteExecute")).toBe(false);
    expect(settings.has("LimitAS")).toBe(false);
    const unset = settings.get("UnsetEnvironment")!.join(" ").split(" ");
    expect(unset).toContainValues(["BUN_OPTIONS", "BUN_BE_BUN", "BUN_INSPECT", "LD_PRELOAD"]);
  });

  test("explains itself with variables and flags that the program has", async () => {
    const text = await Bun.file(UNIT).text();
    const variables = new Set((serve.spec.environment ?? []).flatMap(([names]) => names.split(", ")));
    const named = [...text.matchAll(/^# {3}([A-Z_]+)=/gm)].map(([, name]) => name!);
    expect(named).toEqual(["JWT_DESKTOP_SIGNING_PUBLIC_KEY", "JWT_DESKTOP_PAYLOAD_PRIVATE_KEY"]);
    expect(named.filter((name) => !variables.has(name))).toEqual([]);
    expect(serve.spec.flags?.map(({ name }) => name)).toContain("config");
  });
});
