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
  /** Asked for in turn instead of the host of `url`. */
  readonly hosts?: readonly string[];
};

export type LoadResult = {
  readonly requests: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Answers other than 2xx and 3xx, and connections that failed. */
  readonly errors: number;
  /** Of these: connections that were closed without a word of it, as after an answer that was to be the last. */
  readonly closed: number;
  /** Received, heads included. */
  readonly bytes: number;
  /** Of wrk itself: as many as `seconds`, and it was what limited the rate. */
  readonly cpuSeconds: number;
};

const SCRIPT = `
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{"requests":%d,"seconds":%.6f,"p50Ms":%.3f,"p99Ms":%.3f,"maxMs":%.3f,"errors":%d,"closed":%d,"bytes":%.0f}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout, e.read, summary.bytes))
end
`;

/** @throws Error when wrk cannot run at all */
export async function runWrk(lab: Lab, { url, headers, connections, seconds, hosts = [] }: Load): Promise<LoadResult> {
  const output = lab.path("wrk.out");
  await Bun.write(output, "");
  const words = ["-t", "1", "-c", `${connections}`, "-d", `${seconds}s`, "-s", lab.write("wrk.lua", SCRIPT + inTurn(hosts))];
  const named = Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
  const running = lab.spawn("wrk", ["wrk", ...words, ...named, url], { stdout: output });
  await running.child.exited;
  await lab.stop(running);
  const last = (await Bun.file(output).text()).trim().split("\n").at(-1) ?? "";
  if (running.child.exitCode !== 0 || !last.startsWith("{")) throw new Error(`wrk failed: ${running.complaint || last}`);
  return { ...JSON.parse(last) as Omit<LoadResult, "cpuSeconds">, cpuSeconds: Number(running.child.resourceUsage()?.cpuTime.total) / 1e6 };
}

/** Requests are made once, so that a long list costs the load no more than a short one. */
function inTurn(hosts: readonly string[]): string {
  if (hosts.length === 0) return "";
  return `
local requests, at = {}, 0
function init()
  for _, host in ipairs({ ${hosts.map((host) => JSON.stringify(host)).join(", ")} }) do
    local headers = { Host = host }
    for name, value in pairs(wrk.headers) do headers[name] = headers[name] or value end
    requests[#requests + 1] = wrk.format(nil, nil, headers)
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
`;
}
