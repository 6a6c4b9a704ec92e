// `ports` and `services` of the file → services that routes can point to.

import { suggestion } from "../lib/suggest.ts";
import type { Service } from "../service.ts";
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
    pass.mistake(place, `environment variable ${variable}: expected a port number from 1 to 65535, found "${value}"`);
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
    case "url": return { kind: "fixed", name, ...entry.fields.url };
    case "host": return { kind: "fixed", name, host: entry.fields.host, port: entry.fields.port };
    case "kubernetes": {
      const { kubernetes: { host, port, isSecure }, apiPath, caFile, tokenFile, consolePolicy: policy } = entry.fields;
      return { kind: "console", name, host, port, apiPath, credentials: isSecure ? { caFile, tokenFile } : null, policy };
    }
    case "text": return { kind: "builtin", name, answer: { kind: "text", text: entry.fields.text } };
    case "directory": {
      const { directory } = entry.fields;
      return { kind: "builtin", name, answer: { kind: "files", root: directory === "" ? null : directory } };
    }
    case "target": {
      const port = targetPort(entry.fields.port, ports);
      if (port !== null) return { kind: "target", name, port };
      const hint = suggestion(String(entry.fields.port), [...ports.keys(), "path"]);
      pass.mistake(pass.placeOf(entry.fields, "port"), `unknown port "${entry.fields.port}"${hint}`);
      return null;
    }
  }
}

function targetPort(port: number | string, ports: Ports): number | "path" | null {
  if (typeof port === "number") return port;
  return port === "path" ? "path" : (ports.get(port) ?? null);
}
