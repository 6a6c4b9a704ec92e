// The body of one response on its way to the client: collected when it is short and of known length (so that the client
// gets a Content-Length), a stream otherwise. The stream is pushed into and holds at most HIGH_WATER_BYTES plus one read;
// then the upstream's socket is paused until the client took some.

import { type BodyEnd, ClientGoneError } from "./exchange.ts";

/**
 * Bun takes what is there and keeps it until the client has read it: with 256 KiB that came to 1 MiB for a client that stopped
 * reading, with 64 KiB to 0.1 MiB where the upstream is an Ethernet away, and to 0.7 MiB where reads bring their most, 512 KiB;
 * at no cost in speed (2 GiB in one answer).
 */
const HIGH_WATER_BYTES = 64 * 1024;

/** Below it, a collected body is no more than a stalled stream would hold. */
const HELD_BYTES = 64 * 1024;
/** Between two looks at bodies of which hardly any had left. */
const LOOK_MS = 100;

/** Who is answered. */
interface Receiver {
  /** What says whether an answer that was sent whole has left for its client, or its client has; absent: it is nobody's. */
  delivery?(): () => boolean;
}

/** A collected body on its way to its client. */
type Held = { readonly bytes: number; readonly isOver: () => boolean };

/**
 * What all collected bodies together may hold; shared by all connections. A body counts until its client has read it: Bun.serve
 * holds it so long, and doesn't say when it is done, so that we have to look.
 */
export class BufferBudget {
  #used = 0;
  readonly #held = new Set<Held>();
  #lookAtMs = 0;

  /** @param now monotonic ms */
  constructor(readonly limitBytes: number, private readonly now: () => number = () => performance.now()) {}

  /** Bytes of bodies that are being collected, or were on their way to clients when that was looked at last. */
  get usedBytes(): number {
    return this.#used;
  }

  /** @returns false when there is no room: the body is to be streamed. Otherwise {@link give} or {@link hold} ends it. */
  take(bytes: number): boolean {
    if (this.#used + bytes > this.limitBytes) this.#look();
    if (this.#used + bytes > this.limitBytes) return false;
    this.#used += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#used -= bytes;
  }

  /**
   * A body goes to its client, and counts until that is over. It need not have been taken: what came whole in one read is there already.
   */
  hold(bytes: number, receiver: Receiver): void {
    if (bytes < HELD_BYTES || receiver.delivery === undefined) return;
    // Nobody may ask for room for a long time, and what is over should not be kept.
    if (this.now() >= this.#lookAtMs + LOOK_MS) this.#look();
    this.#used += bytes;
    this.#held.add({ bytes, isOver: receiver.delivery() });
  }

  /** For a body that is in hand already. @returns false when there is no room for it on its way: it is to be streamed */
  admit(bytes: number, receiver: Receiver): boolean {
    if (bytes < HELD_BYTES) return true;
    if (!this.take(bytes)) return false;
    this.give(bytes);
    this.hold(bytes, receiver);
    return true;
  }

  #look(): void {
    const nowMs = this.now();
    if (nowMs < this.#lookAtMs) return;
    const before = this.#held.size;
    for (const held of this.#held) {
      if (!held.isOver()) continue;
      this.#held.delete(held);
      this.#used -= held.bytes;
    }
    // Clients that don't read must not make each request look at all of them.
    this.#lookAtMs = this.#held.size > before / 2 ? nowMs + LOOK_MS : nowMs;
  }
}

export interface BodySource {
  pause(): void;
  resume(): void;
  /** The client does not want the rest. */
  abort(): void;
}

export class StreamedBody {
  readonly stream: ReadableStream<Uint8Array>;
  /** Resolves when it is over, whole or cut. */
  readonly ended: Promise<BodyEnd>;
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  #bytes = 0;
  readonly #settle: (end: BodyEnd) => void;
  #over = false;

  constructor(source: BodySource) {
    const { promise, resolve } = Promise.withResolvers<BodyEnd>();
    this.ended = promise;
    this.#settle = resolve;
    this.stream = new ReadableStream<Uint8Array>({
      start: (controller) => { this.#controller = controller; },
      pull: () => source.resume(),
      cancel: () => {
        if (this.#over) return;
        this.#over = true;
        this.#settle({ bytes: this.#bytes, error: new ClientGoneError("client went away") });
        source.abort();
      },
    }, { highWaterMark: HIGH_WATER_BYTES, size: (chunk) => chunk?.byteLength ?? 0 });
  }

  /** @returns false when the source should pause */
  push(data: Uint8Array): boolean {
    if (this.#over) return true;
    this.#bytes += data.length;
    this.#controller.enqueue(data);
    return (this.#controller.desiredSize ?? 1) > 0;
  }

  end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#controller.close();
    this.#settle({ bytes: this.#bytes, error: null });
  }

  fail(error: Error): void {
    if (this.#over) return;
    this.#over = true;
    this.#controller.error(error);
    this.#settle({ bytes: this.#bytes, error });
  }
}
