// route-gateway gateways: what is registered at a running gateway, through its admin API.

import { suggestion } from "../lib/suggest.ts";
import { ADMIN_FLAGS, type AdminClient, withAdmin } from "./admin-client.ts";
import { type Arguments, UsageError } from "./args.ts";
import type { Command, Io } from "./command.ts";
import { table } from "./table.ts";

const ACTIONS = ["list", "set-name", "set-fqdn", "delete", "metrics"] as const;

export const command: Command = {
  name: "gateways",
  summary: "Lists and changes what is registered at a running gateway.",
  spec: {
    positionals: [
      { name: "ACTION", help: ACTIONS.join(", ") },
      { name: "ID", help: "workload id (set-name, set-fqdn, delete)", optional: true },
      { name: "NAME", help: "name below the gateway's domain (set-name), or domain (set-fqdn)", optional: true },
    ],
    flags: [
      { name: "backend", value: "URL", repeat: true, help: "http://ip[:port], or ip:port with --passthrough" },
      { name: "passthrough", help: "TLS goes to the backends untouched" },
      ...ADMIN_FLAGS,
    ],
    examples: [
      "route-gateway gateways list",
      "route-gateway gateways set-name 37-1976-blog blog --backend http://10.1.2.3:9000",
      "route-gateway gateways set-fqdn 37-2039-mail mail.example.org --backend 10.1.2.4:443 --passthrough",
      "route-gateway gateways delete 37-1976-blog",
    ],
  },
  run: gateways,
};

function gateways(args: Arguments, io: Io): Promise<number> {
  const word = args.require("ACTION");
  const action = ACTIONS.find((known) => known === word);
  if (action === undefined) throw new UsageError(`unknown action "${word}"${suggestion(word, ACTIONS)}: there are ${ACTIONS.join(", ")}`);
  refuseUnused(args, action);
  return withAdmin(args, io, (admin) => ACTION[action](admin, args, io));
}

const ACTION: Record<(typeof ACTIONS)[number], (admin: AdminClient, args: Arguments, io: Io) => Promise<void>> = {
  list: async (admin, args, io) => {
    const found = await admin.call("GET", "/api/gateways") as ReadonlyArray<{ id: string; fqdn: string; tlsPassthrough: boolean; backends: readonly string[] }>;
    if (args.has("json")) return io.stdout(`${JSON.stringify(found, null, 2)}\n`);
    io.stdout(table([["ID", "DOMAIN", "TLS", "BACKENDS"], ...found.map(({ id, fqdn, tlsPassthrough, backends }) => [id, fqdn, tlsPassthrough ? "passthrough" : "terminated", backends.join(" ")])]));
  },
  "set-name": (admin, args, io) => set(admin, args, io, "name"),
  "set-fqdn": (admin, args, io) => set(admin, args, io, "fqdn"),
  delete: async (admin, args, io) => {
    const wasThere = await admin.delete(path(args));
    io.stdout(wasThere ? `deleted ${args.require("ID")}\n` : `${args.require("ID")} was not registered\n`);
  },
  metrics: async (admin, args, io) => {
    const { Request, Response } = await admin.call("GET", "/api/gateways/metrics") as Record<"Request" | "Response", Record<string, number>>;
    if (args.has("json")) return io.stdout(`${JSON.stringify({ Request, Response }, null, 2)}\n`);
    const services = [...new Set([...Object.keys(Request), ...Object.keys(Response)])].toSorted();
    io.stdout(table([["SERVICE", "REQUEST BYTES", "RESPONSE BYTES"], ...services.map((name) => [name, String(Request[name] ?? 0), String(Response[name] ?? 0)])]));
  },
};

async function set(admin: AdminClient, args: Arguments, io: Io, kind: "name" | "fqdn"): Promise<void> {
  const what = kind === "name" ? "a name below the gateway's domain" : "a domain";
  if (args.get("ID") === undefined) throw new UsageError(`missing arguments ID and NAME: the workload id, and ${what}`);
  const name = args.get("NAME");
  if (name === undefined) throw new UsageError(`missing argument NAME: ${what}`);
  const backends = args.all("backend");
  if (backends.length === 0) throw new UsageError("at least one --backend is needed");
  const answer = await admin.call("PUT", path(args), { [kind]: name, backends, tlsPassthrough: args.has("passthrough") }) as { fqdn: string };
  io.stdout(args.has("json") ? `${JSON.stringify(answer, null, 2)}\n` : `${answer.fqdn}\n`);
}

function path(args: Arguments): string {
  const id = args.get("ID");
  if (id === undefined) throw new UsageError("missing argument ID: the workload id");
  return `/api/gateways/${encodeURIComponent(id)}`;
}

function refuseUnused(args: Arguments, action: string): void {
  const sets = action.startsWith("set-");
  if (!sets && (args.all("backend").length > 0 || args.has("passthrough"))) throw new UsageError(`--backend and --passthrough are for set-name and set-fqdn, not for ${action}`);
  const surplus = sets ? undefined : action === "delete" ? args.get("NAME") : args.get("ID");
  if (surplus !== undefined) throw new UsageError(`unexpected argument "${surplus}"`);
}
