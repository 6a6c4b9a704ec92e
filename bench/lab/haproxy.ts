// haproxy from Debian: a plain reverse proxy on one thread, without any work for tokens. No bound hangs on it; it shows how
// far away a proxy is that does nothing else.

import { freePort, type Lab } from "./lab.ts";
import type { Server } from "./scenario.ts";

export function haproxyMissing(): string | null {
  return Bun.which("haproxy") === null ? "haproxy is not installed" : null;
}

export async function startHaproxy(lab: Lab, target: string, targetPort: number): Promise<Server> {
  const port = await freePort();
  const log = lab.path("haproxy.log");
  const file = lab.write("haproxy.cfg", config(port, target, targetPort));
  const running = lab.spawn("haproxy", ["haproxy", "-db", "-f", file], { stdout: log });
  await running.untilListening("127.0.0.1", port);
  return { name: "haproxy, plain", pid: running.pid, port, log };
}

function config(port: number, target: string, targetPort: number): string {
  return `
global
  nbthread 1
  maxconn 4096
  log stdout format raw local0 info
defaults
  mode http
  log global
  option httplog
  timeout connect 5s
  timeout client 120s
  timeout server 120s
  http-reuse always
frontend entry
  bind 127.0.0.1:${port}
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Proto http
  unique-id-format %[uuid()]
  unique-id-header X-Request-Id
  http-request del-header Authorization
  http-request del-header AbcAuthorization
  http-response set-header X-Frame-Options SAMEORIGIN
  http-response set-header X-XSS-Protection "1; mode=block"
  default_backend pod
backend pod
  server pod ${target}:${targetPort}
`;
}
