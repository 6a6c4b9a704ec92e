// A server behind TLS, on a port or a Unix socket, that says what it saw of its clients: the server name, the protocol, and how
// many bytes of theirs came through the handshake.

import type { AddressInfo } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import type { ServerIdentity } from "../support/certificates.ts";

export type Seen = { readonly serverName: string | false | null; readonly alpn: string | false | null };

export class SecureServer {
  readonly clients: Seen[] = [];
  readonly sockets = new Set<TLSSocket>();
  /** Connections, also those that did not get through the handshake. */
  accepted = 0;
  receivedBytes = 0;
  readonly #server: Server;

  private constructor(identity: ServerIdentity, talk: (socket: TLSSocket, server: SecureServer) => void, protocols: string[]) {
    this.#server = createServer({ ...identity, ALPNProtocols: protocols }, (socket) => {
      this.clients.push({ serverName: socket.servername as string | false, alpn: socket.alpnProtocol });
      this.sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.sockets.delete(socket));
      socket.on("data", (chunk: Buffer) => { this.receivedBytes += chunk.length; });
      talk(socket, this);
    });
    this.#server.on("connection", () => { this.accepted += 1; });
    this.#server.on("tlsClientError", () => {});
  }

  /** @param talk speaks with each client; what is received is counted already */
  static async start(identity: ServerIdentity, talk: (socket: TLSSocket, server: SecureServer) => void,
    { path = null, protocols = ["h2", "http/1.1"] }: { path?: string | null; protocols?: string[] } = {}): Promise<SecureServer> {
    const server = new SecureServer(identity, talk, protocols);
    await new Promise<void>((resolve) => {
      if (path === null) server.#server.listen(0, "127.0.0.1", resolve);
      else server.#server.listen(path, resolve);
    });
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  stop(): void {
    for (const socket of this.sockets) socket.destroy();
    this.#server.close();
  }
}

/** Answers every request without a body with the same text. */
export function answering(text: string): (socket: TLSSocket) => void {
  return (socket) => {
    let head = "";
    socket.on("data", (chunk: Buffer) => {
      head += chunk.toString("latin1");
      for (let end = head.indexOf("\r\n\r\n"); end >= 0; end = head.indexOf("\r\n\r\n")) {
        head = head.slice(end + 4);
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`);
      }
    });
  };
}
