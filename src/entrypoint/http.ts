// The plain HTTP address that we bind: one Bun.serve whose only handler is the proxy. No `routes` table (it matches raw
// targets while the handler sees normalised ones), no development mode (it shows source), an explicit reusePort (the
// default would let a second instance bind the same port silently).
//
// Bun.serve is bound to the address itself, unless connections are to be counted or to say whom they stand for: then it stands on
// loopback behind a listener that does that.

import { hostForUrl } from "../lib/address.ts";
import { stallAt } from "../limits/minimum-rate.ts";
import { Sweeper } from "../lib/deadlines.ts";
import { type GatewayServer, type Proxy, websocketHandlers } from "../proxy/proxy.ts";
import type { ClientLeg } from "../proxy/session.ts";
import type { Settings } from "../settings.ts";
import { Admission } from "./admission.ts";
import { AnnouncedClients, LOOPBACK, misdirected } from "./announced.ts";
import { bind } from "./listen.ts";
import { PlainFront } from "./plain-front.ts";

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
  readonly #front: PlainFront | null;

  /**
   * @param admission what connections are asked; null: nothing
   * @throws Error EADDRINUSE, EACCES: with the address in its message
   */
  constructor(listen: Settings["http"], settings: Settings, proxy: Proxy, admission: Admission | null = Admission.of(settings), sweeper: Sweeper = new Sweeper()) {
    if (admission === null) {
      this.#front = null;
      this.#server = bind(listen, "--http", (hostname) => Bun.serve<ClientLeg>({
        ...serverOptions(settings),
        hostname,
        port: listen.port,
        fetch: (request, server) => proxy.handle(request, server, server.requestIP(request)?.address ?? "", null),
      }));
      return;
    }
    const clients = new AnnouncedClients();
    this.#server = Bun.serve<ClientLeg>({
      ...serverOptions(settings),
      hostname: LOOPBACK, port: 0,
      fetch: (request, server) => {
        const client = clients.of(server.requestIP(request));
        return client === undefined ? misdirected() : proxy.handle(request, server, client, null);
      },
    });
    try {
      this.#front = new PlainFront({
        listen, admission, clients, server: { address: LOOPBACK, port: this.#server.port as number }, stall: stallAt(settings.limits.minimumRate),
      }, sweeper);
    } catch (error) {
      void this.#server.stop(true);
      throw error;
    }
  }

  get port(): number {
    return this.#front?.port ?? this.#server.port as number;
  }

  /** Where it can be reached from this machine. */
  get url(): string {
    const hostname = this.#front?.hostname ?? this.#server.hostname ?? "";
    return `http://${hostname === "::" ? "localhost" : hostForUrl(hostname)}:${this.port}`;
  }

  /** Requests whose answers are not wholly with the kernel. */
  get pending(): number {
    return Math.max(this.#server.pendingRequests, this.#front?.busy ?? 0);
  }

  /** No new connections; what runs goes on. */
  stopAccepting(): void {
    this.#front?.stopAccepting();
    void this.#server.stop(false);
  }

  /** Cuts what is left. */
  async stop(): Promise<void> {
    this.#front?.stop();
    await this.#server.stop(true);
  }
}
