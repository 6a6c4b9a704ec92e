// The TLS address that we bind: looks at the server name of each ClientHello without consuming it, then hands the connection
// on. To a backend that speaks TLS itself (passthrough), or to our own server for the certificate of that name; to nobody when
// the name is unknown. What is peeked is passed on byte for byte.

import type { Socket } from "bun";
import type { Certificate } from "../certificate.ts";
import { hostForUrl, plainAddress } from "../lib/address.ts";
import type { Sweepable, Sweeper } from "../lib/deadlines.ts";
import type { Stall } from "../limits/minimum-rate.ts";
import { alertRecord, INTERNAL_ERROR, NO_APPLICATION_PROTOCOL, UNEXPECTED_MESSAGE, UNRECOGNIZED_NAME } from "../tls/alert.ts";
import { type ClientHello, peekClientHello } from "../tls/client-hello.ts";
import { Tunnel, type TunnelAddress, type TunnelEnd } from "../upstream/tunnel.ts";
import { Turns } from "../upstream/turns.ts";
import { type Admission, type Arrival, OPENING_MS } from "./admission.ts";
import { type CertificateServer, type HttpsServers, PROTOCOLS } from "./https.ts";
import { type FrontConnection, FrontListener } from "./front-listener.ts";

/** What a refused client gets to read its answer: closing while it still sends would be a reset that overtakes it. */
const LEAVE_MS = 2000;
/** Connections that have not said their name yet; and what they have said instead, in all. */
const PEEKING_LIMIT = 10_000;
const PEEKED_BYTES_LIMIT = 64 * 1024 * 1024;

/**
 * Until the server's first answer, which is what a handshake costs. Bun.serve takes five in a turn of the event loop, the youngest first: of 64
 * clients that came at once, again and again, one in a hundred waited for 44 to 116 ms; so it is 11 to 18, in the order in which they came.
 */
const HANDSHAKES_AT_ONCE = 5;

/** What a server name leads to. */
export type TlsRoute =
  | { readonly kind: "terminate"; readonly certificate: Certificate }
  /** Known, and refused as long as it has no certificate. */
  | { readonly kind: "uncertified" }
  /** Backends in the order in which to try them. */
  | { readonly kind: "passthrough"; readonly service: string; readonly backends: readonly TunnelAddress[] };

export type TlsFrontOptions = {
  readonly listen: { readonly host: string; readonly port: number };
  /** What connections are asked before anything else; nothing unless told. */
  readonly admission?: Admission | null;
  readonly connectTimeoutMs: number;
  readonly tunnelIdleTimeoutMs: number;
  /** How little a client of our own servers may take of what waits for it, in how long; any byte in five minutes unless told. */
  readonly stall?: Stall;
  /** Connections that have not said their name yet; 10,000 unless told. */
  readonly peekingLimit?: number;
  /** null: the name is unknown. @param serverName null: the client said none */
  route(serverName: string | null): TlsRoute | null;
  readonly servers: HttpsServers;
  /** A passthrough backend could not be connected to. */
  failed?(backend: TunnelAddress): void;
  /** Bytes of a passed-through connection as they flow. */
  moved(service: string, bytesIn: number, bytesOut: number): void;
  readonly log: TlsFrontLog;
};

export interface TlsFrontLog {
  /** A passed-through connection has ended. */
  tunnelled(tunnel: { readonly client: string; readonly serverName: string; readonly service: string; readonly target: string; readonly durationMs: number } & TunnelEnd): void;
  /** A connection that got nowhere; one line each. */
  refused(client: string, serverName: string | null, reason: string): void;
}

export class TlsFront extends FrontListener<TlsConnection> {
  /** Oldest first. */
  readonly #peeking = new Set<TlsConnection>();
  #peekedBytes = 0;
  /** Of handshakes, at our own servers. */
  readonly turns = new Turns(HANDSHAKES_AT_ONCE);
  /**
   * Our ends of the connections to passthrough backends at our own port, which may be ourselves, and the server name that was sent there:
   * whoever comes from one of them with that name is. The end alone is not enough, because the kernel gives one out again for another destination.
   */
  readonly tunnelEnds = new Map<string, string>();

  /** @throws Error EADDRINUSE, EACCES: with the address in its message */
  constructor(readonly options: TlsFrontOptions, readonly sweeper: Sweeper) {
    super(options.listen, "--https");
  }

  protected override admit(socket: Socket<TlsConnection | undefined>, peer: string): TlsConnection | null {
    const arrival = this.options.admission?.arrive(peer);
    return arrival === null ? null : new TlsConnection(this, socket, plainAddress(peer), arrival ?? null);
  }

  protected override admitted(connection: TlsConnection): void {
    this.#peeking.add(connection);
    this.#makeRoom();
  }

  /** @param bytes that a connection has said, more than before */
  peeked(bytes: number): void {
    this.#peekedBytes += bytes;
    this.#makeRoom();
  }

  /** @param bytes that the connection had said */
  knows(connection: TlsConnection, bytes: number): void {
    if (this.#peeking.delete(connection)) this.#peekedBytes -= bytes;
  }

  /** The oldest goes: whoever means it says its name at once, so that a crowd of silent ones shuts nobody out. */
  #makeRoom(): void {
    if (this.#peeking.size <= (this.options.peekingLimit ?? PEEKING_LIMIT) && this.#peekedBytes <= PEEKED_BYTES_LIMIT) return;
    const [oldest] = this.#peeking;
    oldest?.cut("too many connections without a ClientHello");
  }
}

class TlsConnection implements FrontConnection, Sweepable {
  readonly #startedMs = performance.now();
  #phase: "peeking" | "tunnel" | "leaving" = "peeking";
  /** Of a whole ClientHello, or of the leave. */
  #deadlineMs = this.#startedMs + OPENING_MS;
  #bytes: Buffer | null = null;
  #atLeast = 1;
  #tunnel: Tunnel | null = null;

  /** @param arrival null: nothing was asked of it */
  constructor(private readonly front: TlsFront, private readonly socket: Socket<TlsConnection | undefined>, private readonly peer: string, private readonly arrival: Arrival | null) {
    front.sweeper.add(this);
  }

  get #client(): string {
    return this.arrival?.client ?? this.peer;
  }

  received(chunk: Buffer): void {
    if (this.#phase === "tunnel") this.#tunnel?.clientData(chunk);
    else if (this.#phase === "peeking") this.#peek(chunk);
  }

  drained(): void {
    this.#tunnel?.clientDrained();
  }

  ended(): void {
    if (this.#phase === "tunnel") this.#tunnel?.clientEnded();
    else this.cut("left before the ClientHello");
  }

  closed(error: Error | null): void {
    if (this.#phase === "peeking") this.cut("left before the ClientHello");
    this.#tunnel?.clientClosed(error);
    this.front.sweeper.delete(this);
    this.front.forget(this);
    this.arrival?.leave();
  }

  sweep(nowMs: number): void {
    if (nowMs >= this.#deadlineMs) this.cut(this.arrival?.awaitsHeader === true ? "no PROXY header in time" : "no ClientHello in time");
  }

  isBusy(nowMs: number): boolean {
    return this.#tunnel?.isBusy(nowMs) === true;
  }

  cut(reason: string): void {
    if (this.#phase === "tunnel") this.#tunnel?.cut(reason);
    else if (this.#phase === "peeking") this.#refuse(null, reason, null);
    else this.socket.terminate();
  }

  // ---- whose connection it is

  #peek(chunk: Buffer): void {
    const bytes = this.#bytes === null ? chunk : Buffer.concat([this.#bytes, chunk]);
    if (this.arrival?.awaitsHeader === true) return this.#readHeader(this.arrival, bytes, chunk.length);
    const peeked = bytes.length < this.#atLeast ? null : peekClientHello(bytes);
    switch (peeked?.kind) {
      case "hello": return this.#route(peeked.hello, peeked.isAligned, bytes);
      case "bad": return this.#refuse(null, peeked.reason, alertRecord(peeked.alert));
      case "not-tls": return this.#refuse(null, peeked.isHttp ? "plain HTTP on the TLS address" : "not TLS", peeked.isHttp ? PLAIN_HTTP : null);
      case "incomplete": this.#atLeast = peeked.atLeast;
    }
    this.#bytes = bytes;
    this.front.peeked(chunk.length);
  }

  /** @param arrived bytes that are new */
  #readHeader(arrival: Arrival, bytes: Buffer, arrived: number): void {
    const rest = arrival.read(bytes);
    if (rest === "refused") return this.#leave();
    this.#bytes = rest === null ? bytes : null;
    this.front.peeked(rest === null ? arrived : arrived - bytes.length);
    if (rest !== null && rest.length > 0) this.#peek(rest);
  }

  #route(hello: ClientHello, isAligned: boolean, first: Buffer): void {
    const { serverName } = hello;
    const route = this.front.options.route(serverName);
    if (route === null) return this.#refuse(serverName, serverName === null ? "no server name" : "unknown server name", alertRecord(UNRECOGNIZED_NAME));
    if (route.kind === "uncertified") return this.#refuse(serverName, "no certificate yet", alertRecord(UNRECOGNIZED_NAME));
    if (route.kind === "passthrough") this.#passThrough(serverName ?? "", route.service, route.backends, first);
    // Our servers would refuse it, but not before all of the record has come, and it is their turn to answer at once.
    else if (!isAligned) this.#refuse(serverName, "bytes behind the ClientHello in its record", alertRecord(UNEXPECTED_MESSAGE));
    else this.#terminate(hello, route.certificate, first);
  }

  #terminate({ serverName, protocols }: ClientHello, certificate: Certificate, first: Buffer): void {
    const { servers, connectTimeoutMs, stall, log } = this.front.options;
    // RFC 7301 section 3.2; Bun.serve would go on without a protocol.
    if (protocols.length > 0 && !protocols.some((protocol) => PROTOCOLS.has(protocol))) {
      return this.#refuse(serverName, "no protocol that is served", alertRecord(NO_APPLICATION_PROTOCOL));
    }
    let server: CertificateServer;
    try {
      server = servers.enter(certificate);
    } catch (error) {
      return this.#refuse(serverName, `cannot serve the certificate: ${(error as Error).message}`, alertRecord(INTERNAL_ERROR));
    }
    this.#endPeek("tunnel");
    let localPort: number | null = null;
    this.#tunnel = new Tunnel(this.socket, {
      backends: [server.address], connectTimeoutMs, turns: this.front.turns, isAnsweredInTurn: true, first,
      // The server behind has its own rules for idle connections.
      idleTimeoutMs: Infinity, halfOpen: false, ...(stall === undefined ? {} : { stall }),
      connected: (_backend, upstream) => {
        localPort = upstream.localPort;
        server.announce(localPort, this.#client);
      },
      ended: ({ reason }) => {
        server.leave(localPort);
        if (localPort === null) log.refused(this.#client, serverName, reason ?? "");
      },
    }, this.front.sweeper);
  }

  #passThrough(serverName: string, service: string, backends: readonly TunnelAddress[], first: Buffer): void {
    const { options, tunnelEnds } = this.front;
    // It would come back for ever, one tunnel after the other, until there is no descriptor left.
    if (tunnelEnds.size > 0 && tunnelEnds.get(endOf(this.peer, this.socket.remotePort)) === serverName) return this.#refuse(serverName, "a passthrough backend that leads back here", alertRecord(INTERNAL_ERROR));
    this.#endPeek("tunnel");
    let target = "";
    let end = "";
    this.#tunnel = new Tunnel(this.socket, {
      backends, connectTimeoutMs: options.connectTimeoutMs, first, idleTimeoutMs: options.tunnelIdleTimeoutMs, halfOpen: true,
      failed: (backend) => options.failed?.(backend),
      connected: ({ address, port }, upstream) => {
        target = `${hostForUrl(address)}:${port}`;
        if (port !== this.front.port) return;
        end = endOf(plainAddress(upstream.localAddress), upstream.localPort);
        tunnelEnds.set(end, serverName);
      },
      moved: (bytesIn, bytesOut) => options.moved(service, bytesIn, bytesOut),
      ended: (how) => {
        tunnelEnds.delete(end);
        options.log.tunnelled({ ...how, client: this.#client, serverName, service, target, durationMs: performance.now() - this.#startedMs });
      },
    }, this.front.sweeper);
  }

  // ---- to nobody

  /** @param answer last words; null: none that it would understand */
  #refuse(serverName: string | null, reason: string, answer: Uint8Array | null): void {
    this.#endPeek("leaving");
    this.front.options.log.refused(this.#client, serverName, reason);
    if (answer === null) return void this.socket.terminate();
    this.#deadlineMs = performance.now() + LEAVE_MS;
    this.front.sweeper.add(this);
    this.socket.write(answer, 0, answer.length);
    this.socket.shutdown();
  }

  /** Without a word, not even to the log, which has heard it. */
  #leave(): void {
    this.#endPeek("leaving");
    this.socket.terminate();
  }

  #endPeek(phase: "tunnel" | "leaving"): void {
    this.#phase = phase;
    this.front.sweeper.delete(this);
    this.front.knows(this, this.#bytes?.length ?? 0);
    this.#bytes = null;
  }
}

function endOf(address: string, port: number): string {
  return `${address} ${port}`;
}

const PLAIN_HTTP_BODY = "this address speaks HTTPS, not HTTP\n";
const PLAIN_HTTP = Buffer.from("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
  + `Content-Length: ${PLAIN_HTTP_BODY.length}\r\nConnection: close\r\n\r\n${PLAIN_HTTP_BODY}`);
