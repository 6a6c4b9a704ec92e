import { afterEach, describe, expect, test } from "bun:test";
import { TcpListener } from "../../src/dns/tcp.ts";
import { eventually } from "../support/eventually.ts";
import { framed, TcpClient } from "./clients.ts";

const ANSWER = Buffer.alloc(65_535, 7);
/** Enough for any socket's buffers. */
const ROUNDS = 2000;

const stops: Array<() => void> = [];
afterEach(() => { for (const stop of stops.splice(0).reverse()) stop(); });

/** A client that asks one by one and reads nothing, until answers stay behind in the listener. */
async function untilFull(): Promise<{ listener: TcpListener; client: TcpClient; asked: number }> {
  let answered = 0;
  const listener = new TcpListener({ host: "127.0.0.1", port: 0, answer: () => { answered += 1; return ANSWER; } });
  stops.push(() => listener.stop());
  const client = await TcpClient.open(listener.port);
  stops.push(() => client.close());
  client.socket.pause();
  for (let asked = 1; asked <= ROUNDS; asked += 1) {
    client.write(framed(Buffer.alloc(12)));
    await eventually("the next answer", () => answered, (count) => count === asked);
    if (listener.pendingBytes > 0) return { listener, client, asked };
  }
  throw new Error(`${ROUNDS} answers went out without being read`);
}

describe("a client that does not read", () => {
  test("gets all of its answers whole when it goes on reading", async () => {
    const { listener, client, asked } = await untilFull();
    expect(listener.pendingBytes).toBeLessThanOrEqual(ANSWER.length + 2);
    client.socket.resume();
    const replies = await client.received(asked);
    expect(replies).toHaveLength(asked);
    expect(replies.every((reply) => reply.equals(ANSWER))).toBe(true);
    expect(listener.pendingBytes).toBe(0);
  });

  test("is cut off when it asks on", async () => {
    const { listener, client } = await untilFull();
    client.write(framed(Buffer.alloc(12)));
    await eventually("the end of the connection", () => listener.size, (size) => size === 0);
    expect(listener.pendingBytes).toBe(0);
  });
});
