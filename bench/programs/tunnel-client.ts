// Program: the client's end of connections that are passed through by their server name. It begins each with a recorded
// ClientHello; what comes after is not TLS.

import type { Socket } from "bun";
import { answerCalls } from "../lab/calls.ts";

/** `hello`: base64. */
export type Destination = { readonly port: number; readonly hello: string };
export type Churned = { readonly seconds: number; readonly failed: number };

const calls = { pull, churn, hold, answering, cutAll };
export type TunnelClientCalls = typeof calls;

/** Idle ones, by port. */
const held = new Map<number, Tunnel[]>();

/** So many bytes through one connection. @returns seconds, without what opening it took */
async function pull({ bytes, ...destination }: Destination & { bytes: number }): Promise<number> {
  const tunnel = await Tunnel.open(destination);
  const start = performance.now();
  await tunnel.ask(bytes);
  const seconds = (performance.now() - start) / 1000;
  tunnel.cut();
  return seconds;
}

/** So many connections, `lanes` at a time, each until the far end has answered the ClientHello and closed. */
async function churn({ lanes, connections, ...destination }: Destination & { lanes: number; connections: number }): Promise<Churned> {
  const hello = Buffer.from(destination.hello, "base64");
  const start = performance.now();
  let left = connections;
  let failed = 0;
  await Promise.all(Array.from({ length: lanes }, async () => {
    while (left-- > 0) if (!(await visit(destination.port, hello))) failed += 1;
  }));
  return { seconds: (performance.now() - start) / 1000, failed };
}

/** Opens connections that stay; the pod has answered each of them. */
async function hold({ count, ...destination }: Destination & { count: number }): Promise<void> {
  const tunnels = held.get(destination.port) ?? [];
  held.set(destination.port, tunnels);
  // A few at a time: a listen queue is not what is measured here.
  for (let left = count; left > 0; left -= 50) {
    tunnels.push(...await Promise.all(Array.from({ length: Math.min(50, left) }, () => Tunnel.open(destination))));
  }
}

/** How many of those that are held still carry bytes. */
async function answering({ port }: { port: number }): Promise<number> {
  const answers = await Promise.all((held.get(port) ?? []).map((tunnel) => tunnel.ask(1).then(() => true, () => false)));
  return answers.filter(Boolean).length;
}

function cutAll(): void {
  for (const tunnel of [...held.values()].flat()) tunnel.cut();
  held.clear();
}

class Tunnel {
  #left = 1;
  #done = Promise.withResolvers<void>();
  #socket: Socket | null = null;

  /** Greeted by the pod. */
  static async open({ port, hello }: Destination): Promise<Tunnel> {
    const tunnel = new Tunnel();
    const { promise } = tunnel.#done;
    tunnel.#socket = await Bun.connect({
      hostname: "127.0.0.1", port,
      socket: {
        data: (_, bytes) => tunnel.#received(bytes),
        error: (_, error) => tunnel.#done.reject(error),
        close: () => tunnel.#done.reject(new Error("the connection was closed")),
      },
    });
    tunnel.#socket.write(Buffer.from(hello, "base64"));
    await promise;
    // Closed while nobody waits: the next question will tell.
    tunnel.#done.promise.catch(() => {});
    return tunnel;
  }

  /** Until so many bytes have come. */
  ask(bytes: number): Promise<void> {
    this.#left = bytes;
    this.#done = Promise.withResolvers();
    if ((this.#socket?.write(`${bytes}\n`) ?? -1) < 0) this.#done.reject(new Error("the connection was closed"));
    return this.#done.promise;
  }

  cut(): void {
    this.#done.promise.catch(() => {});
    this.#socket?.terminate();
  }

  #received(bytes: Buffer): void {
    this.#left -= bytes.length;
    if (this.#left <= 0) this.#done.resolve();
  }
}

/** @returns whether an answer came before the end */
function visit(port: number, hello: Buffer): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  let hasAnswer = false;
  Bun.connect({
    hostname: "127.0.0.1", port,
    socket: {
      open: (socket) => void socket.write(hello),
      data: () => { hasAnswer = true; },
      error: () => resolve(false),
      close: () => resolve(hasAnswer),
    },
  }).catch(() => resolve(false));
  return promise;
}

answerCalls(calls);
