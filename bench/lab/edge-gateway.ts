// route-gateway under measurement as the edge of a network: TLS from a certificate's files in front of one pod, or services that
// are registered by files. Its access log goes to a file.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Gateway } from "../../src/gateway.ts";
import { fileNameOf } from "../../src/registry/directory.ts";
import { formatGateway } from "../../src/registry/format.ts";
import type { SitePair } from "./certificate.ts";
import { freePort, type Lab, type Running } from "./lab.ts";
import type { Server } from "./scenario.ts";

export type EdgeGateway = Server & { readonly running: Running; readonly httpPort: number; readonly adminPort: number };

/** Nothing is registered: every request goes to one pod, every name gets the one certificate. @param name one that it has */
export async function startFixedTls(lab: Lab, command: readonly string[], { certFile, keyFile }: SitePair, name: string, pod: string): Promise<EdgeGateway> {
  return listening(await spawnEdge(lab, command, "route-gateway", `
tls: { certificates: [{ certFile: ${certFile}, keyFile: ${keyFile} }], default: ${name}, redirect: false }
services: { pod: { url: "http://${pod}" } }
routes: [{ path: /, service: pod }]
`));
}

export type Registered = {
  readonly name: string;
  /** Directory with `proxy/`. */
  readonly root: string;
  /** null: nothing is terminated. */
  readonly pair: SitePair | null;
};

/** Perhaps not listening yet. */
export function spawnRegistered(lab: Lab, command: readonly string[], { name, root, pair }: Registered): Promise<EdgeGateway> {
  const certificates = pair === null ? "[]" : `[{ certFile: ${pair.certFile}, keyFile: ${pair.keyFile} }]`;
  return spawnEdge(lab, command, name, `
tls: { certificates: ${certificates}, redirect: false }
gateway: { root: ${root}, domain: gateway.test, allowLoopbackBackends: true, checkDomains: false }
services: { healthz: { text: OK } }
routes: [{ path: /healthz, service: healthz }]
`);
}

export async function startRegistered(lab: Lab, command: readonly string[], registered: Registered): Promise<EdgeGateway> {
  return listening(await spawnRegistered(lab, command, registered));
}

/** A root with these gateways in it, as another program would have written them. @returns its path */
export async function writeRegistry(lab: Lab, name: string, gateways: readonly Gateway[]): Promise<string> {
  const root = lab.path(name);
  mkdirSync(join(root, "proxy"), { recursive: true });
  for (const gateway of gateways) await Bun.write(join(root, "proxy", fileNameOf(gateway.id)), formatGateway(gateway));
  return root;
}

/** On this machine, without a certificate of its own. */
export function gatewayAt(fqdn: string, address: string, port: number, isPassthrough = false): Gateway {
  const id = fqdn.replaceAll(".", "-");
  return { id, service: id, fqdn, isPassthrough, backends: [{ address, port }], resolver: null, certificateNames: [] };
}

async function spawnEdge(lab: Lab, command: readonly string[], name: string, config: string): Promise<EdgeGateway> {
  const [httpPort, port, adminPort] = [await freePort(), await freePort(), await freePort()];
  const log = lab.path(`edge-${port}.log`);
  const listen = `entrypoints: { http: "127.0.0.1:${httpPort}", https: "127.0.0.1:${port}", admin: "127.0.0.1:${adminPort}" }\n`;
  const file = lab.write(`edge-${port}.yaml`, listen + config);
  const running = lab.spawn("route-gateway", [...command, "serve", "--config", file], { stdout: log });
  return { name, pid: running.pid, port, log, running, httpPort, adminPort };
}

async function listening(gateway: EdgeGateway): Promise<EdgeGateway> {
  await gateway.running.untilListening("127.0.0.1", gateway.port);
  return gateway;
}
