// Proof that access logs were written: their lines are counted against the requests that were answered.

import { createReadStream, truncateSync } from "node:fs";

/** Buffered logs are flushed once a second at the latest. */
const FLUSH_LIMIT_MS = 3_000;
const LINE_FEED = 10;

/** Lines in the log once it holds as many as `requests`, or is given up; the log is empty afterwards. */
export async function takeLines(file: string, requests: number): Promise<number> {
  const deadline = performance.now() + FLUSH_LIMIT_MS;
  let lines = await countLines(file);
  while (lines < requests && performance.now() < deadline) {
    await Bun.sleep(100);
    lines = await countLines(file);
  }
  truncateSync(file);
  return lines;
}

async function countLines(file: string): Promise<number> {
  let lines = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 1024 * 1024 })) {
    const bytes = chunk as Buffer;
    for (let at = bytes.indexOf(LINE_FEED); at >= 0; at = bytes.indexOf(LINE_FEED, at + 1)) lines += 1;
  }
  return lines;
}
