// A wire tap: a TCP relay that counts the WebSocket frames that pass, by direction and opcode. Control frames (ping, pong) are
// invisible to a page and to websockify's users; here they are seen without touching them.

import { connect, createServer, type Server, type Socket } from "node:net";

export const Opcode = { text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
export type OpcodeName = keyof typeof Opcode;

export class Tap {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #frames = { toClient: new Map<number, number>(), toServer: new Map<number, number>() };

  private constructor(target: { host: string; port: number }) {
    this.#server = createServer((client) => {
      const server = connect(target.port, target.host);
      this.#relay(client, server, "toServer");
      this.#relay(server, client, "toClient");
    });
  }

  static async open(address: string, target: { host: string; port: number }): Promise<Tap> {
    const tap = new Tap(target);
    await new Promise<void>((resolve, reject) => {
      tap.#server.once("error", reject);
      tap.#server.listen(0, address, resolve);
    });
    return tap;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  /** Frames seen so far. */
  count(direction: "toClient" | "toServer", opcode: OpcodeName): number {
    return this.#frames[direction].get(Opcode[opcode]) ?? 0;
  }

  stop(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }

  #relay(from: Socket, to: Socket, direction: "toClient" | "toServer"): void {
    const frames = this.#frames[direction];
    const counter = new FrameCounter((opcode) => frames.set(opcode, (frames.get(opcode) ?? 0) + 1));
    this.#sockets.add(from);
    from.on("data", (chunk: Buffer) => counter.read(chunk));
    from.on("error", () => to.destroy());
    from.on("close", () => { this.#sockets.delete(from); to.end(); });
    from.pipe(to);
  }
}

/** Reads one direction of one connection: an HTTP head, then frames if it is about an upgrade (RFC 6455 section 5.2). */
class FrameCounter {
  #state: "head" | "frames" | "other" = "head";
  #bytes = Buffer.alloc(0);
  /** Payload bytes still to pass. */
  #left = 0;

  constructor(private readonly seen: (opcode: number) => void) {}

  read(chunk: Buffer): void {
    if (this.#state === "other") return;
    const skipped = Math.min(this.#left, chunk.length);
    this.#left -= skipped;
    this.#bytes = Buffer.concat([this.#bytes, chunk.subarray(skipped)]);
    if (this.#state === "head") this.#readHead();
    if (this.#state === "frames") while (this.#readFrame());
  }

  #readHead(): void {
    const end = this.#bytes.indexOf("\r\n\r\n");
    if (end < 0) return;
    this.#state = /^upgrade: *websocket/im.test(this.#bytes.toString("latin1", 0, end)) ? "frames" : "other";
    this.#bytes = this.#state === "frames" ? this.#bytes.subarray(end + 4) : Buffer.alloc(0);
  }

  #readFrame(): boolean {
    const bytes = this.#bytes;
    if (bytes.length < 2) return false;
    const short = bytes[1]! & 0x7f;
    const headBytes = 2 + (short === 126 ? 2 : short === 127 ? 8 : 0) + ((bytes[1]! & 0x80) === 0 ? 0 : 4);
    if (bytes.length < headBytes) return false;
    const length = short === 126 ? bytes.readUInt16BE(2) : short === 127 ? Number(bytes.readBigUInt64BE(2)) : short;
    this.seen(bytes[0]! & 15);
    const taken = Math.min(bytes.length, headBytes + length);
    this.#left = headBytes + length - taken;
    this.#bytes = bytes.subarray(taken);
    return this.#left === 0;
  }
}
