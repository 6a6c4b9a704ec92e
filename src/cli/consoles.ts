// route-gateway consoles: KubeVirt's VM consoles by token, told by the environment variables of the original container.

import { loadConsoles } from "../config/consoles.ts";
import type { Arguments } from "./args.ts";
import type { Command, Io } from "./command.ts";
import { runUntilStopped } from "./running.ts";
import { listenFlag, logFormatFlag } from "./settings-flags.ts";

export const command: Command = {
  name: "consoles",
  summary: "Bridges browsers to the consoles of KubeVirt's virtual machines that their token lists.",
  spec: {
    flags: [
      { name: "http", value: "HOST:PORT", help: "address to listen on, in place of HOST and PORT; port 0 lets the kernel choose" },
      { name: "log-format", value: "json|pretty", help: "one JSON object a line, or lines for people (default json)" },
    ],
    environment: [
      ["SECRET_KEY", "the key that tokens are signed with (HS256, 32 bytes or more) (required)"],
      ["LOCAL_DEV_MODE", "true: plain ws without credentials, for `kubectl proxy`; false by default"],
      ["HOST, PORT", "address to listen on, 0.0.0.0 and 5001 by default"],
      ["HOST_PATH_PREFIX", "prefix of the path, such as ws_proxy; none by default"],
      ["WS_REMOTE_URL", "the Kubernetes API; ws://localhost:8001 or the cluster's own by default"],
      ["KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT", "the cluster's own API, as every pod has them"],
      ["ROUTE_CLOSE_AFTER_UPGRADE", "true: refusals as close frames with the original's reasons"],
      ["ROUTE_CONSOLE_POLICY", "takeover or preserve: what becomes of a machine's first viewer"],
      ["ROUTE_VIEWER", "true: noVNC for browsers that open a console's address as a page"],
      ["ROUTE_ALLOWED_ORIGINS", "any, same-host, or origins with commas; any by default"],
      ["ROUTE_TRUSTED_PROXIES", "CIDRs of proxies whose X-Forwarded-* headers are believed"],
      ["ROUTE_ALLOW_WEAK_SECRET", "true: accept a key below 32 bytes"],
      ["ROUTE_LOG_FORMAT", "like --log-format"],
      ["ROUTE_CA_FILE, ROUTE_TOKEN_FILE", "the service account's files, where they are not in their usual place"],
    ],
    examples: [
      "SECRET_KEY=... route-gateway consoles",
      "SECRET_KEY=... LOCAL_DEV_MODE=true route-gateway consoles --http 127.0.0.1:5001 --log-format pretty",
    ],
  },
  run: consoles,
};

function consoles(args: Arguments, io: Io): Promise<number> {
  const httpListen = args.get("http") === undefined ? undefined : listenFlag(args);
  const logFormat = logFormatFlag(args);
  return runUntilStopped(async () => loadConsoles({ env: io.env, httpListen, logFormat }), undefined);
}
