// A service of a desktop for large and slow bodies, which a Pod would keep in memory: hashes what it is sent, makes what it sends
// out of a pattern, and counts what was begun, finished and given up by the other side.

import { createHash } from "node:crypto";

const MIB = 1024 ** 2;
/** The same bytes for whoever makes or checks them. */
const PATTERN = Buffer.from(Uint8Array.from({ length: MIB }, (_, index) => (index * 31 + (index >> 8) * 7) & 0xff));

/** Bytes of a body of so many MiB. */
export function patternOf(mib: number): Buffer {
  return Buffer.concat(Array.from({ length: mib }, () => PATTERN));
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

export class Origin {
  begun = 0;
  /** Bodies and answers that the other side left before their end. */
  givenUp = 0;
  running = 0;
  /** Most at a time. */
  peak = 0;
  /** Ends the waiting of one answer, each. */
  readonly #waiting = new Set<() => void>();
  readonly #server: Bun.Server<undefined>;

  constructor(hostname = "127.0.1.1") {
    this.#server = Bun.serve({ hostname, port: 0, idleTimeout: 0, maxRequestBodySize: 2 ** 33, fetch: (request) => this.#answer(request) });
  }

  get port(): number {
    return this.#server.port as number;
  }

  /** Answers that are not over, and wait to be released. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Lets every slow answer go on to its end. */
  release(): void {
    for (const go of [...this.#waiting]) go();
  }

  async stop(): Promise<void> {
    this.release();
    await this.#server.stop(true);
  }

  /** PUT or POST: the hash of the body. GET `.../bytes/N`: N MiB; `.../half/N`: half of them, and the rest when released; `.../slow`: nothing until released. */
  async #answer(request: Request): Promise<Response> {
    this.begun += 1;
    this.running += 1;
    this.peak = Math.max(this.peak, this.running);
    request.signal.addEventListener("abort", () => { this.givenUp += 1; });
    const [kind = "", count = ""] = new URL(request.url).pathname.split("/").slice(-2);
    try {
      if (request.method !== "GET") return new Response(await hashOf(request));
      if (kind === "bytes") return new Response(this.#body(Number(count), null), { headers: { "content-type": "application/octet-stream" } });
      if (kind === "half") return new Response(this.#body(Number(count), request.signal), { headers: { "content-type": "application/octet-stream" } });
      if (count === "slow") await this.#released(request.signal);
      return new Response("done\n");
    } finally {
      this.running -= 1;
    }
  }

  /** Until it is told to go on, or nobody waits for it any more. */
  #released(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const go = (): void => {
        this.#waiting.delete(go);
        resolve();
      };
      this.#waiting.add(go);
      signal.addEventListener("abort", go);
    });
  }

  /** @param leaving of a client who waits for the second half; null: it comes at once */
  #body(mib: number, leaving: AbortSignal | null): ReadableStream<Uint8Array> {
    let sent = 0;
    return new ReadableStream({
      pull: async (controller) => {
        if (leaving !== null && sent === Math.floor(mib / 2)) await this.#released(leaving);
        // A pull that never waits would stall the server's other work.
        await Bun.sleep(0);
        sent += 1;
        controller.enqueue(new Uint8Array(PATTERN));
        if (sent === mib) controller.close();
      },
    });
  }
}

async function hashOf(request: Request): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of request.body ?? []) hash.update(chunk);
  return hash.digest("hex");
}
