// haproxy from Debian, on one thread and without any work for tokens: a plain reverse proxy, the same behind TLS, and a proxy
// of whole connections by their server name.

import { freePort, type Lab } from "./lab.ts";
import { openFilesLimit } from "./process-stats.ts";
import type { Server } from "./scenario.ts";

/** Of clients; it does not start when it may not have open files for these and as many to the pod. */
const CONNECTIONS = Math.min(10_000, Math.floor(openFilesLimit() / 2) - 100);

export function haproxyMissing(): string | null {
  return Bun.which("haproxy") === null ? "haproxy is not installed" : null;
}

/** No bound hangs on it; it shows how far away a proxy is that does nothing else. */
export function startHaproxy(lab: Lab, target: string, targetPort: number): Promise<Server> {
  return start(lab, "haproxy, plain", (port) => reverseProxy(`127.0.0.1:${port}`, "http", `${target}:${targetPort}`));
}

/** @param pemFile certificate and key */
export function startHaproxyTls(lab: Lab, pemFile: string, target: string, targetPort: number): Promise<Server> {
  return start(lab, "haproxy", (port) => reverseProxy(`127.0.0.1:${port} ssl crt ${pemFile} alpn h2,http/1.1`, "https", `${target}:${targetPort}`));
}

/** Connections for `serverName` go to a TLS server untouched. */
export function startHaproxyPassthrough(lab: Lab, serverName: string, targetPort: number): Promise<Server> {
  return start(lab, "haproxy, tcp", (port) => `
defaults
  mode tcp
  log global
  option tcplog
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend entry
  bind 127.0.0.1:${port}
  tcp-request inspect-delay 10s
  tcp-request content accept if { req.ssl_hello_type 1 }
  use_backend pod if { req.ssl_sni -i ${serverName} }
backend pod
  server pod 127.0.0.1:${targetPort}
`);
}

async function start(lab: Lab, name: string, config: (port: number) => string): Promise<Server> {
  const port = await freePort();
  const log = lab.path(`haproxy-${port}.log`);
  const file = lab.write(`haproxy-${port}.cfg`, GLOBAL + config(port));
  const running = lab.spawn("haproxy", ["haproxy", "-db", "-f", file], { stdout: log });
  await running.untilListening("127.0.0.1", port);
  return { name, pid: running.pid, port, log };
}

const GLOBAL = `
global
  nbthread 1
  maxconn ${CONNECTIONS}
  log stdout format raw local0 info
  ssl-default-bind-options ssl-min-ver TLSv1.2
`;

function reverseProxy(bind: string, scheme: "http" | "https", server: string): string {
  return `
defaults
  mode http
  log global
  option httplog
  timeout connect 5s
  timeout client 120s
  timeout server 120s
  http-reuse always
frontend entry
  bind ${bind}
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Proto ${scheme}
  unique-id-format %[uuid()]
  unique-id-header X-Request-Id
  http-request del-header Authorization
  http-request del-header AbcAuthorization
  http-response set-header X-Frame-Options SAMEORIGIN
  http-response set-header X-XSS-Protection "1; mode=block"
  default_backend pod
backend pod
  server pod ${server}
`;
}
