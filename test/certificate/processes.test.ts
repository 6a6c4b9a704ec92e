// Two real processes on one directory.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";

const NAME = "a.example.org";

let directory: string;
let running: Gateway[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "route-processes-"));
  running = [];
});
afterEach(async () => {
  await Promise.all(running.map((gateway) => gateway.kill()));
  rmSync(directory, { recursive: true, force: true });
});

class Gateway {
  readonly lines: string[] = [];
  readonly #child = Bun.spawn([process.execPath, join(import.meta.dir, "renewing-program.ts"), directory, NAME], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });

  constructor() {
    running.push(this);
    void this.#read();
  }

  /** The first line that begins so. */
  said(what: string): Promise<string> {
    return eventually(what, () => this.lines.find((line) => line.startsWith(what)) ?? "", (line) => line !== "");
  }

  answer(): void {
    this.#child.stdin.write("\n");
    void this.#child.stdin.flush();
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = `${rest}${chunk}`.split("\n");
      rest = lines.pop() ?? "";
      this.lines.push(...lines);
    }
  }
}

/** One that asks the CA, and one that came later. */
async function two(): Promise<[first: Gateway, second: Gateway]> {
  const first = new Gateway();
  await first.said("asking");
  const second = new Gateway();
  await second.said("started");
  return [first, second];
}

describe("two processes on one store", () => {
  test("ask the CA once and serve the same certificate", async () => {
    const [first, second] = await two();
    first.answer();
    expect(await second.said("serving")).toBe(await first.said("serving"));
    expect(second.lines).toEqual(["started", expect.stringMatching(/^serving [0-9a-f]{64}$/)]);
    expect(readdirSync(directory).toSorted()).toEqual([`${NAME}.lock`, `${NAME}.pem`]);
  });

  test("don't wait for one that was killed in the middle of an order", async () => {
    const [first, second] = await two();
    expect(second.lines).not.toContain("asking");
    await first.kill();
    await second.said("asking");
    second.answer();
    expect(await second.said("serving")).toMatch(/^serving [0-9a-f]{64}$/);
  });
});
