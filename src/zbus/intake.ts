// Takes messages from lists with BLPOP, over a connection of its own (BLPOP holds it), and hands on a bounded number at once; the
// rest waits in Redis, in order. Between a message that was popped and one that is ours there is nothing: BLPOP removes it
// before it sends it, so what Redis sent into a connection that just broke is lost with it. That is why the connection is never
// closed while BLPOP waits: to stop, a word is pushed to a list of our own, and BLPOP, which looks there first, returns.

import type { Link } from "./link.ts";
import { Oversized, type RedisReply } from "./resp.ts";

/** BLPOP's own time limit, s: a connection that died without a word is found out a little later. */
const BLOCK_SECONDS = 15;
const REPLY_TIMEOUT_MS = (BLOCK_SECONDS + 10) * 1000;

export type IntakeOptions = {
  readonly link: Link;
  /** Each gets its turn at being looked at first, so that a full one does not starve the others. */
  readonly lists: readonly string[];
  /** Nobody else knows it. */
  readonly wakeList: string;
  /** How many messages are handled at once. */
  readonly limit: number;
  /** Must not reject. */
  handle(message: Uint8Array | Oversized): Promise<void>;
};

export class Intake {
  readonly #running = new Set<Promise<void>>();
  readonly #turns: string[];
  #loop: Promise<void> | null = null;
  #isStopping = false;
  #isBlocked = false;
  #wake: (() => void) | null = null;

  constructor(private readonly options: IntakeOptions) {
    this.#turns = [...options.lists];
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  /** Takes no more, and resolves when what was taken is done. @param push pushes a word to the list that it is given */
  async stop(push: (list: string) => void): Promise<void> {
    this.#isStopping = true;
    this.#wake?.();
    if (this.#isBlocked) push(this.options.wakeList);
    else this.options.link.close();
    await this.#loop;
    this.options.link.close();
    await Promise.all(this.#running);
  }

  async #run(): Promise<void> {
    while (await this.#isFree()) {
      const message = await this.#take();
      if (message === null) continue;
      const done = this.options.handle(message).finally(() => {
        this.#running.delete(done);
        this.#wake?.();
      });
      this.#running.add(done);
    }
  }

  /** False when there is to be no other one. */
  async #isFree(): Promise<boolean> {
    while (!this.#isStopping && this.#running.size >= this.options.limit) {
      await new Promise<void>((resolve) => { this.#wake = resolve; });
      this.#wake = null;
    }
    return !this.#isStopping;
  }

  async #take(): Promise<Uint8Array | Oversized | null> {
    const { link, wakeList } = this.options;
    const connection = await link.get();
    if (connection === null || this.#isStopping) return null;
    this.#isBlocked = true;
    try {
      const reply = await connection.call(["BLPOP", wakeList, ...this.#turns, String(BLOCK_SECONDS)], REPLY_TIMEOUT_MS);
      this.#turns.push(this.#turns.shift() as string);
      return this.#messageOf(reply);
    } catch (error) {
      // ConnectionLost, or RedisError: a list is no list, BLPOP is not allowed.
      link.failed(connection, error as Error);
      return null;
    } finally {
      this.#isBlocked = false;
    }
  }

  /** [list, element]; nil after the time limit. */
  #messageOf(reply: RedisReply): Uint8Array | Oversized | null {
    if (!Array.isArray(reply)) return null;
    const [list, element] = reply as readonly RedisReply[];
    if (list instanceof Uint8Array && Buffer.from(list).toString() === this.options.wakeList) return null;
    return element instanceof Uint8Array || element instanceof Oversized ? element : null;
  }
}
