// One question of an active health check, over the same connections as requests.

import type { HealthSettings } from "../service.ts";
import type { Target } from "../target.ts";
import type { HttpPool } from "../upstream/http-pool.ts";

export type ProbeServer = (server: Target, health: HealthSettings, timeoutMs: number) => Promise<{ readonly status: number } | Error>;

export function createProbe(pool: HttpPool): ProbeServer {
  return (server, health, timeoutMs) => new Promise((resolve) => {
    let running: { abort(): void } | null = null;
    // A dial has a longer time limit of its own.
    const timer = setTimeout(() => {
      resolve(new Error(`no answer within ${timeoutMs} ms`));
      running?.abort();
    }, timeoutMs).unref();
    const done = (result: { readonly status: number } | Error): void => {
      clearTimeout(timer);
      resolve(result);
    };
    const head = `GET ${health.path} HTTP/1.1\r\nHost: ${health.host ?? server.authority}\r\nUser-Agent: route-gateway health check\r\nAccept: */*\r\nConnection: close\r\n\r\n`;
    pool.exchange(server, {
      method: "GET", head, body: null, chunked: false, bodyLimitBytes: 0, readTimeoutMs: timeoutMs, mayCollect: false,
      watcher: { slow: (exchange) => { running = exchange; }, bodyBytes: () => {} },
    }, {
      answered: ({ head: { status }, body }) => {
        done({ status });
        if (body instanceof ReadableStream) void body.cancel().catch(() => {}); // What it says does not matter, nor that it is cut.
      },
      failed: done,
    });
  });
}
