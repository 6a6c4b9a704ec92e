// Sends replies: RPUSH and EXPIRE in one transaction, so that no list stays for ever. A reply that meets a broken connection
// waits for the next one. When the connection breaks between a push and the answer to it, nobody knows whether it was done; it is
// then pushed again: a caller may find its reply twice, with the same ID, in a list that it reads once and that expires.

import type { Link } from "./link.ts";
import { RedisError, type RedisReply } from "./resp.ts";

/** As the original: what nobody fetched in this time, nobody waits for. */
const EXPIRY_SECONDS = "300";
const REPLY_TIMEOUT_MS = 10_000;

/** Refusals that pass: https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors has the form. */
const PASSING = /^(LOADING|OOM|READONLY|MASTERDOWN|MISCONF|NOREPLICAS|BUSY|CLUSTERDOWN|TRYAGAIN|NOAUTH)\b/;

/** @returns why it could not be pushed, ever; null when it was */
export async function pushReply(link: Link, list: string, bytes: Uint8Array): Promise<string | null> {
  for (;;) {
    const connection = await link.get();
    if (connection === null) return "the connection to the broker was closed";
    try {
      const replies = await connection.send([["MULTI"], ["RPUSH", list, bytes], ["EXPIRE", list, EXPIRY_SECONDS], ["EXEC"]], REPLY_TIMEOUT_MS);
      const refusal = firstError(replies);
      if (refusal === null || !PASSING.test(refusal.message)) return refusal?.message ?? null;
      link.failed(connection, refusal);
    } catch (error) {
      // ConnectionLost.
      link.failed(connection, error as Error);
    }
  }
}

/** Of a command that was not queued, or, within EXEC's reply, of one that failed. */
function firstError(replies: readonly RedisReply[]): RedisError | null {
  const done = replies.at(-1);
  const all = Array.isArray(done) ? [...replies, ...(done as readonly RedisReply[])] : replies;
  return (all.find((reply) => reply instanceof RedisError) as RedisError | undefined) ?? null;
}
