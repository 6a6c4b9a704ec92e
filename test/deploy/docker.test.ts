import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..", "..");
const read = (path: string) => Bun.file(join(ROOT, path)).text();
const VARIANTS = ["deploy/docker/Dockerfile", "deploy/docker/Dockerfile.distroless"];

/** The instructions after the last FROM, continuation lines joined: [["USER", "65532:65532"], ...]. */
function finalStage(dockerfile: string): ReadonlyMap<string, string> {
  const lines = dockerfile.replaceAll("\\\n", " ").split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  const last = lines.findLastIndex((line) => line.startsWith("FROM "));
  return new Map(lines.slice(last).map((line) => [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)]));
}

describe("container images", () => {
  for (const variant of VARIANTS) {
    test(`${variant} copies files that are there`, async () => {
      const copied = [...(await read(variant)).matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, names]) => names!.split(" "));
      expect(copied.length).toBeGreaterThan(5);
      expect(copied.filter((name) => !existsSync(join(ROOT, name)))).toEqual([]);
    });

    test(`${variant} copies every file that the program is built from`, async () => {
      const dockerfile = await read(variant);
      const names = await Array.fromAsync(new Bun.Glob("src/**/*.ts").scan(ROOT));
      const outside = new Set<string>();
      for (const name of names) {
        for (const [, imported] of (await read(name)).matchAll(/^import .*from "(\.\.?\/[^"]*)"/gm)) {
          const path = join(name, "..", imported!);
          if (!path.startsWith("src/")) outside.add(path);
        }
      }
      expect([...outside].filter((path) => !dockerfile.includes(path))).toEqual([]);
    });

    test(`${variant} runs the program as user 65532 on port 80, with its own health check`, async () => {
      const stage = finalStage(await read(variant));
      expect(stage.get("USER")).toBe("65532:65532");
      expect(stage.get("EXPOSE")).toBe("80");
      expect(stage.get("HEALTHCHECK")).toEndWith('CMD ["/usr/local/bin/route-gateway", "healthcheck"]');
      expect(stage.get("ENTRYPOINT")).toBe('["/usr/local/bin/route-gateway"]');
      expect(stage.get("CMD")).toBe('["serve"]');
    });
  }

  test("scratch-image.sh says the same as the Dockerfile", async () => {
    const stage = finalStage(await read("deploy/docker/Dockerfile"));
    const script = (await read("deploy/docker/scratch-image.sh")).replaceAll("\\\n", " ");
    const option = (name: string) => new RegExp(`--${name} ('[^']*'|\\S+)`).exec(script)?.[1]?.replaceAll("'", "");
    expect(option("user")).toBe(stage.get("USER")!);
    expect(option("port")).toBe(`${stage.get("EXPOSE")}/tcp`);
    expect(option("stop-signal")).toBe(stage.get("STOPSIGNAL")!);
    expect(option("entrypoint")).toBe(stage.get("ENTRYPOINT")!);
    expect([option("cmd")]).toEqual(JSON.parse(stage.get("CMD")!));
    const check = stage.get("HEALTHCHECK")!;
    expect(option("healthcheck")).toBe(`CMD ${(JSON.parse(check.slice(check.indexOf("["))) as string[]).join(" ")}`);
    for (const name of ["interval", "timeout", "start-period", "retries"]) {
      expect(option(`healthcheck-${name}`)).toBe(new RegExp(`--${name}=(\\S+)`).exec(check)![1]!);
    }
  });

  test.skipIf(!Bun.which("ldd") || process.platform !== "linux")("Bun needs the loader and four C libraries, nothing else (needs ldd)", () => {
    const listed = Bun.spawnSync(["ldd", process.execPath]).stdout.toString();
    const names = [...listed.matchAll(/\/(\S+\/)*(\S+)/g)].map((match) => match[2]!.replace(/^ld-linux.*/, "ld-linux")).toSorted();
    expect(names).toEqual(["ld-linux", "libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0"]);
  });
});
