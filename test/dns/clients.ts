// DNS clients without manners, over real sockets: any bytes, from any address of the loopback network.

import { connect, type Socket } from "node:net";
import { eventually } from "../support/eventually.ts";
import { header, u16 } from "./wire.ts";

/** Carries any 16 bits in its id; no server answers it with anything but NOTIMP. */
const FENCE_FLAGS = 2 << 11;

export class UdpClient {
  private constructor(private readonly socket: Bun.udp.ConnectedSocket<"buffer">, readonly replies: Buffer[]) {}

  static async open(port: number, host = "127.0.0.1"): Promise<UdpClient> {
    const replies: Buffer[] = [];
    const socket = await Bun.udpSocket({
      hostname: host, connect: { hostname: host, port },
      socket: { data: (_socket, message) => { replies.push(Buffer.from(message)); }, error: () => {} },
    });
    return new UdpClient(socket, replies);
  }

  send(message: Buffer): void {
    this.socket.send(message);
  }

  /** The one reply to `message`. */
  async ask(message: Buffer): Promise<Buffer> {
    this.replies.length = 0;
    this.send(message);
    await eventually("a reply", () => this.replies.length, (count) => count > 0);
    return this.replies[0]!;
  }

  /** What came for all that was sent so far: datagrams on loopback stay in order, so a last query that is answered is behind them. */
  async settled(id: number): Promise<readonly Buffer[]> {
    this.send(header({ id, flags: FENCE_FLAGS }));
    await eventually("the last reply", () => this.replies, (replies) => replies.at(-1)?.readUInt16BE(0) === id);
    return this.replies.slice(0, -1);
  }

  close(): void {
    this.socket.close();
  }
}

export const framed = (message: Buffer): Buffer => Buffer.concat([u16(message.length), message]);

export class TcpClient {
  bytes = Buffer.alloc(0);
  isClosed = false;

  private constructor(readonly socket: Socket) {
    socket.on("data", (chunk: Buffer) => { this.bytes = Buffer.concat([this.bytes, chunk]); });
    socket.on("error", () => {}); // Cut off: "close" follows.
    socket.on("close", () => { this.isClosed = true; });
  }

  /** @param localAddress where to come from, 127.x.y.z */
  static async open(port: number, host = "127.0.0.1", localAddress?: string): Promise<TcpClient> {
    const socket = connect({ port, host, localAddress });
    const client = new TcpClient(socket);
    await new Promise<void>((resolve, reject) => { socket.once("connect", () => resolve()); socket.once("error", reject); });
    return client;
  }

  write(bytes: Buffer): void {
    this.socket.write(bytes);
  }

  /** Whole messages that came. */
  get replies(): Buffer[] {
    const found: Buffer[] = [];
    for (let at = 0; at + 2 <= this.bytes.length;) {
      const end = at + 2 + this.bytes.readUInt16BE(at);
      if (end > this.bytes.length) break;
      found.push(this.bytes.subarray(at + 2, end));
      at = end;
    }
    return found;
  }

  async received(count: number): Promise<Buffer[]> {
    return await eventually(`${count} answers`, () => this.replies, (replies) => replies.length >= count);
  }

  async closed(): Promise<void> {
    await eventually("the end of the connection", () => this.isClosed, (isClosed) => isClosed);
  }

  close(): void {
    this.socket.destroy();
  }
}
