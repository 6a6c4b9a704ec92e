// A keep-alive HTTP/1.1 connection for measuring: one request at a time, small answers with a Content-Length. Not a client
// for anything else: what it does not expect ends it with an error.

import type { Socket } from "bun";

export class Connection {
  #text = "";
  #answer: PromiseWithResolvers<number> | null = null;
  #socket: Socket | null = null;

  static async open(host: string, port: number): Promise<Connection> {
    const connection = new Connection();
    connection.#socket = await Bun.connect({
      hostname: host, port,
      socket: {
        open: (socket) => void socket.setNoDelay(true),
        data: (_, bytes) => connection.#data(bytes),
        error: (_, error) => connection.#fail(error),
        close: () => connection.#fail(new Error("the connection was closed")),
      },
    });
    return connection;
  }

  /** @returns the status, when the whole answer is there */
  ask(request: string): Promise<number> {
    const answer = (this.#answer = Promise.withResolvers<number>());
    if (this.#socket?.write(request) !== request.length) this.#fail(new Error("a small request was not taken whole"));
    return answer.promise;
  }

  close(): void {
    this.#socket?.end();
  }

  #data(bytes: Buffer): void {
    this.#text += bytes.toString("latin1");
    const end = this.#text.indexOf("\r\n\r\n");
    if (end < 0) return;
    const length = /\r\ncontent-length: *(\d+)\r\n/i.exec(this.#text.slice(0, end + 2));
    if (length === null) this.#fail(new Error(`an answer without Content-Length: ${this.#text.slice(0, 100)}`));
    if (this.#text.length < end + 4 + Number(length?.[1])) return;
    const status = Number(this.#text.slice(9, 12));
    this.#text = "";
    this.#answer?.resolve(status);
    this.#answer = null;
  }

  #fail(error: Error): void {
    this.#answer?.reject(error);
    this.#answer = null;
  }
}

/** A GET with a desktop token. */
export function tokenRequest(path: string, token: string): string {
  return `GET ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n\r\n`;
}
