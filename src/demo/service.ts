// One service of a demo pod: what answers on one port. Requests get a Response; an upgrade gets a session, or the
// Response that refuses it. `serveAt` is the only place of the demo pods that opens a listener.

export type Socket = Bun.ServerWebSocket<Session>;

export type Session = {
  open?(socket: Socket): void;
  message?(socket: Socket, data: string | Buffer): void;
  close?(socket: Socket): void;
};

export type PodService = {
  readonly port: number;
  respond(request: Request, url: URL): Response | Promise<Response>;
  /** Absent: the service knows no WebSockets. */
  connect?(url: URL): Session | Response;
  /** Ends timers; the sockets are closed by the listener. */
  stop?(): void;
};

export type Listener = { stop(): Promise<void> };

const BODY_LIMIT_BYTES = 8 * 1024 ** 3;
const MESSAGE_LIMIT_BYTES = 1024 ** 2;
/** Seconds; uploads that are paused for longer are cut and resumed, as on a real pod. */
const IDLE_TIMEOUT_S = 120;

/** Binds the service at its port of `address`; throws with code EADDRINUSE when somebody else has it. */
export function serveAt(address: string, service: PodService): Listener {
  const server = Bun.serve<Session>({
    hostname: address,
    port: service.port,
    // Explicit, as Bun shares the port silently otherwise and two demos would answer for one another.
    reusePort: false,
    development: false,
    idleTimeout: IDLE_TIMEOUT_S,
    maxRequestBodySize: BODY_LIMIT_BYTES,
    fetch: (request, listener) => answer(request, listener, service),
    error: () => Response.json({ error: "demo pod failed" }, { status: 500 }),
    websocket: {
      maxPayloadLength: MESSAGE_LIMIT_BYTES,
      open: (socket) => socket.data.open?.(socket),
      message: (socket, data) => socket.data.message?.(socket, data),
      close: (socket) => socket.data.close?.(socket),
    },
  });
  return {
    async stop() {
      service.stop?.();
      await server.stop(true);
    },
  };
}

function answer(
  request: Request, listener: Bun.Server<Session>, service: PodService,
): Response | Promise<Response> | undefined {
  const url = new URL(request.url);
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") return service.respond(request, url);
  if (!service.connect) return refuse(404, "no WebSocket here");
  const session = service.connect(url);
  if (session instanceof Response) return session;
  if (listener.upgrade(request, { data: session })) return undefined;
  return refuse(400, "bad WebSocket handshake");
}

/** A JSON error, as the pods of the platform answer. */
export function refuse(status: number, error: string): Response {
  return Response.json({ error }, { status });
}
