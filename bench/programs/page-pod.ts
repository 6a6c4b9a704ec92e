// Program: a pod's pages that may be cached for an hour, which takes its time for each, and counts how often it is asked.

import { answerCalls } from "../lab/calls.ts";

const calls = { listen, takeCount };
export type PagePodCalls = typeof calls;

let asked = 0;

/** @returns the port that it listens on, on 127.0.0.1 */
function listen({ bytes, delayMs }: { bytes: number; delayMs: number }): number {
  const body = Buffer.alloc(bytes, "p");
  const headers = { "Content-Type": "text/html; charset=utf-8", "Cache-Control": "max-age=3600" };
  const server = Bun.serve({
    hostname: "127.0.0.1", port: 0, reusePort: false,
    async fetch() {
      asked += 1;
      await Bun.sleep(delayMs);
      return new Response(body, { headers });
    },
  });
  return server.port as number;
}

/** Requests since it was asked this the last time. */
function takeCount(): number {
  const count = asked;
  asked = 0;
  return count;
}

answerCalls(calls);
