// Drives library-program.ts from outside: orders and their answers, a Kubernetes API on plain ws for it, tokens that it takes.

import { createSecretKey } from "node:crypto";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { mintVmToken } from "../../src/token/mint.ts";
import type { WebsocketProxyOptions } from "../../src/websocket-proxy.ts";
import type { Answer, Order } from "./library-program.ts";
import { Pod } from "./pod.ts";

export const SECRET = "library-secret-of-32-bytes-or-more";
export const API_PATH = "/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/{vmi_name}/vnc";

/** An answer is waited for no longer. */
const LIMIT_MS = 30_000;

export type Counts = { readonly port: number; readonly url: string; readonly descriptors: number; readonly threads: number };

/** A Kubernetes API as `kubectl proxy` shows it: every console echoes. */
export function plainApi(): Pod {
  return new Pod("127.0.0.1", ["api"]);
}

export function optionsFor(api: Pod): WebsocketProxyOptions {
  return { remoteUrl: `ws://127.0.0.1:${api.port("api")}`, apiPath: API_PATH, localDevMode: true, secretKey: SECRET };
}

/** A path that leads to the machine `ubuntu`. */
export function consoleTarget(secret = SECRET): string {
  const token = mintVmToken({
    user: 1, lab: 1, labInstance: 1, namespace: "lab-1", vms: ["ubuntu"], ttlS: 300, secret: createSecretKey(Buffer.from(secret)),
  });
  return `/${token}/ubuntu`;
}

export class LibraryProgram {
  /** What came on standard error. */
  complaints = "";
  readonly answers: Answer[] = [];
  readonly #process: Subprocess<"pipe", "pipe", "pipe">;
  readonly #ended: Promise<unknown>;
  #waiters: Array<() => void> = [];
  #ids = 0;

  constructor() {
    this.#process = Bun.spawn([process.execPath, join(import.meta.dir, "library-program.ts")], { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
    this.#ended = Promise.all([this.#readAnswers(), this.#readComplaints()]);
  }

  /** Says what to do, and does not wait for it. @returns the order's number */
  order(order: Order): number {
    const id = (this.#ids += 1);
    this.#process.stdin.write(`${JSON.stringify({ id, ...order })}\n`);
    void this.#process.stdin.flush();
    return id;
  }

  /** What became of an order. @throws Error when it failed, with its `code` */
  async result(id: number): Promise<unknown> {
    await this.until(() => this.isDone(id));
    const { error, code, value } = this.answers.find((answer) => answer.id === id && !answer.begun)!;
    if (error !== undefined) throw Object.assign(new Error(error), { code });
    return value;
  }

  isBegun(id: number): boolean {
    return this.answers.some((answer) => answer.id === id);
  }

  isDone(id: number): boolean {
    return this.answers.some((answer) => answer.id === id && !answer.begun);
  }

  async do(order: Order): Promise<unknown> {
    return await this.result(this.order(order));
  }

  /** @returns the port */
  async start(how: "run" | "runInThread", port = 0): Promise<number> {
    const id = this.order({ do: how, port });
    if (how === "runInThread") return await this.result(id) as number;
    // It says nothing more until it ends.
    for (;;) {
      const { port } = await this.counts();
      if (this.isDone(id)) await this.result(id);
      if (port !== 0) return port;
    }
  }

  async counts(): Promise<Counts> {
    return await this.do({ do: "counts" }) as Counts;
  }

  async until(condition: () => boolean): Promise<void> {
    const deadlineMs = performance.now() + LIMIT_MS;
    while (!condition()) {
      if (performance.now() > deadlineMs || this.#process.exitCode !== null) throw new Error(`the program said nothing of the kind: ${JSON.stringify(this.answers.slice(-5))} ${this.complaints}`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.push(resolve);
      const timer = setTimeout(resolve, 100);
      await promise;
      clearTimeout(timer);
    }
  }

  /** No more orders. @returns the exit code of a program that ends by itself */
  async end(): Promise<number> {
    void this.#process.stdin.end();
    const limit = setTimeout(() => this.#process.kill("SIGKILL"), LIMIT_MS);
    const code = await this.#process.exited;
    clearTimeout(limit);
    await this.#ended;
    return code;
  }

  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
  }

  async #readAnswers(): Promise<void> {
    let rest = "";
    for await (const chunk of this.#process.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      this.answers.push(...lines.map((line) => JSON.parse(line) as Answer));
      this.#wake();
    }
    this.#wake();
  }

  async #readComplaints(): Promise<void> {
    for await (const chunk of this.#process.stderr.pipeThrough(new TextDecoderStream())) this.complaints += chunk;
  }

  #wake(): void {
    for (const waiter of this.#waiters.splice(0)) waiter();
  }
}
