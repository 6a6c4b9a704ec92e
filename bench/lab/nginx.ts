// nginx from Debian, as the pod and as the peer: one worker, nothing of the machine's own configuration, everything that it
// writes below the scratch directory. Where a choice is open it is made in nginx's favour: no limit on requests per
// connection, no modules but those that the peer needs, short configurations.

import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort, type Lab } from "./lab.ts";
import type { Server } from "./scenario.ts";

const LUA_MODULES = ["/usr/lib/nginx/modules/ndk_http_module.so", "/usr/lib/nginx/modules/ngx_http_lua_module.so"];
const STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so";
const LUA_LIBRARY = "/usr/share/lua/5.1";

/** 4,000 bridged sessions are 8,000 connections. */
const WORKER_CONNECTIONS = 12_000;

/** Why there is no nginx to measure against; null when there is one. */
export function nginxMissing(): string | null {
  return Bun.which("nginx") === null ? "nginx is not installed" : null;
}

/** The same for nginx with Lua. */
export function luaMissing(): string | null {
  const missing = [...LUA_MODULES, `${LUA_LIBRARY}/ngx/balancer.lua`].find((file) => !existsSync(file));
  return nginxMissing() ?? (missing === undefined ? null : `${missing} is missing (package libnginx-mod-http-lua)`);
}

/** The same for nginx as a proxy of whole connections. */
export function streamMissing(): string | null {
  return nginxMissing() ?? (existsSync(STREAM_MODULE) ? null : `${STREAM_MODULE} is missing (package libnginx-mod-stream)`);
}

/** A pod's service that answers everything with this JSON text. */
export async function startJsonPod(lab: Lab, host: string, port: number, body: string): Promise<void> {
  await start(lab, "pod", host, port, `
    access_log off;
    server {
      listen ${host}:${port};
      default_type application/json;
      return 200 '${body}';
    }`);
}

/**
 * A pod that serves one file, on 127.0.0.1.
 * @param directives of its answers
 * @param log of its requests
 * @returns its port
 */
export async function startFilePod(lab: Lab, name: string, content: string, directives: string, log: string): Promise<number> {
  const port = await freePort();
  const root = lab.path(`files-${port}`);
  mkdirSync(root);
  writeFileSync(join(root, name), content);
  await start(lab, "pod", "127.0.0.1", port, `
    access_log ${log};
    types { text/html html; application/json json; }
    server {
      listen 127.0.0.1:${port};
      root ${root};
      ${directives}
    }`);
  return port;
}

/** A plain reverse proxy to one address: `location` is what stands inside of `location / {}`. */
export async function startPlainProxy(lab: Lab, upstream: string, location: string): Promise<Server> {
  const port = await freePort();
  const log = lab.path(`nginx-${port}.access.log`);
  const pid = await start(lab, "nginx", "127.0.0.1", port, `
    ${accessLog(log)}
    server {
      listen 127.0.0.1:${port};
      client_max_body_size 0;
      location / {
        proxy_pass ${upstream};
        proxy_http_version 1.1;
        ${location}
      }
    }`);
  return { name: "nginx", pid, port, log };
}

/** Connections for `serverName` go to a TLS server untouched, others nowhere. */
export async function startStreamProxy(lab: Lab, serverName: string, targetPort: number): Promise<Server> {
  const port = await freePort();
  const log = lab.path(`nginx-${port}.access.log`);
  const pid = await start(lab, "nginx stream", "127.0.0.1", port, `
    log_format line escape=json '{"time":"$time_iso8601","client":"$remote_addr","server_name":"$ssl_preread_server_name","target":"$upstream_addr",'
      '"bytes_in":$bytes_received,"bytes_out":$bytes_sent,"duration_s":$session_time}';
    access_log ${log} line buffer=64k flush=1s;
    map $ssl_preread_server_name $pod { ${serverName} 127.0.0.1:${targetPort}; }
    server {
      listen 127.0.0.1:${port};
      ssl_preread on;
      proxy_buffer_size 64k;
      proxy_timeout 1h;
      proxy_pass $pod;
    }`, [STREAM_MODULE], "stream");
  return { name: "nginx stream", pid, port, log };
}

export type LuaOptions = {
  /** Connections to pods that are kept; 0: one connection a request, as the original ships. */
  readonly keepAlive: number;
  readonly token: string;
  readonly target: string;
  readonly targetPort: number;
};

/** The lean OpenResty router: finds the token in a shared dictionary and proxies to the pod that stands there. */
export async function startLuaRouter(lab: Lab, name: string, options: LuaOptions): Promise<Server> {
  const port = await freePort();
  const log = lab.path(`nginx-${port}.access.log`);
  const pid = await start(lab, name, "127.0.0.1", port, luaRouter(port, log, options), LUA_MODULES);
  return { name, pid, port, log };
}

function luaRouter(port: number, log: string, { keepAlive, token, target, targetPort }: LuaOptions): string {
  return `
    ${accessLog(log)}
    lua_package_path "${LUA_LIBRARY}/?.lua;;";
    lua_shared_dict targets 64m;
    init_by_lua_block { ngx.shared.targets:set("${token}", "${target}") }
    upstream pod {
      server 0.0.0.1;
      balancer_by_lua_block {
        local balancer = require "ngx.balancer"
        local ok, problem = balancer.set_current_peer(ngx.ctx.target, ${targetPort})
        if not ok then
          ngx.log(ngx.ERR, problem)
          return ngx.exit(502)
        end
      }
      ${keepAlive === 0 ? "" : `keepalive ${keepAlive}; keepalive_requests 1000000000;`}
    }
    server {
      listen 127.0.0.1:${port};
      location /spawner {
        client_max_body_size 8m;
        access_by_lua_block {
          local token = ngx.var.http_abcauthorization or ngx.var.http_authorization
          if not token then return ngx.exit(401) end
          if token:sub(1, 7) == "Bearer " then token = token:sub(8) end
          local target = ngx.shared.targets:get(token)
          if not target then return ngx.exit(401) end
          ngx.ctx.target = target
        }
        proxy_pass http://pod;
        proxy_http_version 1.1;
        proxy_set_header Connection ${keepAlive === 0 ? "close" : '""'};
        proxy_set_header Host $http_host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Request-Id $request_id;
        proxy_set_header Authorization "";
        proxy_set_header AbcAuthorization "";
        add_header X-Frame-Options SAMEORIGIN;
        add_header X-XSS-Protection "1; mode=block";
        add_header X-Request-Id $request_id;
      }
    }`;
}

/** The fields of our own access line, buffered as ours are. */
export function accessLog(file: string): string {
  return `
    log_format line escape=json '{"time":"$time_iso8601","request_id":"$request_id","client":"$remote_addr","method":"$request_method",'
      '"path":"$uri","target":"$upstream_addr","status":$status,"bytes_in":$request_length,"bytes_out":$bytes_sent,'
      '"duration_s":$request_time,"upstream_s":"$upstream_header_time"}';
    access_log ${file} line buffer=64k flush=1s;`;
}

/** @returns the master's process id */
export async function start(
  lab: Lab, name: string, host: string, port: number, directives: string, modules: readonly string[] = [], kind: "http" | "stream" = "http",
): Promise<number> {
  const id = `nginx-${host}-${port}`;
  const block = kind === "http" ? http(lab, id, directives) : `stream {${directives}\n}`;
  const config = lab.write(`${id}.conf`, frame(lab, id, block, modules));
  const running = lab.spawn(name, ["nginx", "-p", lab.directory, "-e", `${config}.error.log`, "-c", config]);
  await running.untilListening(host, port);
  return running.pid;
}

function frame(lab: Lab, id: string, block: string, modules: readonly string[]): string {
  return `
${modules.map((file) => `load_module ${file};`).join("\n")}
# The scratch directory is the caller's own; a worker of another user could not write there.
${process.getuid?.() === 0 ? "user root;" : ""}
daemon off;
worker_processes 1;
worker_rlimit_nofile ${WORKER_CONNECTIONS + 200};
pid ${lab.path(`${id}.pid`)};
events { worker_connections ${WORKER_CONNECTIONS}; }
${block}
`;
}

function http(lab: Lab, id: string, directives: string): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${lab.path(`${id}-${kind}`)};`);
  return `http {
    ${temporary.join("\n    ")}
    keepalive_requests 1000000000;
    keepalive_timeout 120s;
    server_tokens off;
    ${directives}
}`;
}
