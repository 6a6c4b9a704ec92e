// route-gateway serve: the main job.

import { loadSettings } from "../config/load.ts";
import { STANDARD_PORTS } from "../config/schema.ts";
import type { Arguments } from "./args.ts";
import type { Command, Io } from "./command.ts";
import { runUntilStopped } from "./running.ts";
import { addressFlag, settingsOptions } from "./settings-flags.ts";

export const command: Command = {
  name: "serve",
  summary: "Routes requests to desktops and services.",
  spec: {
    flags: [
      { name: "config", value: "FILE", help: "configuration; without it, the built-in endpoint table (see: routes)" },
      { name: "http", value: "HOST:PORT", help: "address to listen on, \":80\" by default; port 0 lets the kernel choose" },
      { name: "https", value: "HOST:PORT", help: "address for TLS, \":443\" by default; the configuration says which certificates (tls)" },
      { name: "admin", value: "HOST:PORT", help: "address of the admin API and of metrics, such as 127.0.0.1:9090; off without it" },
      { name: "allow-targets", value: "LIST", repeat: true, help: "CIDRs and DNS suffixes that tokens may lead to as well, separated by commas" },
      { name: "log-format", value: "json|pretty", help: "one JSON object a line, or lines for people (default json)" },
    ],
    environment: [
      ["JWT_DESKTOP_SIGNING_PUBLIC_KEY", "file with the RSA public key that verifies tokens (required)"],
      ["JWT_DESKTOP_PAYLOAD_PRIVATE_KEY", "file with the RSA private key that opens their hash (required)"],
      ["ROUTE_REQUIRE_KEYS_AT_START", "false: start without keys, and answer 503 until they can be read; true by default"],
      ["ROUTE_ALLOW_WEAK_RSA_KEYS", "true: accept RSA keys below 2048 bits"],
      ["ROUTE_ALLOW_WEAK_SECRET", "true: accept a secret of console tokens below 32 bytes, where a file has token.vm"],
      ["PYOS_FQDN, PYOS_SERVICE_HOST", "control plane, the first of them that is set; pyos by default"],
      ["PYOS_SERVICE_PORT", "its port, 8000 by default"],
      ["WEBSITE_URL", "what / leads to, http://website by default"],
      ["CONSOLE_URL", "what /console leads to, http://console by default"],
      ["SPEEDTEST_URL", "what /speedtest leads to, http://speedtest by default"],
      ["NODE_NAME", "what /node answers"],
      ["ROUTE_WEBROOT", "directory whose files are served below /.well-known/; none by default"],
      ["ROUTE_CONSOLE_ALLOWED_CLIENTS", "CIDRs of the clients that may use /console; everyone by default"],
      ["NAMESERVER_RESOLVER", "DNS servers for targets; the first one of /etc/resolv.conf by default"],
      ["HTTP_LISTEN", "like --http"],
      ["HTTPS_LISTEN", "like --https"],
      ["ROUTE_ALLOWED_TARGETS", "like --allow-targets"],
      ["ROUTE_TRUSTED_PROXIES", "CIDRs of proxies whose X-Forwarded-* headers are believed"],
      ["ROUTE_DIAL_TIMEOUT", "how long a desktop that does not listen yet is dialled again, 5s by default"],
      ["ROUTE_LOG_FORMAT", "like --log-format"],
      ...Object.entries(STANDARD_PORTS).map(([name, port]) => [name.toUpperCase(), `port of a desktop's service, ${port} by default`] as const),
    ],
    examples: [
      "JWT_DESKTOP_SIGNING_PUBLIC_KEY=signing.pem JWT_DESKTOP_PAYLOAD_PRIVATE_KEY=payload.pem route-gateway serve",
      "route-gateway serve --config /etc/route-gateway/routes.yaml --http :8080",
      "route-gateway serve --config /etc/route-gateway/routes.yaml --http :8080 --https :8443 --admin 127.0.0.1:9090",
    ],
  },
  run: serve,
};

async function serve(args: Arguments, io: Io): Promise<number> {
  const load = () => loadSettings({ ...settingsOptions(args, io), httpsListen: addressFlag(args, "https"), adminListen: addressFlag(args, "admin") });
  return runUntilStopped(load, args.get("config"));
}
