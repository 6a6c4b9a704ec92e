// Opens the hashes of first-seen tokens without standing in the way of everybody else's bytes. One decryption costs 0.5
// ms and Bun has no asynchronous one without padding. So: a few are done here, one per turn of the event loop; when
// more wait, worker threads do them in batches, and go away again when nobody needs them.
//
// Invariant: every call of `open` ends, within DEADLINE_MS and a tick: with an answer, or with `unavailable`. A thread that dies
// costs nothing but time: what it had is opened here.

import type { KeyObject } from "node:crypto";
import { RouteError } from "../errors.ts";
import { openHash } from "./decrypt.ts";
import type { Batch, Opened } from "./decrypt-worker.ts";

/** 10,000 x 0.5 ms on two threads are 2.5 s: who comes later would wait for longer than people do. */
export const WAITING_LIMIT = 10_000;
const DEADLINE_MS = 10_000;
/** Up to here the event loop does it alone: 2 ms, in turns of 0.5. */
const ALONE = 4;
/** 4 ms of work: long enough to make messages cheap, short enough to share fairly. */
const BATCH = 8;
/** Batches under way per thread, so that it has the next one when it is done. */
const BATCHES_AHEAD = 2;
const IDLE_MS = 30_000;
/** After the death of a thread, before another one is started. */
const RESTART_MS = 5_000;
const TICK_MS = 1_000;

export type DecryptPoolOptions = {
  /** Most threads at a time; 0: none. */
  readonly threads?: number;
  readonly startThread?: () => Worker;
  /** Monotonic time in ms. */
  readonly now?: () => number;
};

type Item = {
  readonly key: KeyObject;
  readonly ciphertext: Uint8Array;
  readonly deadlineMs: number;
  readonly resolve: (host: string | null) => void;
  readonly reject: (error: RouteError) => void;
};

type Thread = {
  readonly worker: Worker;
  /** Given and not answered, oldest first. */
  readonly batches: Item[][];
  /** Starting one takes 10 ms and more; until then the event loop goes on alone. */
  isReady: boolean;
  key: KeyObject | null;
  idleSinceMs: number;
};

export class DecryptPool {
  readonly #limit: number;
  readonly #startThread: () => Worker;
  readonly #now: () => number;
  /** Oldest first; items before `#head` are done. */
  #waiting: Item[] = [];
  #head = 0;
  #threads: Thread[] = [];
  #turn: NodeJS.Immediate | null = null;
  #ticker: Timer | null = null;
  #noThreadsBeforeMs = -Infinity;
  #closed = false;

  constructor({
    threads = Math.min(2, navigator.hardwareConcurrency), startThread = startWorker, now = () => performance.now(),
  }: DecryptPoolOptions = {}) {
    this.#limit = threads;
    this.#startThread = startThread;
    this.#now = now;
  }

  /** {@link openHash}, later. @throws RouteError unavailable when too many wait, or it takes too long */
  open(key: KeyObject, ciphertext: Uint8Array): Promise<string | null> {
    if (this.#closed) return Promise.reject(unavailable("shutting down"));
    if (this.waiting >= WAITING_LIMIT) return Promise.reject(unavailable("too many others wait"));
    const { promise, resolve, reject } = Promise.withResolvers<string | null>();
    this.#waiting.push({ key, ciphertext, deadlineMs: this.#now() + DEADLINE_MS, resolve, reject });
    this.#ticker ??= setInterval(() => this.#tick(), TICK_MS).unref();
    this.#dispatch();
    return promise;
  }

  /** Neither done nor given to a thread. */
  get waiting(): number {
    return this.#waiting.length - this.#head;
  }

  get threads(): number {
    return this.#threads.length;
  }

  /** Ends the threads; what waits is refused. */
  close(): void {
    this.#closed = true;
    const left = [...this.#take(this.waiting), ...this.#threads.flatMap(({ batches }) => batches.flat())];
    for (const { worker } of this.#threads) worker.terminate();
    this.#threads = [];
    if (this.#turn !== null) clearImmediate(this.#turn);
    this.#stopTicker();
    for (const item of left) item.reject(unavailable("shutting down"));
  }

  #dispatch(): void {
    if (this.waiting > ALONE && this.#now() >= this.#noThreadsBeforeMs) this.#addThreads();
    for (let ahead = 0; ahead < BATCHES_AHEAD; ahead++) {
      for (const thread of this.#threads) {
        if (thread.isReady && thread.batches.length === ahead) this.#give(thread);
      }
    }
    if (this.waiting > 0 && this.#isAlone) this.#turn ??= setImmediate(() => this.#takeTurn());
  }

  /** One decryption on the event loop; the next one only after everything else had its turn. */
  #takeTurn(): void {
    this.#turn = null;
    const [item] = this.#isAlone ? this.#take(1) : [];
    if (item !== undefined) item.resolve(openHash(item.key, item.ciphertext));
    this.#dispatch();
  }

  get #isAlone(): boolean {
    return !this.#threads.some(({ isReady }) => isReady);
  }

  #give(thread: Thread): void {
    const first = this.#waiting[this.#head];
    if (first === undefined) return;
    let count = 1;
    while (count < BATCH && this.#waiting[this.#head + count]?.key === first.key) count++;
    const items = this.#take(count);
    const key = thread.key === first.key ? null : first.key;
    const batch: Batch = { key, ciphertexts: items.map(({ ciphertext }) => ciphertext) };
    thread.key = first.key;
    thread.batches.push(items);
    // Not only to live until the answer: Bun hears an unreferenced thread late when nothing else is open (measured:
    // 2 s in place of 80 ms for 300 tokens).
    thread.worker.ref();
    thread.worker.postMessage(batch);
  }

  #addThreads(): void {
    while (this.#threads.length < this.#limit) {
      const worker = this.#startThread();
      const thread: Thread = { worker, batches: [], isReady: false, key: null, idleSinceMs: this.#now() };
      worker.unref();
      worker.addEventListener("message", ({ data }: MessageEvent<Opened>) => this.#answer(thread, data));
      worker.addEventListener("error", () => this.#bury(thread));
      worker.addEventListener("close", () => this.#bury(thread));
      this.#threads.push(thread);
    }
  }

  #answer(thread: Thread, opened: Opened): void {
    thread.isReady = true;
    thread.batches.shift()?.forEach((item, at) => item.resolve(opened[at] ?? null));
    thread.idleSinceMs = this.#now();
    this.#dispatch();
    if (thread.batches.length === 0) thread.worker.unref();
  }

  /** What the thread had goes to the head of the queue, and is opened here while no thread may be started. */
  #bury(thread: Thread): void {
    if (!this.#threads.includes(thread)) return; // "error" is followed by "close", and so is terminate().
    this.#threads = this.#threads.filter((other) => other !== thread);
    thread.worker.terminate();
    this.#noThreadsBeforeMs = this.#now() + RESTART_MS;
    this.#waiting = [...thread.batches.flat(), ...this.#take(this.waiting)];
    this.#head = 0;
    this.#dispatch();
  }

  #take(count: number): Item[] {
    const items = this.#waiting.slice(this.#head, this.#head + count);
    this.#head += items.length;
    if (this.#head === this.#waiting.length) {
      this.#waiting = [];
      this.#head = 0;
    }
    return items;
  }

  /** Once a second while there is anything: deadlines, and threads without work. */
  #tick(): void {
    const now = this.#now();
    while ((this.#waiting[this.#head]?.deadlineMs ?? Infinity) <= now) {
      this.#take(1)[0]?.reject(unavailable("no turn in time"));
    }
    for (const thread of [...this.#threads]) {
      const oldest = thread.batches[0]?.[0];
      if (oldest === undefined ? now - thread.idleSinceMs < IDLE_MS : oldest.deadlineMs > now) continue;
      this.#threads = this.#threads.filter((other) => other !== thread);
      thread.worker.terminate();
      for (const item of thread.batches.flat()) item.reject(unavailable("a thread gave no answer in time"));
    }
    this.#dispatch();
    if (this.waiting === 0 && this.#threads.length === 0) this.#stopTicker();
  }

  #stopTicker(): void {
    if (this.#ticker !== null) clearInterval(this.#ticker);
    this.#ticker = null;
  }
}

/** Found beside this file, also inside the executable: build.ts makes the worker an entry point of its own. */
function startWorker(): Worker {
  return new Worker(new URL("./decrypt-worker.ts", import.meta.url), { name: "decrypt" });
}

function unavailable(reason: string): RouteError {
  return new RouteError("unavailable", `cannot open the token: ${reason}`);
}
