// One end of a TCP connection that does what it is told: sends as much as the kernel takes, reads only while it likes, half-closes,
// resets; and says what it saw, the end (FIN) and the close told apart.

import { createHash } from "node:crypto";
import type { Socket, TCPSocketListener } from "bun";

/** Bytes that differ everywhere: a lost, doubled or swapped chunk changes the hash. */
export function pattern(bytes: number): Buffer {
  const data = Buffer.allocUnsafe(bytes);
  for (let at = 0, value = 1; at < bytes; at += 1) {
    value = (Math.imul(value, 1_103_515_245) + 12_345) & 0x7fffffff;
    data[at] = value >> 16;
  }
  return data;
}

export function sha256(data: Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

export class Peer {
  /** What came, as text; the first 64 KiB of it. */
  text = "";
  receivedBytes = 0;
  /** Bytes of {@link write} that the kernel has taken. */
  sentBytes = 0;
  hasEnded = false;
  isClosed = false;
  error: Error | null = null;
  readonly #hash = createHash("sha256");
  #queue: Uint8Array[] = [];
  #endsAfterQueue = false;
  #waiters: Array<() => void> = [];
  socket!: Socket<Peer>;

  static async connect(port: number, hostname = "127.0.0.1"): Promise<Peer> {
    const peer = new Peer();
    await Bun.connect<Peer>({ hostname, port, data: peer, allowHalfOpen: true, socket: handlers });
    return peer;
  }

  write(data: Uint8Array | string): void {
    this.#queue.push(typeof data === "string" ? Buffer.from(data, "latin1") : data);
    this.flush();
  }

  /** FIN, behind everything that was written. */
  end(): void {
    this.#endsAfterQueue = true;
    this.flush();
  }

  /** RST. */
  cut(): void {
    this.socket.terminate();
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  get hash(): string {
    return this.#hash.copy().digest("hex");
  }

  received(chunk: Buffer): void {
    this.receivedBytes += chunk.length;
    this.#hash.update(chunk);
    if (this.text.length < 65_536) this.text += chunk.toString("latin1");
    this.wake();
  }

  flush(): void {
    for (let head = this.#queue[0]; head !== undefined; head = this.#queue[0]) {
      const taken = Math.max(0, this.socket.write(head, 0, head.length));
      this.sentBytes += taken;
      if (taken < head.length) {
        this.#queue[0] = head.subarray(taken);
        return;
      }
      this.#queue.shift();
    }
    if (this.#endsAfterQueue) this.socket.shutdown();
  }

  wake(): void {
    for (const waiter of this.#waiters.splice(0)) waiter();
  }

  async until(condition: () => boolean, timeoutMs = 10_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!condition()) {
      const seen = `${this.receivedBytes} bytes, ended: ${this.hasEnded}, closed: ${this.isClosed}, error: ${this.error?.message ?? "none"}`;
      if (Date.now() > deadline) throw new Error(`nothing of the kind in ${timeoutMs} ms (${seen})`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.push(resolve);
      const timer = setTimeout(resolve, 50);
      await promise;
      clearTimeout(timer);
    }
  }
}

export class PeerServer {
  readonly peers: Peer[] = [];
  readonly #listener: TCPSocketListener<Peer>;
  #waiters: Array<() => void> = [];

  /** @param onOpen what each of them does at once */
  constructor(onOpen: (peer: Peer) => void = () => {}, hostname = "127.0.0.1") {
    this.#listener = Bun.listen<Peer>({
      hostname, port: 0, allowHalfOpen: true,
      socket: {
        ...handlers,
        open: (socket) => {
          socket.data = new Peer();
          socket.data.socket = socket;
          this.peers.push(socket.data);
          onOpen(socket.data);
          for (const waiter of this.#waiters.splice(0)) waiter();
        },
      },
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  /** The connection that came as the `index`th. */
  async peer(index = 0): Promise<Peer> {
    const deadline = Date.now() + 10_000;
    while (this.peers.length <= index) {
      if (Date.now() > deadline) throw new Error(`no connection ${index} came`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.push(resolve);
      const timer = setTimeout(resolve, 50);
      await promise;
      clearTimeout(timer);
    }
    return this.peers[index] as Peer;
  }

  stop(): void {
    this.#listener.stop(true);
    for (const peer of this.peers) peer.socket.terminate();
  }
}

const handlers = {
  open(socket: Socket<Peer>) { socket.data.socket = socket; },
  data(socket: Socket<Peer>, chunk: Buffer) { socket.data.received(chunk); },
  drain(socket: Socket<Peer>) { socket.data.flush(); socket.data.wake(); },
  end(socket: Socket<Peer>) { socket.data.hasEnded = true; socket.data.wake(); },
  close(socket: Socket<Peer>, error?: Error) {
    const peer = socket.data;
    peer.isClosed = true;
    peer.error ??= error ?? null;
    // When our FIN went first, Bun tells the other one as the close itself.
    if (peer.error === null) peer.hasEnded = true;
    peer.wake();
  },
  error(socket: Socket<Peer>, error: Error) { socket.data.error = error; },
};
