// Program: thousands of clients that each wait for one answer.

import { answerCalls } from "../lab/calls.ts";
import { Connection, tokenRequest } from "./connection.ts";

/** No more new ones at a time than a listener's queue holds. */
const AT_ONCE = 100;

const calls = { ask, untilAnswered };
export type HangingClientCalls = typeof calls;

let open: Connection[] = [];
let answers: Promise<number>[] = [];

/** Opens connections and asks on each; the answers are waited for by `untilAnswered`. */
async function ask({ port, path, token, clients }: { port: number; path: string; token: string; clients: number }): Promise<void> {
  const request = tokenRequest(path, token);
  while (open.length < clients) {
    const more = await Promise.all(Array.from({ length: Math.min(AT_ONCE, clients - open.length) }, () => Connection.open("127.0.0.1", port)));
    open.push(...more);
    // Status 0: it was cut.
    answers.push(...more.map((connection) => connection.ask(request).catch(() => 0)));
  }
}

/** Closes the connections once each has its answer. @returns how many got a good one */
async function untilAnswered(): Promise<number> {
  const statuses = await Promise.all(answers);
  for (const connection of open) connection.close();
  open = [];
  answers = [];
  return statuses.filter((status) => status === 200).length;
}

answerCalls(calls);
