// route-gateway certificates: what a running instance serves, until when, and what keeps it from renewing.

import { ADMIN_FLAGS, withAdmin } from "./admin-client.ts";
import type { Arguments } from "./args.ts";
import type { Command, Io } from "./command.ts";
import { table } from "./table.ts";

export const command: Command = {
  name: "certificates",
  summary: "Shows the certificates of a running instance, through its admin API.",
  spec: { flags: [...ADMIN_FLAGS], examples: ["route-gateway certificates", "route-gateway certificates --json --admin http://127.0.0.1:9090"] },
  run: certificates,
};

type Shown = {
  readonly file: string | null; readonly names: readonly string[]; readonly issuer: string | null; readonly expiry: string | null; readonly nextRenewal: string | null;
  readonly lastError: { readonly message: string } | null;
};

function certificates(args: Arguments, io: Io): Promise<number> {
  return withAdmin(args, io, async (admin) => {
    const found = await admin.call("GET", "/api/certificates") as readonly Shown[];
    if (args.has("json")) return io.stdout(`${JSON.stringify(found, null, 2)}\n`);
    const rows = found.map(({ file, names, issuer, expiry, nextRenewal, lastError }) => [names.length === 0 ? file ?? "-" : names.join(" "), issuer ?? "-", expiry ?? "-", nextRenewal ?? "-", lastError?.message ?? "-"]);
    io.stdout(table([["NAMES", "ISSUER", "EXPIRY", "NEXT RENEWAL", "LAST ERROR"], ...rows]));
  });
}
