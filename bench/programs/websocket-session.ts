// A browser's end of one WebSocket session on a raw socket, for measuring: messages are counted as they come and kept only
// when they are small. Answers pings; takes anything that is not a whole, unmasked, uncompressed message as an error.

import type { Socket } from "bun";

const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
const KEPT_BYTES = 256;

export class WebSocketSession {
  /** Called at the end of each message; `content` is null when it was a large one. */
  onMessage: (bytes: number, content: Buffer | null) => void = () => {};
  onError: (error: Error) => void = () => {};
  isOpen = false;
  #socket: Socket | null = null;
  #head = "";
  /** The beginning of a frame whose header, or whose small payload, is not whole. */
  #start: Buffer = Buffer.alloc(0);
  #left = 0;
  #length = 0;

  private constructor(private readonly protocol: string) {}

  /**
   * @param target path and query
   * @param protocol the subprotocol that is offered, and must be chosen; "": none
   * @throws Error unless the answer is 101
   */
  static async open(port: number, target: string, protocol = ""): Promise<WebSocketSession> {
    const session = new WebSocketSession(protocol);
    const opened = Promise.withResolvers<WebSocketSession>();
    session.onError = opened.reject;
    session.#socket = await Bun.connect({
      hostname: "127.0.0.1", port,
      socket: {
        data: (_, bytes) => session.isOpen ? session.#data(bytes) : session.#handshake(bytes, () => opened.resolve(session)),
        error: (_, error) => session.onError(error),
        close: () => { session.isOpen = false; session.onError(new Error("the session was closed")); },
      },
    });
    session.#socket.setNoDelay(true);
    session.#socket.write([
      `GET ${target} HTTP/1.1`, "Host: localhost", "Upgrade: websocket", "Connection: Upgrade",
      "Sec-WebSocket-Version: 13", `Sec-WebSocket-Key: ${Buffer.alloc(16, 7).toString("base64")}`,
      ...(protocol === "" ? [] : [`Sec-WebSocket-Protocol: ${protocol}`]), "", "",
    ].join("\r\n"));
    return opened.promise;
  }

  send(content: Buffer, isText = false): void {
    this.#write(isText ? TEXT : BINARY, content);
  }

  /** Without a close frame: the far ends must see it all the same. */
  cut(): void {
    this.onError = () => {};
    this.#socket?.terminate();
  }

  #handshake(bytes: Buffer, opened: () => void): void {
    this.#head += bytes.toString("latin1");
    const end = this.#head.indexOf("\r\n\r\n");
    if (end < 0) return;
    if (!this.#head.startsWith("HTTP/1.1 101")) return this.onError(new Error(`no upgrade: ${this.#head.slice(0, 60)}`));
    const chosen = /\r\nsec-websocket-protocol: *([^\r]*)\r\n/i.exec(this.#head.slice(0, end + 2))?.[1] ?? "";
    if (chosen !== this.protocol) return this.onError(new Error(`offered the subprotocol "${this.protocol}", got "${chosen}"`));
    this.isOpen = true;
    opened();
    const rest = Buffer.from(this.#head.slice(end + 4), "latin1");
    if (rest.length > 0) this.#data(rest);
  }

  #data(bytes: Buffer): void {
    let rest = bytes;
    if (this.#start.length > 0) {
      rest = Buffer.concat([this.#start, bytes]);
      this.#start = Buffer.alloc(0);
    }
    while (rest.length > 0) {
      if (this.#left > 0) rest = this.#skip(rest);
      else {
        const used = this.#frame(rest);
        if (used === 0) {
          this.#start = Buffer.from(rest);
          return;
        }
        rest = rest.subarray(used);
      }
    }
  }

  /** Payload of a large message. */
  #skip(bytes: Buffer): Buffer {
    const skipped = Math.min(this.#left, bytes.length);
    this.#left -= skipped;
    if (this.#left === 0) this.onMessage(this.#length, null);
    return bytes.subarray(skipped);
  }

  /** A header, with the payload when it is small. @returns the bytes that it took; 0 when more must come first */
  #frame(bytes: Buffer): number {
    if (bytes.length < 2) return 0;
    const short = bytes[1]! & 0x7f;
    const header = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (bytes.length < header) return 0;
    const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
    if (length <= KEPT_BYTES && bytes.length < header + length) return 0;
    const opcode = bytes[0]! & 0x0f;
    if (length > KEPT_BYTES) {
      if (bytes[0] !== (0x80 | BINARY)) this.onError(new Error(`a frame that nobody sent: ${bytes[0]}`));
      this.#length = this.#left = length;
      return header;
    }
    const content = Buffer.from(bytes.subarray(header, header + length));
    if (opcode === PING) this.#write(PONG, content);
    else if (opcode === CLOSE) this.onError(new Error(`closed with ${content.length < 2 ? "no code" : content.readUInt16BE(0)}`));
    else if (bytes[0] === (0x80 | BINARY)) this.onMessage(length, content);
    else if (opcode !== PONG) this.onError(new Error(`a frame that nobody sent: ${bytes[0]}`));
    return header + length;
  }

  /** Masked with zeros, which leaves the payload as it is: RFC 6455 section 5.3 asks for a key, nothing here for a secret one. */
  #write(opcode: number, content: Buffer): void {
    const frame = Buffer.alloc(6 + content.length);
    frame[0] = 0x80 | opcode;
    frame[1] = 0x80 | content.length;
    content.copy(frame, 6);
    if (this.#socket?.write(frame) !== frame.length) this.onError(new Error("a small frame was not taken whole"));
  }
}
