// The TLS address that we bind: looks at the server name of each ClientHello without consuming it, then hands the connection
// on. To a backend that speaks TLS itself (passthrough), or to our own server for the certificate of that name; to nobody when
// the name is unknown. What is peeked is passed on byte for byte.

import type { Socket, TCPSocketListener } from "bun";
import type { Certificate } from "../certificate.ts";
import { plainAddress } from "../lib/address.ts";
import type { Sweepable, Sweeper } from "../lib/deadlines.ts";
import { alertRecord, INTERNAL_ERROR, UNRECOGNIZED_NAME } from "../tls/alert.ts";
import { peekClientHello } from "../tls/client-hello.ts";
import { Tunnel, type TunnelAddress, type TunnelEnd } from "../upstream/tunnel.ts";
import { hint } from "./http.ts";
import type { HttpsServers } from "./https.ts";

/** From the connection to a whole ClientHello. */
const HELLO_TIMEOUT_MS = 10_000;
/** Connections that have not said their name yet. */
const PEEKING_LIMIT = 10_000;

/** What a server name leads to. */
export type TlsRoute =
  | { readonly kind: "terminate"; readonly certificate: Certificate }
  | { readonly kind: "passthrough"; readonly service: string; readonly backends: readonly TunnelAddress[] };

export type TlsFrontOptions = {
  readonly listen: { readonly host: string; readonly port: number };
  readonly connectTimeoutMs: number;
  readonly tunnelIdleTimeoutMs: number;
  /** null: the name is unknown. @param serverName null: the client said none */
  route(serverName: string | null): TlsRoute | null;
  readonly servers: HttpsServers;
  /** Bytes of a passed-through connection as they flow. */
  moved(service: string, bytesIn: number, bytesOut: number): void;
  readonly log: TlsFrontLog;
};

export interface TlsFrontLog {
  /** A passed-through connection has ended. */
  tunnelled(tunnel: { readonly client: string; readonly serverName: string; readonly service: string; readonly target: string; readonly durationMs: number } & TunnelEnd): void;
  /** A connection that got nowhere. */
  refused(client: string, serverName: string | null, reason: string): void;
}

export class TlsFront {
  readonly #listener: TCPSocketListener<TlsConnection>;
  readonly #connections = new Set<TlsConnection>();
  #peeking = 0;

  /** @throws Error EADDRINUSE, EACCES: with the address in its message */
  constructor(readonly options: TlsFrontOptions, readonly sweeper: Sweeper) {
    this.#listener = listen(options.listen, (hostname) => Bun.listen<TlsConnection>({
      hostname, port: options.listen.port, allowHalfOpen: true, exclusive: true,
      socket: {
        open: (socket) => { socket.data = new TlsConnection(this, socket); },
        data: (socket, chunk) => socket.data.received(chunk),
        drain: (socket) => socket.data.tunnel?.clientDrained(),
        end: (socket) => socket.data.ended(),
        close: (socket, error) => socket.data.closed(error ?? null),
        error: () => {}, // "close" follows and says the same.
      },
    }));
  }

  get port(): number {
    return this.#listener.port;
  }

  /** Connections through the front now. */
  get size(): number {
    return this.#connections.size;
  }

  stopAccepting(): void {
    this.#listener.stop(false);
  }

  /** Cuts what is left. */
  stop(): void {
    this.#listener.stop(true);
    for (const connection of [...this.#connections]) connection.cut("shutdown");
  }

  /** @returns false when there are too many that have said nothing yet */
  admit(connection: TlsConnection): boolean {
    this.#connections.add(connection);
    this.#peeking += 1;
    return this.#peeking <= PEEKING_LIMIT;
  }

  peeked(): void {
    this.#peeking -= 1;
  }

  forget(connection: TlsConnection): void {
    this.#connections.delete(connection);
  }
}

class TlsConnection implements Sweepable {
  tunnel: Tunnel | null = null;
  readonly #client: string;
  readonly #startedMs = performance.now();
  #bytes: Buffer | null = null;
  #atLeast = 1;
  #isPeeking = true;

  constructor(private readonly front: TlsFront, private readonly socket: Socket<TlsConnection>) {
    this.#client = plainAddress(socket.remoteAddress);
    front.sweeper.add(this);
    if (!front.admit(this)) this.#refuse(null, "too many connections without a ClientHello", null);
  }

  received(chunk: Buffer): void {
    if (this.tunnel !== null) return this.tunnel.clientData(chunk);
    if (!this.#isPeeking) return;
    const bytes = this.#bytes === null ? chunk : Buffer.concat([this.#bytes, chunk]);
    this.#bytes = bytes;
    if (bytes.length < this.#atLeast) return;
    const peeked = peekClientHello(bytes);
    switch (peeked.kind) {
      case "incomplete": this.#atLeast = peeked.atLeast; return;
      case "hello": return this.#route(peeked.hello.serverName, bytes);
      case "bad": return this.#refuse(null, peeked.reason, alertRecord(peeked.alert));
      case "not-tls": return this.#refuse(null, peeked.isHttp ? "plain HTTP on the TLS address" : "not TLS", peeked.isHttp ? PLAIN_HTTP : null);
    }
  }

  sweep(nowMs: number): void {
    if (nowMs - this.#startedMs >= HELLO_TIMEOUT_MS) this.#refuse(null, "no ClientHello in time", null);
  }

  ended(): void {
    if (this.tunnel !== null) this.tunnel.clientEnded();
    else this.#refuse(null, "left before the ClientHello", null);
  }

  closed(error: Error | null): void {
    this.#endPeek();
    this.tunnel?.clientClosed(error);
    this.front.forget(this);
  }

  cut(reason: string): void {
    if (this.tunnel !== null) this.tunnel.cut(reason);
    else this.#refuse(null, reason, null);
  }

  #route(serverName: string | null, first: Buffer): void {
    const { options } = this.front;
    const route = options.route(serverName);
    if (route === null) return this.#refuse(serverName, "unknown server name", alertRecord(UNRECOGNIZED_NAME));
    this.#endPeek();
    if (route.kind === "passthrough") this.#passThrough(serverName ?? "", route.service, route.backends, first);
    else this.#terminate(serverName, route.certificate, first);
  }

  #terminate(serverName: string | null, certificate: Certificate, first: Buffer): void {
    const { servers, connectTimeoutMs } = this.front.options;
    let port: number;
    try {
      port = servers.portFor(certificate);
    } catch (error) {
      return this.#refuse(serverName, `cannot serve the certificate: ${(error as Error).message}`, alertRecord(INTERNAL_ERROR));
    }
    let localPort = 0;
    this.tunnel = new Tunnel(this.socket, {
      backends: [{ address: "127.0.0.1", port }], connectTimeoutMs, first,
      // The server behind has its own rules for idle connections.
      idleTimeoutMs: Infinity,
      connected: (_backend, ours) => {
        localPort = ours;
        servers.announce(ours, this.#client);
      },
      ended: () => servers.forget(localPort),
    }, this.front.sweeper);
  }

  #passThrough(serverName: string, service: string, backends: readonly TunnelAddress[], first: Buffer): void {
    const { connectTimeoutMs, tunnelIdleTimeoutMs, moved, log } = this.front.options;
    let target = "";
    this.tunnel = new Tunnel(this.socket, {
      backends, connectTimeoutMs, first, idleTimeoutMs: tunnelIdleTimeoutMs,
      connected: (backend) => { target = `${backend.address.includes(":") ? `[${backend.address}]` : backend.address}:${backend.port}`; },
      moved: (bytesIn, bytesOut) => moved(service, bytesIn, bytesOut),
      ended: (end) => log.tunnelled({ ...end, client: this.#client, serverName, service, target, durationMs: performance.now() - this.#startedMs }),
    }, this.front.sweeper);
  }

  /** @param answer last words; null: none that it would understand */
  #refuse(serverName: string | null, reason: string, answer: Uint8Array | null): void {
    if (!this.#isPeeking && this.tunnel !== null) return;
    this.#endPeek();
    this.front.options.log.refused(this.#client, serverName, reason);
    if (answer === null) return this.socket.terminate();
    this.socket.write(answer, 0, answer.length);
    this.socket.end();
  }

  #endPeek(): void {
    if (!this.#isPeeking) return;
    this.#isPeeking = false;
    this.#bytes = null;
    this.front.sweeper.delete(this);
    this.front.peeked();
  }
}

const PLAIN_HTTP_BODY = "this address speaks HTTPS, not HTTP\n";
const PLAIN_HTTP = Buffer.from("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
  + `Content-Length: ${PLAIN_HTTP_BODY.length}\r\nConnection: close\r\n\r\n${PLAIN_HTTP_BODY}`);

/** All addresses means both families where the machine has both. */
function listen(where: { readonly host: string; readonly port: number }, bind: (hostname: string) => TCPSocketListener<TlsConnection>): TCPSocketListener<TlsConnection> {
  const named = where.host || "*";
  try {
    try {
      return bind(where.host === "" ? "::" : where.host);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (where.host !== "" || code === "EADDRINUSE" || code === "EACCES") throw error;
      return bind("0.0.0.0");
    }
  } catch (error) {
    throw new Error(`cannot listen on ${named}:${where.port}: ${hint((error as NodeJS.ErrnoException).code, error, where.host)}`, { cause: error });
  }
}
