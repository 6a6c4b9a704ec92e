// route-gateway under measurement with a configuration file of the scenario's own, its access log going to a file.

import { freePort, type Lab, type Running } from "./lab.ts";
import type { Server } from "./scenario.ts";

export type ConfiguredGateway = Server & { readonly running: Running };

/** @param config the file's text; the address it listens on comes from here */
export async function startConfigured(lab: Lab, command: readonly string[], config: string): Promise<ConfiguredGateway> {
  const port = await freePort();
  const log = lab.path(`route-gateway-${port}.log`);
  const file = lab.write(`route-gateway-${port}.yaml`, config);
  const running = lab.spawn("route-gateway", [...command, "serve", "--config", file, "--http", `127.0.0.1:${port}`], { stdout: log });
  await running.untilListening("127.0.0.1", port);
  return { name: "route-gateway", pid: running.pid, port, log, running };
}
