// The plain HTTP address that we bind: one Bun.serve whose only handler is the proxy. No `routes` table (it matches raw
// targets while the handler sees normalised ones), no development mode (it shows source), an explicit reusePort (the
// default would let a second instance bind the same port silently).

import { isIP } from "node:net";
import { hostForUrl } from "../lib/address.ts";
import { type GatewayServer, type Proxy, websocketHandlers } from "../proxy/proxy.ts";
import type { ClientLeg } from "../proxy/session.ts";
import type { Settings } from "../settings.ts";

/** Idle keep-alive connections, s: what the OpenResty router has. Bun allows at most 255, in steps of 4. */
export const IDLE_TIMEOUT_S = 120;

/** What every server of ours has in common, whatever it listens on. */
export function serverOptions(settings: Settings) {
  return {
    development: false,
    reusePort: false,
    idleTimeout: IDLE_TIMEOUT_S,
    // Each route has its own limit, checked while the body passes.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    error: () => new Response("internal error\n", { status: 500 }),
    websocket: {
      ...websocketHandlers,
      // Keep-alive is the sessions' own, on both legs; Bun's would cut a browser whose desktop is still.
      idleTimeout: 0, sendPings: false,
      maxPayloadLength: settings.websocket.messageLimitBytes,
      // Nothing may ever be dropped: the upstream is paused long before.
      backpressureLimit: 0, closeOnBackpressureLimit: false,
      perMessageDeflate: settings.routes.some((route) => route.compressText) ? { compress: "shared", decompress: "shared" } as const : false,
    },
  } as const;
}

export class HttpEntrypoint {
  readonly #server: GatewayServer;

  /** @throws Error EADDRINUSE, EACCES: with the address in its message */
  constructor(listen: Settings["http"], settings: Settings, proxy: Proxy) {
    this.#server = bind(listen, (hostname) => Bun.serve<ClientLeg>({
      ...serverOptions(settings),
      ...(hostname === null ? {} : { hostname }),
      port: listen.port,
      fetch: (request, server) => proxy.handle(request, server, server.requestIP(request)?.address ?? "", null),
    }));
  }

  get port(): number {
    return this.#server.port as number;
  }

  /** Where it can be reached from this machine. */
  get url(): string {
    return `http://${this.#server.hostname === "::" ? "localhost" : hostForUrl(this.#server.hostname ?? "")}:${this.port}`;
  }

  /** Requests whose answers are not wholly with the kernel. */
  get pending(): number {
    return this.#server.pendingRequests;
  }

  /** No new connections; what runs goes on. */
  stopAccepting(): void {
    void this.#server.stop(false);
  }

  /** Cuts what is left. */
  async stop(): Promise<void> {
    await this.#server.stop(true);
  }
}

/** All addresses means both families where the machine has both. */
export function bind(listen: Settings["http"], serve: (hostname: string | null) => GatewayServer, flag?: string): GatewayServer {
  try {
    return serve(listen.host === "" ? "::" : listen.host);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (listen.host === "" && code !== "EADDRINUSE" && code !== "EACCES") return serve("0.0.0.0");
    throw new Error(`cannot listen on ${listen.host || "*"}:${listen.port}: ${hint(code, error, listen.host, flag)}`, { cause: error });
  }
}

/** Why an address cannot be bound, and what to do about it. @param flag that says another one */
export function hint(code: string | undefined, error: unknown, host: string, flag = "--http"): string {
  // Bun says the same of a name that it cannot resolve.
  if (code === "EADDRINUSE" && host !== "" && host !== "localhost" && isIP(host) === 0) return `the address is in use, or the name cannot be resolved (choose another with ${flag} HOST:PORT)`;
  if (code === "EADDRINUSE") return `the address is in use (another server? choose one with ${flag} HOST:PORT)`;
  if (code === "EACCES" || code === "EPERM") return `not permitted (ports below 1024 need CAP_NET_BIND_SERVICE or root; or choose one with ${flag} HOST:PORT)`;
  if (code === "EADDRNOTAVAIL") return "no such address on this machine";
  // Bun says "invalid argument" of a name that it cannot resolve; of an address it means something else.
  if (code === "ENOENT" || (code === "EINVAL" && isIP(host) === 0)) return "cannot resolve the name";
  return (error as Error).message;
}
