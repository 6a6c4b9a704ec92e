// A client without manners: bytes out, bytes in.

import { connect, type Socket } from "node:net";

export class RawClient {
  text = "";
  isClosed = false;
  #waiters: Array<() => void> = [];

  private constructor(readonly socket: Socket) {
    socket.on("data", (chunk: Buffer) => { this.text += chunk.toString("latin1"); this.#wake(); });
    socket.on("error", () => {});
    socket.on("close", () => { this.isClosed = true; this.#wake(); });
  }

  static async open(port: number, host = "127.0.0.1"): Promise<RawClient> {
    const socket = connect(port, host);
    await new Promise<void>((resolve, reject) => { socket.once("connect", resolve); socket.once("error", reject); });
    return new RawClient(socket);
  }

  /** Sends and waits for one whole response (by Content-Length or chunked), or for the end of the connection. */
  static async ask(port: number, bytes: string | Buffer, timeoutMs = 5000): Promise<RawClient> {
    const client = await RawClient.open(port);
    client.write(bytes);
    await client.until(() => client.isClosed || isWhole(client.text), timeoutMs).catch(() => {});
    client.close();
    return client;
  }

  write(bytes: string | Buffer): void {
    this.socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  }

  get status(): number {
    return Number(/^HTTP\/1\.1 (\d{3})/.exec(this.text)?.[1] ?? 0);
  }

  get body(): string {
    return this.text.slice(this.text.indexOf("\r\n\r\n") + 4);
  }

  header(name: string): string | null {
    const head = this.text.slice(0, this.text.indexOf("\r\n\r\n"));
    return new RegExp(`\r\n${name}: ?([^\r]*)`, "i").exec(head)?.[1] ?? null;
  }

  async until(condition: () => boolean, timeoutMs = 5000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!condition()) {
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`nothing of the kind came; got ${JSON.stringify(this.text.slice(0, 300))}`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.push(resolve);
      const timer = setTimeout(resolve, left);
      await promise;
      clearTimeout(timer);
    }
  }

  close(): void {
    this.socket.destroy();
  }

  #wake(): void {
    for (const waiter of this.#waiters.splice(0)) waiter();
  }
}

function isWhole(text: string): boolean {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return false;
  const head = text.slice(0, end).toLowerCase();
  const length = /\r\ncontent-length: ?(\d+)/.exec(head);
  if (length !== null) return text.length >= end + 4 + Number(length[1]);
  return !head.includes("transfer-encoding") || text.endsWith("0\r\n\r\n");
}
