// The client's address is lost on the way through loopback; whoever relays its connection tells the server behind by the port that
// the relayed one comes from. A connection that nobody announced is somebody's on this machine: nobody's request.

export const LOOPBACK = "127.0.0.1";

export class AnnouncedClients {
  /** Our side's port of each relayed connection → the client's address. */
  readonly #clients = new Map<number, string>();

  /** Before its first byte is sent. @param localPort that the connection comes from */
  announce(localPort: number, client: string): void {
    this.#clients.set(localPort, client);
  }

  forget(localPort: number): void {
    this.#clients.delete(localPort);
  }

  /** Relayed connections come from one address; another process may use the same port with another one. */
  of(peer: { readonly address: string; readonly port: number } | null): string | undefined {
    return peer?.address === LOOPBACK ? this.#clients.get(peer.port) : undefined;
  }
}

/** RFC 9110 section 15.5.20. */
export function misdirected(): Response {
  return new Response("misdirected request\n", { status: 421 });
}
