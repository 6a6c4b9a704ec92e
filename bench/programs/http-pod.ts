// Program: a pod's HTTP service that answers everything with one JSON text.

import { answerCalls } from "../lab/calls.ts";

const calls = {
  listen({ host, port, body }: { host: string; port: number; body: string }): void {
    const headers = { "Content-Type": "application/json" };
    Bun.serve({ hostname: host, port, reusePort: false, fetch: () => new Response(body, { headers }) });
  },
};
export type HttpPodCalls = typeof calls;

answerCalls(calls);
