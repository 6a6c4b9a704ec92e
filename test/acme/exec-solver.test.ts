// Real programs: shell scripts, as operators write them.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { txtValue } from "../../src/acme/dns-solver.ts";
import { ExecSolver } from "../../src/acme/exec-solver.ts";
import { readRecordTimes } from "../../src/acme/record-times.ts";
import { eventually } from "../support/eventually.ts";

const FQDN = "_acme-challenge.gent.example.org.";
const KEY = "token.thumbprint";
const VALUE = txtValue(KEY);
const QUICK = `echo '{"timeout": 5, "interval": 0.01}'`;

const never = new AbortController().signal;
let root: string;
beforeEach(() => { root = mkdtempSync(join(tmpdir(), "route-exec-")); });
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** A program that notes its arguments in `calls`, then does what `body` says. */
function program(body = ""): string {
  const path = join(root, "dns program.sh"); // A space in its path, as only a shell would mind.
  writeFileSync(path, `#!/bin/sh\nfor a in "$@"; do printf '<%s>' "$a" >> '${root}/calls'; done; echo >> '${root}/calls'\n${body}\n`, { mode: 0o755 });
  return path;
}

const calls = (): string[] => readFileSync(join(root, "calls"), "utf8").trim().split("\n");
const seen = async (): Promise<string[]> => [VALUE];
const present = (solver: ExecSolver, signal = never): Promise<void> => solver.present("gent.example.org", "token", KEY, signal);

function message(job: Promise<unknown>): Promise<string> {
  return job.then(() => "did not fail", (error: Error) => error.message);
}

describe("ExecSolver", () => {
  test("runs the program as lego does", async () => {
    const solver = new ExecSolver({ program: program(), lookup: seen });
    await present(solver);
    await solver.cleanup("gent.example.org", "token", KEY);
    expect(calls()).toEqual([`<present><${FQDN}><${VALUE}>`, "<timeout>", `<cleanup><${FQDN}><${VALUE}>`]);
  });

  test("lets no shell look at the arguments", async () => {
    const solver = new ExecSolver({ program: program(), lookup: seen });
    await solver.cleanup("$(touch x); `id` '\"*", "token", KEY);
    expect(calls()).toEqual([`<cleanup><_acme-challenge.$(touch x); \`id\` '"*.><${VALUE}>`]);
  });

  test("tells what the program complained of", async () => {
    const solver = new ExecSolver({ program: program(`echo 'zone is locked' >&2; exit 3`) });
    expect(await message(present(solver))).toEndWith("present ended with exit code 3: zone is locked");
    expect(await message(solver.cleanup("a", "t", KEY))).toEndWith("cleanup ended with exit code 3: zone is locked");
  });

  test("says so when there is no such program", async () => {
    expect(await message(present(new ExecSolver({ program: join(root, "absent") })))).toStartWith(`cannot run ${root}/absent`);
  });

  test("kills a program that takes too long, with its children", async () => {
    const solver = new ExecSolver({ program: program(`sleep 600 & echo $! > '${root}/child'; wait`), timeoutMs: 500 });
    expect(await message(present(solver))).toEndWith("present did not end within 500 ms");
    const child = readFileSync(join(root, "child"), "utf8").trim();
    await eventually("the child's end", () => isRunning(child), (running) => !running);
  });

  test("does not wait for a name server that the program leaves running", async () => {
    const solver = new ExecSolver({ program: program(`[ $1 = present ] && { sleep 600 & echo $! > '${root}/child'; }; exit 0`), lookup: seen });
    await present(solver);
    const child = readFileSync(join(root, "child"), "utf8").trim();
    expect(isRunning(child)).toBe(true);
    process.kill(Number(child), "SIGKILL");
  });

  test("waits until the record is seen", async () => {
    let looks = 0;
    const lookup = async (fqdn: string) => (fqdn === FQDN && ++looks === 3 ? ["other", VALUE] : ["other"]);
    await present(new ExecSolver({ program: program(QUICK), lookup }));
    expect(looks).toBe(3);
  });

  test("lets the CA look when the program's time is over", async () => {
    let looks = 0;
    const times = `echo '{"timeout": 0.05, "interval": 0.01}'`;
    await present(new ExecSolver({ program: program(times), lookup: async () => (looks++, []) }));
    expect(looks).toBeGreaterThan(1);
  });

  test("stops when it is told to: while the program runs, and while it waits for the record", async () => {
    const stop = new AbortController();
    const running = message(present(new ExecSolver({ program: program("sleep 600") }), stop.signal));
    await eventually("the program", () => existsSync(join(root, "calls")), Boolean);
    stop.abort();
    expect(await running).toBe("asking the CA was stopped");
    const second = new AbortController();
    const lookup = async () => (second.abort(), []);
    expect(await message(present(new ExecSolver({ program: program(), lookup }), second.signal))).toBe("asking the CA was stopped");
  });
});

describe("readRecordTimes", () => {
  const USUAL = { timeoutMs: 60_000, intervalMs: 2000 };
  const OUTPUTS: ReadonlyArray<readonly [output: string, times: object]> = [
    [`{"timeout": 30, "interval": 5}\n`, { timeoutMs: 30_000, intervalMs: 5000 }],
    [`{"timeout": 1e9, "interval": 5}`, { timeoutMs: 3_600_000, intervalMs: 5000 }],
    [`{"timeout": 30}`, { timeoutMs: 30_000, intervalMs: 2000 }],
    ["", USUAL], ["null", USUAL], ["usage: dns.sh", USUAL], [`{"timeout": -1, "interval": "5"}`, USUAL], ["[]", USUAL],
  ];
  for (const [output, times] of OUTPUTS) {
    test(`reads ${JSON.stringify(output)}`, () => {
      expect(readRecordTimes(output)).toEqual(times as ReturnType<typeof readRecordTimes>);
    });
  }
});

/** A zombie has ended: whoever adopted it is slow to say so. */
function isRunning(pid: string): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false; // Gone.
  }
}
