// wrk from Debian as the load: one thread, keep-alive connections, its figures as JSON.

import type { Lab } from "./lab.ts";

export function wrkMissing(): string | null {
  return Bun.which("wrk") === null ? "wrk is not installed" : null;
}

export type Load = {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly connections: number;
  readonly seconds: number;
};

export type LoadResult = {
  readonly requests: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Answers other than 2xx and 3xx, and connections that failed. */
  readonly errors: number;
};

const SCRIPT = `
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{"requests":%d,"seconds":%.6f,"p50Ms":%.3f,"p99Ms":%.3f,"maxMs":%.3f,"errors":%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
`;

/** @throws Error when wrk cannot run at all */
export async function runWrk(lab: Lab, { url, headers, connections, seconds }: Load): Promise<LoadResult> {
  const output = lab.path("wrk.out");
  await Bun.write(output, "");
  const words = ["-t", "1", "-c", `${connections}`, "-d", `${seconds}s`, "-s", lab.write("wrk.lua", SCRIPT)];
  const named = Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
  const running = lab.spawn("wrk", ["wrk", ...words, ...named, url], { stdout: output });
  await running.child.exited;
  await lab.stop(running);
  const last = (await Bun.file(output).text()).trim().split("\n").at(-1) ?? "";
  if (running.child.exitCode !== 0 || !last.startsWith("{")) throw new Error(`wrk failed: ${running.complaint || last}`);
  return JSON.parse(last) as LoadResult;
}
