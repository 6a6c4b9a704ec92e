// A Bun.serve with nothing but one constant answer, in a process of its own that can be killed.

import { join } from "node:path";
import type { Lab, Running } from "./lab.ts";

const PROGRAM = join(import.meta.dir, "../programs/bare-server.ts");

/** On 127.0.0.1, listening. @throws Error when it cannot */
export async function startBareServer(lab: Lab, port: number, type: string, body: string): Promise<Running> {
  const running = lab.spawn("bare-server", [process.execPath, "--no-orphans", PROGRAM, `${port}`, type, body]);
  await running.untilListening("127.0.0.1", port);
  return running;
}
