// docs/GATEWAY.md is held to what the program does: its trial runs, its call registers, its file is a registry's.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { backendOf, GatewayProcess, program, run } from "../support/gateway.ts";
import { Pod } from "../support/pod.ts";

const DOCUMENT = readFileSync(join(import.meta.dir, "../../docs/GATEWAY.md"), "utf8");
const blocks = [...DOCUMENT.matchAll(/```(\w*)\n([^]*?)```/g)].map(([, language = "", text = ""]) => ({ language, lines: text.trim().split("\n") }));
const [trial = [], call = []] = blocks.filter(({ language }) => language === "sh").map(({ lines }) => lines);

let directory: string;
let pod: Pod;
let gateway: GatewayProcess;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "route-docs-"));
  pod = new Pod("127.0.1.1", ["web"]);
  // The first line, at addresses that the kernel chooses.
  const [name, command, ...flags] = (trial[0] ?? "").replace(" &", "").replace("/tmp/gateway", join(directory, "root")).split(" ");
  expect([name, command, flags.splice(0, 1)]).toEqual(["route-gateway", "gateway", ["--root"]]);
  gateway = await GatewayProcess.start(flags.shift() ?? "", ...flags.map((word) => word.replace(/:\d+$/, ":0")));
});
afterAll(async () => {
  await gateway?.stop();
  pod?.stop();
  rmSync(directory, { recursive: true, force: true });
});

/** A line as a shell would split it, with what is this machine's own in it. */
function words(line: string): string[] {
  const own = line.replaceAll("8443", String(gateway.httpsPort)).replace("/tmp/gateway", gateway.root).replace("http://127.0.0.1:9090", gateway.adminUrl)
    .replace("http://127.0.0.1:3000", backendOf(pod));
  return [...own.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain = ""]) => quoted ?? plain);
}

describe("docs/GATEWAY.md", () => {
  test.skipIf(Bun.which("curl") === null)("the trial runs as it is written (needs curl)", async () => {
    expect(trial).toHaveLength(3);
    const registered = await program([...words(trial[1] ?? "").slice(1), "--admin", gateway.adminUrl]);
    expect(registered).toEqual({ code: 0, stdout: "hello.gw.test\n", stderr: "" });
    const answer = await run([...words(trial[2] ?? ""), "-sS", "--noproxy", "*"]);
    expect([answer.code, answer.stderr, JSON.parse(answer.stdout)]).toEqual([0, "", expect.objectContaining({ target: "/" })]);
  });

  test.skipIf(Bun.which("curl") === null)("the call registers what it says (needs curl)", async () => {
    const answer = await run([...words(call[0] ?? ""), "-sS", "--noproxy", "*", "-w", "%{http_code}"]);
    expect([answer.code, answer.stdout.slice(-3)]).toEqual([0, "201"]);
    expect(await gateway.json("/api/gateways/8-blog")).toMatchObject({ fqdn: "blog.gw.test", backends: ["http://10.1.2.3:9000"] });
  });

  test("the file is one of a registry", async () => {
    const [file] = blocks.filter(({ language }) => language === "yaml");
    writeFileSync(join(directory, "9-shop.yaml"), `${file?.lines.join("\n")}\n`);
    expect(await program(["check", directory])).toEqual({ code: 0, stdout: `${directory}: ok (1 gateway)\n`, stderr: "" });
  });
});
