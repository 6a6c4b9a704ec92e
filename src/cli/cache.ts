// route-gateway cache: what a running instance's HTTP cache holds, and throwing things out of it.

import { suggestion } from "../lib/suggest.ts";
import { ADMIN_FLAGS, type AdminClient, withAdmin } from "./admin-client.ts";
import { type Arguments, UsageError } from "./args.ts";
import type { Command, Io } from "./command.ts";
import { table } from "./table.ts";

const ACTIONS = ["show", "purge"] as const;
const SELECTORS = ["url", "prefix", "host", "all"] as const;

export const command: Command = {
  name: "cache",
  summary: "Shows and purges the HTTP cache of a running instance, through its admin API.",
  spec: {
    positionals: [{ name: "ACTION", help: ACTIONS.join(", ") }],
    flags: [
      { name: "url", value: "URL", help: "purge this URL, query included" },
      { name: "prefix", value: "URL", help: "purge all URLs that begin so; a path: on all hosts" },
      { name: "host", value: "HOST", help: "purge everything of a host" },
      { name: "all", help: "purge everything" },
      ...ADMIN_FLAGS,
    ],
    examples: ["route-gateway cache show", "route-gateway cache purge --url http://www.example.org/index.html", "route-gateway cache purge --prefix http://www.example.org/assets/"],
  },
  run: cache,
};

function cache(args: Arguments, io: Io): Promise<number> {
  const word = args.require("ACTION");
  const action = ACTIONS.find((known) => known === word);
  if (action === undefined) throw new UsageError(`unknown action "${word}"${suggestion(word, ACTIONS)}`);
  const given = SELECTORS.filter((name) => args.has(name));
  if (action === "show" && given.length > 0) throw new UsageError(`--${given[0]} is for purge, not for show`);
  if (action === "purge" && given.length !== 1) throw new UsageError("purge takes one of --url, --prefix, --host and --all");
  return withAdmin(args, io, (admin) => (action === "show" ? show(admin, args, io) : purge(admin, args, io, given[0] as (typeof SELECTORS)[number])));
}

async function show(admin: AdminClient, args: Arguments, io: Io): Promise<void> {
  const found = await admin.call("GET", "/api/cache") as Readonly<Record<string, number | null | Readonly<Record<string, number>>>>;
  if (args.has("json")) return io.stdout(`${JSON.stringify(found, null, 2)}\n`);
  const rows = Object.entries(found).flatMap(([name, value]) => {
    if (value === null) return [[name, "none"]];
    return typeof value === "number" ? [[name, String(value)]] : Object.entries(value).map(([part, number]) => [`${name} ${part}`, String(number)]);
  });
  io.stdout(table(rows));
}

async function purge(admin: AdminClient, args: Arguments, io: Io, selector: (typeof SELECTORS)[number]): Promise<void> {
  const value = selector === "all" ? "true" : args.require(selector);
  const answer = await admin.call("DELETE", `/api/cache?${selector}=${encodeURIComponent(value)}`) as { purged: number };
  io.stdout(args.has("json") ? `${JSON.stringify(answer, null, 2)}\n` : `purged ${answer.purged}\n`);
}
