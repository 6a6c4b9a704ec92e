// route-gateway gateway: names and domains for workloads, registered at run time, in the place of the zos gateway module and the
// Traefik that it drives.

import { type GatewayOptions, loadGateway } from "../config/gateway.ts";
import { ConfigError } from "../config/mistake.ts";
import { parseListenAddress } from "../config/values.ts";
import { isLoopbackHost } from "../lib/address.ts";
import type { Settings } from "../settings.ts";
import { type Arguments, UsageError } from "./args.ts";
import type { Command, Io } from "./command.ts";
import { runUntilStopped } from "./running.ts";
import { addressFlag, listenFlag, logFormatFlag } from "./settings-flags.ts";

export const command: Command = {
  name: "gateway",
  summary: "Serves names and domains that workloads register at run time, with certificates or TLS passthrough.",
  spec: {
    flags: [
      { name: "root", value: "DIR", default: "/var/cache/modules/gateway", help: "registry (proxy), certificates and accounts are below it" },
      { name: "broker", value: "URL", help: "Redis with zbus calls, unix:///var/run/redis.sock or tcp://[:password@]host:port; without it there is the admin API only" },
      { name: "domain", value: "NAME", help: "the gateway's own domain: name proxies are below it" },
      { name: "public-address", value: "IP", repeat: true, help: "an address of this gateway: what registered domains must resolve to; without one they are registered wherever they point" },
      { name: "http", value: "HOST:PORT", default: ":80", help: "challenges and redirects" },
      { name: "https", value: "HOST:PORT", default: ":443", help: "TLS, terminated or passed through" },
      { name: "admin", value: "HOST:PORT", default: "127.0.0.1:9090", help: "admin API and metrics" },
      { name: "admin-token", value: "FILE", help: "file with the admin API's bearer token; needed when it is not on loopback" },
      { name: "dns", value: "HOST:PORT", help: "answers DNS-01 challenges, such as :53; off without it" },
      { name: "challenge-program", value: "FILE", help: "publishes DNS-01 challenges instead: present|cleanup FQDN VALUE, timeout" },
      { name: "acme-directory", value: "URL", help: "certificate authority (RFC 8555); Let's Encrypt by default" },
      { name: "acme-email", value: "ADDRESS", help: "where the authority may write to" },
      { name: "acme-ca", value: "FILE", help: "PEM file with the root that the authority's own server is trusted by" },
      { name: "tls-local", help: "certificates of an authority of our own, for trying things out" },
      { name: "allow-loopback-backends", help: "backends may be on this machine, for trying things out" },
      { name: "nameserver", value: "HOST[:PORT]", help: "who is asked where a domain points; the system's by default" },
      { name: "skip-domain-check", help: "domains are registered wherever they point, though there is a --public-address" },
      { name: "log-format", value: "json|pretty", help: "one JSON object a line, or lines for people (default json)" },
    ],
    examples: [
      "route-gateway gateway --broker unix:///var/run/redis.sock --root /var/cache/modules/gateway --domain gent01.dev.grid.tf",
      "route-gateway gateway --root /tmp/gateway --domain localhost.test --tls-local --allow-loopback-backends --http :8080 --https :8443",
    ],
  },
  run: gateway,
};

function gateway(args: Arguments, io: Io): Promise<number> {
  refuseUnused(args);
  refuseOpenAdmin(args);
  const load = () => settingsOf({
    env: io.env, root: args.require("root"), broker: args.get("broker"), domain: args.get("domain"), publicAddresses: args.all("public-address"),
    http: listenFlag(args), https: addressFlag(args, "https"), admin: addressFlag(args, "admin"), dns: addressFlag(args, "dns"),
    adminTokenFile: args.get("admin-token"), challengeProgram: args.get("challenge-program"),
    acmeDirectory: args.get("acme-directory"), acmeEmail: args.get("acme-email"), acmeCaFile: args.get("acme-ca"),
    isLocal: args.has("tls-local"), allowLoopbackBackends: args.has("allow-loopback-backends"), checkDomains: !args.has("skip-domain-check"),
    nameserver: args.get("nameserver"), logFormat: logFormatFlag(args),
  });
  return runUntilStopped(async () => load(), undefined);
}

/** What flags say is usage, where a file's mistakes are not. @throws UsageError with every mistake; ConfigError for the environment's */
function settingsOf(options: GatewayOptions): Settings {
  try {
    return loadGateway(options);
  } catch (error) {
    const isUsage = error instanceof ConfigError && error.mistakes.every(({ message }) => message.startsWith("--"));
    throw isUsage ? new UsageError(error.message) : error;
  }
}

/** As the configuration refuses it, in the words of the flags. */
function refuseOpenAdmin(args: Arguments): void {
  const admin = addressFlag(args, "admin");
  if (admin === undefined || args.get("admin-token") !== undefined || isLoopbackHost(parseListenAddress(admin).host)) return;
  throw new UsageError("--admin: an address that is not loopback needs a token: --admin-token FILE");
}

/** A flag that would do nothing is a misunderstanding. */
function refuseUnused(args: Arguments): void {
  const given = (...names: string[]): string | undefined => names.find((name) => args.get(name) !== undefined);
  const challenges = given("dns", "challenge-program");
  const acme = challenges ?? given("acme-directory", "acme-email", "acme-ca");
  if (args.has("tls-local") && acme !== undefined) throw new UsageError(`--${acme} is for certificates by ACME, and --tls-local asks for none`);
  if (given("dns") !== undefined && given("challenge-program") !== undefined) throw new UsageError("--dns or --challenge-program answers DNS-01 challenges, not both");
  if (challenges !== undefined && given("domain") === undefined) throw new UsageError(`--${challenges} is for the certificate of --domain, which is not given`);
}
