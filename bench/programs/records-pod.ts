// Program: a pod that answers `/whole` with a long JSON text and its length, and `/streamed` with the same text in chunks, as it
// comes out of a database.

import { answerCalls } from "../lab/calls.ts";
import { recordsJson } from "./records.ts";

const PIECE_BYTES = 16 * 1024;

const calls = {
  /** @returns the port that it listens on, on 127.0.0.1 */
  listen({ bytes }: { bytes: number }): number {
    const body = Buffer.from(recordsJson(bytes));
    const headers = { "Content-Type": "application/json" };
    const server = Bun.serve({
      hostname: "127.0.0.1", port: 0, reusePort: false,
      fetch: (request) => new Response(request.url.endsWith("/streamed") ? streamed(body) : body, { headers }),
    });
    return server.port as number;
  },
};
export type RecordsPodCalls = typeof calls;

function streamed(body: Buffer): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    async pull(controller) {
      // What is there at once would be sent as one, with its length.
      await Promise.resolve();
      controller.enqueue(body.subarray(at, at + PIECE_BYTES));
      at += PIECE_BYTES;
      if (at >= body.length) controller.close();
    },
  });
}

answerCalls(calls);
