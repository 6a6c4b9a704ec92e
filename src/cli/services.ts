// route-gateway services: the servers of a running instance: who takes requests, who is left alone, how many are under way.

import { ADMIN_FLAGS, withAdmin } from "./admin-client.ts";
import type { Arguments } from "./args.ts";
import type { Command, Io } from "./command.ts";
import { table } from "./table.ts";

export const command: Command = {
  name: "services",
  summary: "Shows the servers of a running instance's services and how they are, through its admin API.",
  spec: { flags: [...ADMIN_FLAGS], examples: ["route-gateway services", "route-gateway services --json --admin http://127.0.0.1:9090"] },
  run: services,
};

type Shown = {
  readonly name: string; readonly policy: string; readonly running: number; readonly waiting: number;
  readonly servers: ReadonlyArray<{
    readonly server: string; readonly weight: number; readonly state: string; readonly ejectedForS: number; readonly running: number; readonly requests: number; readonly failures: number;
  }>;
};

function services(args: Arguments, io: Io): Promise<number> {
  return withAdmin(args, io, async (admin) => {
    const found = await admin.call("GET", "/api/services") as readonly Shown[];
    if (args.has("json")) return io.stdout(`${JSON.stringify(found, null, 2)}\n`);
    const rows = found.flatMap(({ name, policy, waiting, servers }) => servers.map(({ server, weight, state, ejectedForS, running, requests, failures }) => {
      return [name, policy, String(waiting), server, String(weight), state === "ejected" ? `ejected (${ejectedForS}s)` : state, String(running), String(requests), String(failures)];
    }));
    io.stdout(table([["SERVICE", "POLICY", "WAITING", "SERVER", "WEIGHT", "STATE", "RUNNING", "REQUESTS", "FAILURES"], ...rows]));
    for (const { name, servers } of found) if (servers.every(({ state }) => state !== "up")) io.stdout(`${name}: no server is up, so all are asked\n`);
  });
}
