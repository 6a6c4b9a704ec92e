// A Bun.serve with nothing but one constant answer, in a process of its own that can be killed.

import { join } from "node:path";
import type { SitePair } from "./certificate.ts";
import { freePort, type Lab, type Running } from "./lab.ts";
import type { Server } from "./scenario.ts";

const PROGRAM = join(import.meta.dir, "../programs/bare-server.ts");

/** On 127.0.0.1, listening. @param pair null: plain HTTP @throws Error when it cannot */
export async function startBareServer(lab: Lab, port: number, type: string, body: string, pair: SitePair | null = null): Promise<Running> {
  const files = pair === null ? [] : [pair.keyFile, pair.certFile];
  const running = lab.spawn("bare-server", [process.execPath, "--no-orphans", PROGRAM, `${port}`, type, body, ...files]);
  await running.untilListening("127.0.0.1", port);
  return running;
}

/** As one of those that are measured: the ceiling of whatever is written for this runtime. */
export async function startCeiling(lab: Lab, name: string, type: string, body: string, pair: SitePair | null = null): Promise<Server> {
  const port = await freePort();
  const running = await startBareServer(lab, port, type, body, pair);
  return { name, pid: running.pid, port, log: null };
}
