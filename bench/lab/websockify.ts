// websockify from Debian, with nothing but its two addresses: what stands in front of Xvnc where there is no KubeVirt. It is
// a Python program that forks a process for each session; Debian's has numpy, with which it unmasks quickly.

import { freePort, type Lab } from "./lab.ts";
import type { Server } from "./scenario.ts";

/** What its clients offer: raw bytes in binary frames, which is all that it speaks. */
export const WEBSOCKIFY_PROTOCOL = "binary";

export function websockifyMissing(): string | null {
  return Bun.which("websockify") === null ? "websockify is not installed" : null;
}

/** @param targetPort of the TCP service behind it, on 127.0.0.1 */
export async function startWebsockify(lab: Lab, targetPort: number): Promise<Server> {
  const port = await freePort();
  const running = lab.spawn("websockify", ["websockify", `127.0.0.1:${port}`, `127.0.0.1:${targetPort}`]);
  await running.untilListening("127.0.0.1", port);
  return { name: "websockify", pid: running.pid, port, log: null };
}
