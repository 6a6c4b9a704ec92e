// The configuration of `route-gateway gateway`: what its flags say, as a file would say it. Nothing but registered services is
// served, and /healthz.

import type { Settings } from "../settings.ts";
import { buildSettings, type ParseOptions } from "./build.ts";
import type { Environment } from "./interpolate.ts";
import { ConfigError } from "./mistake.ts";
import { type Plain, Source } from "./source.ts";

export const GATEWAY_SOURCE = "route-gateway gateway";

export type GatewayOptions = {
  readonly env: Environment;
  readonly root: string;
  readonly broker?: string | undefined;
  readonly domain?: string | undefined;
  readonly publicAddresses?: readonly string[] | undefined;
  /** `HOST:PORT`. */
  readonly http?: string | undefined;
  readonly https?: string | undefined;
  readonly admin?: string | undefined;
  readonly dns?: string | undefined;
  readonly acmeDirectory?: string | undefined;
  readonly acmeEmail?: string | undefined;
  readonly acmeCaFile?: string | undefined;
  readonly challengeProgram?: string | undefined;
  /** Certificates come from an authority of our own below `root`, not from ACME. */
  readonly isLocal?: boolean | undefined;
  readonly allowLoopbackBackends?: boolean | undefined;
  readonly checkDomains?: boolean | undefined;
  readonly adminTokenFile?: string | undefined;
  readonly logFormat?: ParseOptions["logFormat"];
};

/** @throws ConfigError with every mistake */
export function loadGateway(options: GatewayOptions): Settings {
  const source = new Source("", { env: {} });
  const parsed = buildSettings(source.fromPlain(fileOf(options), 0), source, GATEWAY_SOURCE, {
    env: options.env, httpListen: options.http, httpsListen: options.https, adminListen: options.admin, logFormat: options.logFormat,
  });
  // There is no file that places could point into.
  if ("mistakes" in parsed) throw new ConfigError(GATEWAY_SOURCE, parsed.mistakes.map(({ message }) => ({ line: 0, column: 0, message })));
  return parsed.settings;
}

function fileOf(options: GatewayOptions): Plain {
  const acme = given({ directory: options.acmeDirectory, email: options.acmeEmail, caFile: options.acmeCaFile });
  return {
    tls: options.isLocal === true ? given({ localAuthority: `${options.root}/local-authority` }) : { acme },
    gateway: given({
      root: options.root, broker: options.broker, domain: options.domain, dns: options.dns, challengeProgram: options.challengeProgram,
      publicAddresses: options.publicAddresses, checkDomains: options.checkDomains, allowLoopbackBackends: options.allowLoopbackBackends,
    }),
    admin: given({ tokenFile: options.adminTokenFile }),
    services: { healthz: { text: "OK" } },
    routes: [{ path: "/healthz", match: "exact", service: "healthz" }],
  };
}

/** Without what was not said; `${` in it is no variable. */
function given(values: Readonly<Record<string, string | boolean | readonly string[] | undefined>>): { readonly [key: string]: Plain } {
  const known = Object.entries(values).filter((entry): entry is [string, string | boolean | readonly string[]] => entry[1] !== undefined);
  return Object.fromEntries(known.map(([key, value]) => [key, typeof value === "string" ? value.replaceAll("${", () => "$${") : value]));
}
