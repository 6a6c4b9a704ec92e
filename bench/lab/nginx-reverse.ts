// nginx as a reverse proxy in front of groups of servers, with connections to them kept: what caches, balances and compresses
// beside ours. It passes on and adds the same fields as ours does.

import { freePort, type Lab } from "./lab.ts";
import { accessLog, start } from "./nginx.ts";
import type { Server } from "./scenario.ts";

export type NginxSite = {
  /** What stands inside of `upstream NAME {}`, for `proxy_pass http://NAME`. */
  readonly upstreams: Readonly<Record<string, string>>;
  /** What stands inside of `location PATH {}`. */
  readonly locations: Readonly<Record<string, string>>;
  /** Directives outside of the server. */
  readonly http?: string;
};

export async function startReverseProxy(lab: Lab, { upstreams, locations, http = "" }: NginxSite): Promise<Server> {
  const port = await freePort();
  const log = lab.path(`nginx-${port}.access.log`);
  const pid = await start(lab, "nginx", "127.0.0.1", port, `
    ${accessLog(log)}
    ${http}
    ${blocks("upstream", upstreams, "keepalive 128; keepalive_requests 1000000000;")}
    server {
      listen 127.0.0.1:${port};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Request-Id $request_id;
      add_header X-Frame-Options SAMEORIGIN;
      add_header X-XSS-Protection "1; mode=block";
      add_header X-Request-Id $request_id;
      ${blocks("location", locations, "")}
    }`);
  return { name: "nginx", pid, port, log };
}

function blocks(kind: string, byName: Readonly<Record<string, string>>, more: string): string {
  return Object.entries(byName).map(([name, inside]) => `${kind} ${name} { ${inside} ${more} }`).join("\n    ");
}
