// One connection to Redis: logged in when it opens, commands in, replies out, in order. It does not reconnect (link.ts does) and
// never retries: when it breaks, every command without a reply fails with ConnectionLost, and nobody knows whether it was done.

import type { Socket } from "bun";
import { Outgoing } from "../upstream/outgoing.ts";
import type { Broker } from "./broker.ts";
import { encodeCommand, RedisError, type RedisReply, RespReader } from "./resp.ts";

/** To connect and to log in, each, ms. */
const OPEN_TIMEOUT_MS = 10_000;

export class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";
}

export type Command = ReadonlyArray<string | Uint8Array>;

/** A batch that waits for its replies. */
type Waiting = {
  readonly replies: RedisReply[];
  readonly count: number;
  readonly resolve: (replies: RedisReply[]) => void;
  readonly reject: (error: Error) => void;
  readonly timer: ReturnType<typeof setTimeout>;
};

export class RedisConnection {
  #socket: Socket<RedisConnection> | null = null;
  readonly #outgoing = new Outgoing();
  readonly #reader: RespReader;
  readonly #waiting: Waiting[] = [];
  #lost: ConnectionLost | null = null;
  /** Called once, when it ends for another reason than {@link close}. */
  onLost: ((error: ConnectionLost) => void) | null = null;

  private constructor(bulkLimitBytes: number) {
    this.#reader = new RespReader(bulkLimitBytes);
  }

  /**
   * Connects, logs in, and sees that commands are taken.
   * @throws ConnectionLost, RedisError (wrong password, still loading ...)
   */
  static async open(broker: Broker, bulkLimitBytes: number): Promise<RedisConnection> {
    const connection = new RedisConnection(bulkLimitBytes);
    try {
      await connection.#connect(broker);
      if (broker.password !== null) await connection.call(["AUTH", ...(broker.user === null ? [] : [broker.user]), broker.password], OPEN_TIMEOUT_MS);
      await connection.call(["PING"], OPEN_TIMEOUT_MS);
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** One command. @throws ConnectionLost; RedisError for an error reply */
  async call(command: Command, timeoutMs: number): Promise<RedisReply> {
    const [reply] = await this.send([command], timeoutMs);
    if (reply instanceof RedisError) throw reply;
    return reply as RedisReply;
  }

  /** Commands in one write, one reply each; error replies are among them. @param timeoutMs after which the connection counts as lost @throws ConnectionLost */
  send(commands: readonly Command[], timeoutMs: number): Promise<RedisReply[]> {
    const { promise, resolve, reject } = Promise.withResolvers<RedisReply[]>();
    if (this.#lost !== null || this.#socket === null) {
      reject(this.#lost ?? new ConnectionLost("the connection is closed"));
      return promise;
    }
    const timer = setTimeout(() => this.#end(new ConnectionLost(`no reply within ${timeoutMs} ms`)), timeoutMs);
    this.#waiting.push({ replies: [], count: commands.length, resolve, reject, timer });
    if (!this.#outgoing.write(this.#socket, Buffer.concat(commands.map(encodeCommand)))) this.#end(new ConnectionLost("the broker closed the connection"));
    return promise;
  }

  close(): void {
    this.onLost = null;
    this.#end(new ConnectionLost("the connection was closed here"));
  }

  /** Bun.connect has no time limit and cannot be cancelled: a socket that opens too late is closed on sight. */
  async #connect(broker: Broker): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(() => reject(new ConnectionLost(`no connection within ${OPEN_TIMEOUT_MS} ms`)), OPEN_TIMEOUT_MS);
    const socket = {
      ...HANDLERS,
      open: (socket: Socket<RedisConnection>) => {
        if (this.#lost !== null) return void socket.terminate();
        this.#socket = socket;
        resolve();
      },
    };
    const attempt = "unix" in broker.at ? Bun.connect<RedisConnection>({ unix: broker.at.unix, data: this, socket })
      : Bun.connect<RedisConnection>({ ...broker.at, data: this, socket });
    attempt.catch((error: Error) => reject(new ConnectionLost(`cannot connect: ${codeOf(error)}`, { cause: error })));
    try {
      await promise;
    } finally {
      clearTimeout(timer);
    }
    if ("hostname" in broker.at) this.#socket?.setKeepAlive(true, 30_000);
  }

  received(chunk: Uint8Array): void {
    try {
      for (const reply of this.#reader.push(chunk)) this.#take(reply);
    } catch (error) {
      // Not RESP.
      this.#end(new ConnectionLost((error as Error).message));
    }
  }

  drained(): void {
    if (this.#socket !== null && !this.#outgoing.drain(this.#socket)) this.ended();
  }

  ended(error: Error | null = null): void {
    this.#end(new ConnectionLost(error === null ? "the broker closed the connection" : `the connection broke: ${codeOf(error)}`));
  }

  #take(reply: RedisReply): void {
    const batch = this.#waiting[0];
    // Redis says a last word before it closes ("max number of clients reached").
    if (batch === undefined) return this.#end(new ConnectionLost(reply instanceof RedisError ? reply.message : "the broker sent what nobody asked for"));
    batch.replies.push(reply);
    if (batch.replies.length < batch.count) return;
    this.#waiting.shift();
    clearTimeout(batch.timer);
    batch.resolve(batch.replies);
  }

  #end(error: ConnectionLost): void {
    if (this.#lost !== null) return;
    this.#lost = error;
    this.#socket?.terminate();
    this.#socket = null;
    for (const { timer, reject } of this.#waiting.splice(0)) {
      clearTimeout(timer);
      reject(error);
    }
    this.onLost?.(error);
  }
}

const HANDLERS = {
  data(socket: Socket<RedisConnection>, chunk: Buffer) { socket.data.received(chunk); },
  drain(socket: Socket<RedisConnection>) { socket.data.drained(); },
  close(socket: Socket<RedisConnection>, error?: Error) { socket.data.ended(error ?? null); },
  error(socket: Socket<RedisConnection>, error: Error) { socket.data.ended(error); },
};

function codeOf(error: Error): string {
  return (error as NodeJS.ErrnoException).code ?? error.message;
}
