// Wrong usage: exit code 2, what is wrong, and where to read on.

import { describe, expect, test } from "bun:test";
import { parseArgs, renderHelp, UsageError } from "../../src/cli/args.ts";
import { command as explain } from "../../src/cli/explain.ts";
import { command as keys } from "../../src/cli/keys.ts";
import { program } from "../support/gateway.ts";

describe("wrong usage", () => {
  test.each<[string[], string, string]>([
    [["serve", "--htp", ":80"], "unknown flag --htp (did you mean --http?)", "route-gateway serve --help"],
    [["serve", "--http", "80800"], 'expected an address to listen on such as ":80" or "127.0.0.1:8080", found "80800"', "route-gateway serve --help"],
    [["serve", "--http", ":80800"], "--http: port 80800 is not one from 0 to 65535", "route-gateway serve --help"],
    [["serve", "--allow-targets", "10.0.0.0/8,10.0.0.0/33"], '--allow-targets: not an allowed target: "10.0.0.0/33"', "route-gateway serve --help"],
    [["explain"], "missing argument URL", "route-gateway explain --help"],
    [["srve"], "unknown command srve (did you mean serve?)", "route-gateway --help"],
  ])("points to the help of its command: %j", async (argv, message, command) => {
    const { code, stdout, stderr } = await program(argv);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toStartWith("route-gateway: ");
    expect(stderr).toContain(message);
    expect(stderr).not.toMatch(/did you mean ":/);
    expect(stderr).toEndWith(`\nrun "${command}" for what there is\n`);
  });

  test("is a value that is none of its flag, also of explain", async () => {
    await expect(explain.run(parseArgs(["/x", "--allow-targets", "a/b"], explain.spec), { stdout() {}, stderr() {}, env: {} })).rejects.toThrow(UsageError);
  });

  test("of keys says which sizes there are, as its help does", async () => {
    const sizes = "1024 to 8192 bits, in steps of 8";
    expect(renderHelp("route-gateway", keys)).toContain(`size of each key, ${sizes}`);
    await expect(keys.run(parseArgs(["--out", "x", "--bits", "1000"], keys.spec), { stdout() {}, stderr() {}, env: {} })).rejects.toThrow(
      new UsageError(`not a key size: "1000" (${sizes}; usual are 2048, 3072 and 4096)`));
  });
});

test("serve recommends no flag that it does not have", async () => {
  const env = { JWT_DESKTOP_SIGNING_PUBLIC_KEY: "a.pem", JWT_DESKTOP_PAYLOAD_PRIVATE_KEY: "b.pem" };
  const { code, stderr } = await program(["serve", "--admin", ":9090"], env);
  expect([code, stderr]).toEqual([1, expect.stringContaining('an admin address that is not loopback needs a token: "admin: { tokenFile: ... }" in the configuration')]);
  expect(stderr).not.toContain("--admin-token");
});
