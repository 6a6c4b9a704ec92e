// The configuration of `route-gateway gateway`: what its flags say, as a file would say it. Nothing but registered services is
// served, and /healthz.

import type { Settings } from "../settings.ts";
import { buildSettings, type ParseOptions } from "./build.ts";
import type { Environment } from "./interpolate.ts";
import { ConfigError } from "./mistake.ts";
import { type MapValue, type Plain, Source, type Value } from "./source.ts";

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
  /** Who is asked where domains point, `host[:port]`; the system's by default. */
  readonly nameserver?: string | undefined;
  readonly logFormat?: ParseOptions["logFormat"];
};

/** The flags that say what a file would say elsewhere. */
const FLAGS = [
  "--root", "--broker", "--domain", "--public-address", "--admin-token", "--dns", "--challenge-program", "--acme-directory", "--acme-email", "--acme-ca",
  "--tls-local", "--allow-loopback-backends", "--skip-domain-check", "--nameserver",
] as const;
type Flag = (typeof FLAGS)[number];

/** @throws ConfigError with every mistake, and the flag that it is in */
export function loadGateway(options: GatewayOptions): Settings {
  // A text with one flag a line: what a flag says stands in its line.
  const source = new Source(`\n${FLAGS.join("\n")}\n`, { env: {} });
  const parsed = buildSettings(fileOf(options, source), source, GATEWAY_SOURCE, {
    env: options.env, httpListen: options.http, httpsListen: options.https, adminListen: options.admin, logFormat: options.logFormat,
  });
  if (!("mistakes" in parsed)) return parsed.settings;
  const flagOf = (line: number): string => (line > 1 ? `${FLAGS[line - 2]}: ` : "");
  throw new ConfigError(GATEWAY_SOURCE, parsed.mistakes.map(({ line, message }) => ({ line: 0, column: 0, message: `${flagOf(line)}${message}` })));
}

function fileOf(options: GatewayOptions, source: Source): Value {
  const said = (entries: Readonly<Record<string, Said>>): MapValue => sectionOf(entries, source);
  return {
    kind: "map", offset: 0, entries: Object.entries({
      tls: options.isLocal === true
        ? said({ localAuthority: ["--tls-local", `${options.root}/local-authority`] })
        : wrapped("acme", said({ directory: ["--acme-directory", options.acmeDirectory], email: ["--acme-email", options.acmeEmail], caFile: ["--acme-ca", options.acmeCaFile] })),
      gateway: said({
        root: ["--root", options.root], broker: ["--broker", options.broker], domain: ["--domain", options.domain],
        publicAddresses: ["--public-address", options.publicAddresses], checkDomains: ["--skip-domain-check", options.checkDomains],
        allowLoopbackBackends: ["--allow-loopback-backends", options.allowLoopbackBackends],
        dns: ["--dns", options.dns], challengeProgram: ["--challenge-program", options.challengeProgram],
      }),
      admin: said({ tokenFile: ["--admin-token", options.adminTokenFile] }),
      dns: said({ nameserver: ["--nameserver", options.nameserver] }),
      services: source.fromPlain({ healthz: { text: "OK" } }, 0),
      routes: source.fromPlain([{ path: "/healthz", match: "exact", service: "healthz" }], 0),
    }).map(([key, value]) => ({ key, keyOffset: 0, value })),
  };
}

type Said = readonly [flag: Flag, value: string | boolean | readonly string[] | undefined];

/** Without what was not said. */
function sectionOf(said: Readonly<Record<string, Said>>, source: Source): MapValue {
  const entries = Object.entries(said).flatMap(([key, [flag, value]]) => {
    const offset = source.text.indexOf(`${flag}\n`);
    return value === undefined ? [] : [{ key, keyOffset: offset, value: source.fromPlain(literal(value), offset) }];
  });
  return { kind: "map", offset: 0, entries };
}

function wrapped(key: string, value: MapValue): MapValue {
  return { kind: "map", offset: 0, entries: [{ key, keyOffset: 0, value }] };
}

/** `${` in it is no variable. */
function literal(value: string | boolean | readonly string[]): Plain {
  if (typeof value === "boolean") return value;
  return typeof value === "string" ? value.replaceAll("${", () => "$${") : value.map(literal);
}
