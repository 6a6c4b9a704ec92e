// The admin listener: an address of its own, loopback unless the operator says otherwise. One that can be reached from
// elsewhere has a token or does not open.

import { isLoopbackHost } from "../lib/address.ts";
import { createAdmin, type AdminOptions } from "./api.ts";
import { tokenFault } from "./guard.ts";

/** A domain's DNS check may take a while, and Bun counts waiting as idle, s. */
const IDLE_TIMEOUT_S = 120;
/** Far above what the API takes, so that the API itself can say what it takes. */
const BODY_CUT_BYTES = 8 * 1024 * 1024;

export type AdminListen = {
  /** Empty: all addresses. */
  readonly host: string;
  /** 0: the kernel chooses. */
  readonly port: number;
};

export class AdminServer {
  readonly #server: Bun.Server<undefined>;

  /** @throws Error with what to do about it: unsafe without a token, or the address cannot be bound */
  constructor(listen: AdminListen, options: AdminOptions) {
    const where = `${listen.host || "*"}:${listen.port}`;
    const fault = unsafe(listen.host, options.token);
    if (fault !== null) throw new Error(`cannot open the admin API on ${where}: ${fault}`);
    const app = createAdmin(options);
    try {
      this.#server = Bun.serve({
        // A name would be looked up, and a loopback address is what was promised.
        hostname: listen.host === "localhost" ? "127.0.0.1" : listen.host || "::",
        port: listen.port,
        development: false,
        reusePort: false,
        idleTimeout: IDLE_TIMEOUT_S,
        maxRequestBodySize: BODY_CUT_BYTES,
        fetch: (request) => app.fetch(request),
        error: () => Response.json({ error: "internal error" }, { status: 500 }),
      });
    } catch (error) {
      throw new Error(`cannot listen on ${where} for the admin API: ${hint(error as NodeJS.ErrnoException)}`, { cause: error });
    }
  }

  /** The port that was bound. */
  get port(): number {
    return this.#server.port as number;
  }

  /** Where it can be reached from this machine. */
  get url(): string {
    const { hostname = "" } = this.#server;
    if (hostname === "::" || hostname === "0.0.0.0") return `http://localhost:${this.port}`;
    return `http://${hostname.includes(":") ? `[${hostname}]` : hostname}:${this.port}`;
  }

  /** Cuts what runs: nothing here is worth waiting for. */
  async stop(): Promise<void> {
    await this.#server.stop(true);
  }
}

function unsafe(host: string, token: string | null): string | null {
  if (token !== null) return tokenFault(token);
  return isLoopbackHost(host) ? null : "it could be called from elsewhere, and there is no token (set admin.tokenFile, or listen on 127.0.0.1)";
}

function hint(error: NodeJS.ErrnoException): string {
  if (error.code === "EADDRINUSE") return "the address is in use (another server? choose one with --admin HOST:PORT)";
  if (error.code === "EACCES" || error.code === "EPERM") return "not permitted (ports below 1024 need CAP_NET_BIND_SERVICE or root)";
  return error.code === "EADDRNOTAVAIL" ? "no such address on this machine" : error.message;
}
