// Whether a client may go where its path leads. Servers behind us may read a path otherwise than it is written (`/%73ecret`,
// `//secret`), and who may not go to a place must not get there by another spelling: it has to be let in by the rules of both.

import { RouteError } from "../errors.ts";
import type { Match } from "../router/router.ts";
import type { Snapshot } from "./snapshot.ts";

/** @throws RouteError forbidden by `allowedClients` or `deniedClients`; bad_request for a token in a place that is hard to recognise */
export function checkPlace(snapshot: Snapshot, path: string, match: Match, client: string): void {
  snapshot.admission.checkClient(match.route, client);
  // What was registered for a host has all of its paths.
  const other = match.route.service.kind === "gateway" ? null : snapshot.router.otherwise(path, match);
  if (other === null) return;
  snapshot.admission.checkClient(other.route, client);
  // It would be in the log of whoever gets it, unless that is us.
  if (other.pathToken !== null && match.route.service.kind !== "builtin") throw new RouteError("bad_request", "path of a token route in another spelling");
}
