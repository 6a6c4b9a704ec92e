// Bytes on their way into a socket. `write()` takes what the kernel takes and says how much; the rest is ours to keep until
// `drain`. This keeps it, in order, and tells the producer to wait.

export interface WritableSocket {
  write(data: Uint8Array, byteOffset: number, byteLength: number): number;
}

export class Outgoing {
  #queue: Uint8Array[] = [];
  #bytes = 0;
  #waiting: (() => void) | null = null;

  /** Bytes that the kernel has not taken yet. */
  get pendingBytes(): number {
    return this.#bytes;
  }

  /** @returns false when the socket is closed (the bytes are lost with it) */
  write(socket: WritableSocket, data: Uint8Array): boolean {
    let taken = 0;
    if (this.#bytes === 0) {
      taken = socket.write(data, 0, data.length);
      if (taken < 0) return false;
    }
    if (taken < data.length) {
      const rest = data.subarray(taken);
      this.#queue.push(rest);
      this.#bytes += rest.length;
    }
    return true;
  }

  /** To be called on `drain`. @returns false when the socket is closed */
  drain(socket: WritableSocket): boolean {
    while (this.#queue.length > 0) {
      const head = this.#queue[0] as Uint8Array;
      const taken = socket.write(head, 0, head.length);
      if (taken < 0) return false;
      this.#bytes -= taken;
      if (taken < head.length) {
        this.#queue[0] = head.subarray(taken);
        return true;
      }
      this.#queue.shift();
    }
    this.release();
    return true;
  }

  /** Resolves when everything was taken by the kernel, or when {@link release} gives up on it. One waiter at a time. */
  whenEmpty(): Promise<void> {
    if (this.#bytes === 0) return Promise.resolve();
    return new Promise((resolve) => { this.#waiting = resolve; });
  }

  /** Wakes the waiter; on close, too, so that nobody waits for a socket that is gone. */
  release(): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.();
  }
}
