// The http-cache-tests suite (https://github.com/http-tests/cache-tests, what cache-tests.fyi shows): its origin and its
// client, each in a process of its own; what is between them is the caller's.

import { join } from "node:path";
import { eventually } from "./eventually.ts";

const SUITE = join(import.meta.dir, "../../node_modules/http-cache-tests");
/** It waits 3 s at most between two requests, and runs a hundred cases at a time. */
const TIMEOUT_MS = 120_000;

/** By name of the case: true, or what kind of failure and why. */
export type Results = Readonly<Record<string, true | readonly [kind: string, reason: string]>>;
/** A case may be required of a cache, an optimization, or a mere question. */
export type Kind = "required" | "optimal" | "check";

/** What the suite takes for settings of npm. */
const settings = (own: Record<string, string>): Record<string, string> => ({ PATH: process.env["PATH"] ?? "", npm_config_protocol: "http", npm_config_pidfile: "/dev/null", npm_config_id: "", npm_package_config_id: "", ...own });

export class SuiteOrigin {
  private constructor(readonly port: number, private readonly child: Bun.Subprocess) {}

  static async start(): Promise<SuiteOrigin> {
    const child = Bun.spawn([process.execPath, join(SUITE, "server/server.mjs")], { cwd: SUITE, env: settings({ npm_config_port: "0" }), stdin: "ignore", stdout: "pipe", stderr: "ignore" });
    let text = "";
    void (async () => { for await (const chunk of child.stdout) if (text.length < 1000) text += Buffer.from(chunk).toString(); })();
    const port = await eventually("the suite's origin", () => /:(\d+)\/\n/.exec(text)?.[1], (found) => found !== undefined);
    return new SuiteOrigin(Number(port), child);
  }

  async stop(): Promise<void> {
    this.child.kill();
    await this.child.exited;
  }
}

/** @param url of what is between client and origin. @throws Error when the client fails as a whole */
export async function runSuite(url: string): Promise<Results> {
  const child = Bun.spawn([process.execPath, join(SUITE, "cli.mjs")], { cwd: SUITE, env: settings({ npm_config_base: url }), stdin: "ignore", stdout: "pipe", stderr: "pipe", timeout: TIMEOUT_MS });
  const [output, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  // It may say something before that.
  const start = output.indexOf("{");
  if (start < 0) throw new Error(`the suite's client failed: ${errors.slice(0, 500)}`);
  return JSON.parse(output.slice(start)) as Results;
}

export async function suiteKinds(): Promise<ReadonlyMap<string, Kind>> {
  const files = ["tests/index.mjs", "tests/surrogate-control.mjs"].map((file) => import(join(SUITE, file)) as Promise<{ default: Group | Group[] }>);
  const groups = (await Promise.all(files)).flatMap(({ default: found }) => found);
  return new Map(groups.flatMap(({ tests }) => tests.map(({ id, kind = "required" }): [string, Kind] => [id, kind])));
}

type Group = { readonly tests: ReadonlyArray<{ readonly id: string; readonly kind?: Kind }> };
