// The body of one response on its way to the client: collected when it is short and of known length (so that the client
// gets a Content-Length), a stream otherwise. The stream is pushed into and holds at most HIGH_WATER_BYTES plus one read;
// then the upstream's socket is paused until the client took some.

import { type BodyEnd, ClientGoneError } from "./exchange.ts";

const HIGH_WATER_BYTES = 256 * 1024;

/** What all collected bodies together may hold; shared by all connections. */
export class BufferBudget {
  #used = 0;

  constructor(readonly limitBytes: number) {}

  take(bytes: number): boolean {
    if (this.#used + bytes > this.limitBytes) return false;
    this.#used += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#used -= bytes;
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
