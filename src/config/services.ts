// `ports` and `services` of the file → services that routes can point to.

import { excerpt } from "../lib/excerpt.ts";
import { suggestion } from "../lib/suggest.ts";
import { type FixedService, type Service, type ServiceLimits, type ServiceServer, serverUrlOf } from "../service.ts";
import type { Environment } from "./interpolate.ts";
import { type ConfigFile, type ServiceEntry, STANDARD_PORTS } from "./schema.ts";
import type { Pass } from "./shape.ts";

export type Ports = ReadonlyMap<string, number>;

/** The file's ports over the standard ones, and over both the environment variables of their names in capitals. */
export function buildPorts(file: ConfigFile, env: Environment, pass: Pass): Ports {
  const ports = new Map<string, number>([...Object.entries(STANDARD_PORTS), ...Object.entries(file.ports)]);
  const isInFile = pass.placeOf(file, "ports") !== null;
  for (const name of ports.keys()) {
    const variable = name.toUpperCase();
    const value = env[variable];
    if (value === undefined || value === "") continue;
    const number = /^\d{1,5}$/.test(value) ? Number(value) : 0;
    if (number >= 1 && number <= 65535) {
      ports.set(name, number);
      continue;
    }
    const place = isInFile ? pass.placeOf(file.ports, name) : null;
    pass.mistake(place, `environment variable ${variable}: expected a port number from 1 to 65535, found "${excerpt(value)}"`);
  }
  return ports;
}

export function buildServices(file: ConfigFile, ports: Ports, pass: Pass): ReadonlyMap<string, Service> {
  const services = new Map<string, Service>();
  for (const [name, entry] of Object.entries(file.services)) {
    const service = buildService(name, entry, ports, pass);
    if (service !== null) services.set(name, service);
  }
  return services;
}

function buildService(name: string, entry: ServiceEntry, ports: Ports, pass: Pass): Service | null {
  switch (entry.kind) {
    case "url": return fixedService(name, [{ ...entry.fields.url, weight: 1 }], entry.fields, pass);
    case "host": {
      const { host, port } = entry.fields;
      return fixedService(name, [{ address: { kind: "tcp", host, port }, isSecure: false, weight: 1 }], entry.fields, pass);
    }
    case "servers": {
      const servers = entry.fields.servers.map((server): ServiceServer => ("url" in server ? { ...server.url, weight: server.weight } : { ...server, weight: 1 }));
      return fixedService(name, servers, entry.fields, pass);
    }
    case "kubernetes": {
      const { kubernetes: { host, port, isSecure }, apiPath, caFile, tokenFile, consolePolicy: policy } = entry.fields;
      return { kind: "console", name, host, port, apiPath, credentials: isSecure ? { caFile, tokenFile } : null, policy };
    }
    case "text": return { kind: "builtin", name, answer: { kind: "text", text: entry.fields.text } };
    case "directory": {
      const { directory, fallback } = entry.fields;
      return { kind: "builtin", name, answer: { kind: "files", root: directory === "" ? null : directory, fallback: fallback ?? null } };
    }
    case "target": {
      const port = targetPort(entry.fields.port, ports);
      if (port !== null) return { kind: "target", name, port, limits: limitsOf(entry.fields) };
      const hint = suggestion(String(entry.fields.port), [...ports.keys(), "path"]);
      pass.mistake(pass.placeOf(entry.fields, "port"), `unknown port "${entry.fields.port}"${hint}`);
      return null;
    }
  }
}

type ServerFields = Omit<Extract<ServiceEntry, { kind: "url" }>["fields"], "url">;

function fixedService(name: string, servers: readonly ServiceServer[], fields: ServerFields, pass: Pass): FixedService {
  const { policy, sticky, tls, ejection, health } = fields;
  refuseDuplicates(servers, fields, pass);
  noteServerKeys(servers, fields, pass);
  return {
    kind: "fixed", name, servers, resolveAll: fields.resolveAll,
    policy: policy.kind === "sticky" ? { kind: "sticky", cookie: sticky.cookie ?? `route_${name}`, secret: sticky.secret ?? null } : policy,
    trust: { caFile: tls.caFile ?? null, serverName: tls.serverName ?? null, skipsVerify: tls.insecureSkipVerify },
    ejection: { failures: ejection.failures, windowMs: ejection.window, timeMs: ejection.time, longestMs: Math.max(ejection.time, ejection.longest), statuses: ejection.statuses },
    health: health === undefined ? null : {
      path: health.path, host: health.host ?? null, intervalMs: health.interval, timeoutMs: health.timeout,
      healthyAfter: health.healthy, unhealthyAfter: health.unhealthy, statuses: health.statuses,
    },
    retries: fields.retries, retryBudgetPercent: fields.retryBudget, limits: limitsOf(fields),
  };
}

function limitsOf({ maxConnections, queue, queueTimeout }: Pick<ServerFields, "maxConnections" | "queue" | "queueTimeout">): ServiceLimits {
  return { maxConnections, queue, queueTimeoutMs: queueTimeout };
}

/** A server that stands there twice is a slip; one that is to have more has a weight. */
function refuseDuplicates(servers: readonly ServiceServer[], fields: object, pass: Pass): void {
  const seen = new Set<string>();
  for (const { address, isSecure } of servers) {
    const url = serverUrlOf(address, isSecure);
    if (seen.has(url)) pass.mistake(pass.placeOf(fields, "servers"), `duplicate server "${url}" (give it a weight instead)`);
    seen.add(url);
  }
}

function noteServerKeys(servers: readonly ServiceServer[], fields: ServerFields, pass: Pass): void {
  const note = (key: keyof ServerFields, reason: string): void => {
    const place = pass.placeOf(fields, key);
    if (place !== null) pass.source.note(place, `"${key}" has no effect ${reason}`);
  };
  if (!servers.some(({ isSecure }) => isSecure)) note("tls", "without an https server");
  if (fields.policy.kind !== "sticky") note("sticky", "without \"policy: sticky\"");
  if (servers.length === 1 && !fields.resolveAll) for (const key of ["policy", "ejection"] as const) note(key, "on a service with one server");
  if (fields.maxConnections === 0) for (const key of ["queue", "queueTimeout"] as const) note(key, "without \"maxConnections\"");
}

function targetPort(port: number | string, ports: Ports): number | "path" | null {
  if (typeof port === "number") return port;
  return port === "path" ? "path" : (ports.get(port) ?? null);
}
