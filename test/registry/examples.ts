// Files and gateways that the tests of the registry share: the two examples of the original's documentation, and the rest
// by what differs from them.

import type { Gateway } from "../../src/gateway.ts";
import type { Registry, RegistryEvents } from "../../src/registry/registry.ts";

export const PASSTHROUGH_FILE = `tcp:
    routers:
        37-2039-testname-route:
            rule: HostSNI(\`remote.omar.grid.tf\`)
            service: 37-2039-testname
            tls:
                passthrough: "true"
    services:
        37-2039-testname:
            loadbalancer:
                servers:
                    - address: 137.184.106.152:443
`;

/** The service has another name than the workload, and the backend is a placeholder in the original. */
export const NAME_FILE = `http:
    routers:
        37-1976-workloadname-route:
            rule: Host(\`workloadname.gent01.dev.grid.tf\`)
            service: 40-1976-workloadname
            tls:
                certResolver: dnsresolver
                domains:
                    - sans:
                        - '*.gent01.dev.grid.tf'
    services:
        40-1976-workloadname:
            loadbalancer:
                servers:
                    - url: http://[2001:db8::7]:9000
`;

export const NAME_GATEWAY: Gateway = {
  id: "37-1976-workloadname", service: "40-1976-workloadname", fqdn: "workloadname.gent01.dev.grid.tf", isPassthrough: false,
  backends: [{ address: "2001:db8::7", port: 9000 }], resolver: "dnsresolver", certificateNames: ["*.gent01.dev.grid.tf"],
};

export const PASSTHROUGH_GATEWAY: Gateway = {
  id: "37-2039-testname", service: "37-2039-testname", fqdn: "remote.omar.grid.tf", isPassthrough: true,
  backends: [{ address: "137.184.106.152", port: 443 }], resolver: null, certificateNames: [],
};

/** A terminated gateway with its own domain. */
export function gateway(id: string, fqdn = `${id}.example.org`, changes: Partial<Gateway> = {}): Gateway {
  return {
    id, service: id, fqdn, isPassthrough: false, backends: [{ address: "10.0.0.1", port: 8080 }],
    resolver: "resolver", certificateNames: [], ...changes,
  };
}

/** What a registry told its log, one line each. */
export class Told implements RegistryEvents {
  readonly lines: string[] = [];
  problem(file: string, message: string): void { this.lines.push(`${file}: ${message}`); }
  solved(file: string): void { this.lines.push(`${file}: solved`); }
  removed(file: string): void { this.lines.push(`${file}: removed`); }
}

/** Resolves when what the registry serves is so; its changes are what is waited for. */
export async function until(registry: Registry, isSo: () => boolean): Promise<void> {
  if (isSo()) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const end = registry.onChange(() => { if (isSo()) resolve(); });
  await promise;
  end();
}
