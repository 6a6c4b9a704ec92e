import { expect, test } from "bun:test";
import { join } from "node:path";
import { parse } from "yaml";
import { parseArgs } from "../../src/cli/args.ts";
import { command } from "../../src/cli/gateway.ts";

const TEXT = await Bun.file(join(import.meta.dir, "..", "..", "deploy", "zinit", "gateway.yaml")).text();

test("the zinit unit starts the gateway as the original's unit does, after boot", () => {
  const unit = parse(TEXT) as { exec: string; after: string[] };
  expect(unit.after).toEqual(["boot"]);
  const [program, name, ...words] = unit.exec.split(" ");
  expect([program, name]).toEqual(["route-gateway", "gateway"]);
  const args = parseArgs(words, command.spec);
  expect([args.get("broker"), args.get("root")]).toEqual(["unix:///var/run/redis.sock", "/var/cache/modules/gateway"]);
});

test("its commented example has flags that there are", () => {
  const example = /^# exec: route-gateway gateway (.*)$/m.exec(TEXT)?.[1] ?? "";
  const args = parseArgs(example.split(" "), command.spec);
  expect(args.get("domain")).toBe("gent01.dev.grid.tf");
  expect(args.all("public-address")).toEqual(["203.0.113.7"]);
});
