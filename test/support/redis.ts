// A real redis-server for one test, and a zbus caller that speaks to it: written from the description of the wire format, over
// node:net, sharing nothing with src/zbus. The server keeps nothing on disk; it listens on a port and on a unix socket.

import { decode, encode } from "@msgpack/msgpack";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "./eventually.ts";

export const HAS_REDIS = Bun.which("redis-server") !== null;

export class RedisServer {
  readonly directory = mkdtempSync(join(tmpdir(), "redis-"));
  readonly socket = join(this.directory, "redis.sock");
  readonly #port = freePort();
  #process: ReturnType<typeof Bun.spawn> | null = null;

  private constructor(private readonly password: string | null) {}

  static async start(password: string | null = null): Promise<RedisServer> {
    const server = new RedisServer(password);
    await server.run();
    return server;
  }

  get unixUrl(): string {
    return `unix://${this.socket}`;
  }

  get tcpUrl(): string {
    return `tcp://${this.password === null ? "" : `:${encodeURIComponent(this.password)}@`}127.0.0.1:${this.#port}`;
  }

  /** Starts it, again after {@link kill}: at the same addresses, empty. */
  async run(): Promise<void> {
    const login = this.password === null ? [] : ["--requirepass", this.password];
    this.#process = Bun.spawn(
      ["redis-server", "--bind", "127.0.0.1", "--port", String(this.#port), "--unixsocket", this.socket, "--dir", this.directory, "--save", "", "--appendonly", "no", ...login],
      { stdin: "ignore", stdout: "ignore", stderr: "ignore" },
    );
    await eventually("redis-server", () => this.#isReady(), (isReady) => isReady);
  }

  connect(): Promise<RedisCaller> {
    return RedisCaller.connect(this.socket, this.password);
  }

  /** At once, as a crash would. */
  async kill(): Promise<void> {
    this.#process?.kill("SIGKILL");
    await this.#process?.exited;
  }

  /** It stands still, its connections stay open. */
  freeze(): void {
    this.#process?.kill("SIGSTOP");
  }

  thaw(): void {
    this.#process?.kill("SIGCONT");
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }

  async #isReady(): Promise<boolean> {
    try {
      const caller = await this.connect();
      caller.close();
      return true;
    } catch {
      // Not listening yet.
      return false;
    }
  }
}

type Reply = Buffer | string | number | null | Error | Reply[];

/** Commands to Redis, one after the other; bulk strings come back as bytes. */
export class RedisCaller {
  #bytes = Buffer.alloc(0);
  readonly #waiting: Array<{ resolve: (reply: Reply) => void; reject: (error: Error) => void }> = [];

  private constructor(private readonly socket: Socket) {
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("error", () => {});
    socket.on("close", () => this.#waiting.splice(0).forEach(({ reject }) => reject(new Error("Redis closed the connection"))));
  }

  static async connect(path: string, password: string | null): Promise<RedisCaller> {
    const socket = createConnection(path);
    await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    const caller = new RedisCaller(socket);
    if (password !== null) await caller.command("AUTH", password);
    await caller.command("PING");
    return caller;
  }

  command(...parts: Array<string | Uint8Array>): Promise<Reply> {
    const chunks = parts.flatMap((part) => [Buffer.from(`\r\n$${Buffer.byteLength(part)}\r\n`), Buffer.from(part)]);
    this.socket.write(Buffer.concat([Buffer.from(`*${parts.length}`), ...chunks, Buffer.from("\r\n")]));
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  close(): void {
    this.socket.destroy();
  }

  #read(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    for (let found = parse(this.#bytes, 0); found !== null; found = parse(this.#bytes, 0)) {
      this.#bytes = this.#bytes.subarray(found.end);
      const waiting = this.#waiting.shift();
      if (found.reply instanceof Error) waiting?.reject(found.reply);
      else waiting?.resolve(found.reply);
    }
  }
}

function parse(bytes: Buffer, at: number): { reply: Reply; end: number } | null {
  const lineEnd = bytes.indexOf("\r\n", at);
  if (lineEnd < 0) return null;
  const type = String.fromCharCode(bytes[at] as number);
  const line = bytes.toString("latin1", at + 1, lineEnd);
  const next = lineEnd + 2;
  if (type === "+") return { reply: line, end: next };
  if (type === "-") return { reply: new Error(line), end: next };
  if (type === ":") return { reply: Number(line), end: next };
  const length = Number(line);
  if (length < 0) return { reply: null, end: next };
  if (type === "$") return bytes.length < next + length + 2 ? null : { reply: bytes.subarray(next, next + length), end: next + length + 2 };
  const items: Reply[] = [];
  let end = next;
  while (items.length < length) {
    const item = parse(bytes, end);
    if (item === null) return null;
    items.push(item.reply);
    end = item.end;
  }
  return { reply: items, end };
}

export type ZbusReply = { ID: unknown; Output: { Data: Uint8Array | null; Error: { Message: string } | null }; Error: string | null };

/** The lists and objects that callers know. */
export const SEED = { list: "gateway.gateway@0.0.1", object: { Name: "gateway", Version: "0.0.1" } };
export const NEWER = { list: "gateway.manager@0.0.1", object: { Name: "manager", Version: "0.0.1" } };
export const STATUS = { list: "gateway.zbus@1.0", object: { Name: "zbus", Version: "1.0" } };

/** What a caller of the seed's time does: one request, one list for its reply. */
export class ZbusCaller {
  #count = 0;

  constructor(readonly redis: RedisCaller) {}

  /** @returns the whole reply message */
  async call(to: typeof SEED, method: string, ...args: unknown[]): Promise<ZbusReply> {
    return this.fetch(await this.send(to, method, ...args));
  }

  /** @returns the list that the reply will come to, which is the request's ID, too */
  async send(to: typeof SEED, method: string, ...args: unknown[]): Promise<string> {
    const id = `reply-${process.pid}-${performance.now()}-${this.#count++}`;
    await this.redis.command("RPUSH", to.list, zbusRequest(id, to, method, args));
    return id;
  }

  /** The next message of the list. @throws Error when there is none within ten seconds */
  async fetch(list: string): Promise<ZbusReply> {
    const popped = await this.redis.command("BLPOP", list, "10");
    if (!Array.isArray(popped)) throw new Error(`no reply came to ${list}`);
    return decode(popped[1] as Buffer) as ZbusReply;
  }
}

/** A request as its caller packs it: each argument on its own, then the message. */
export function zbusRequest(id: unknown, to: typeof SEED, method: string, args: readonly unknown[]): Uint8Array {
  return encode({ ID: id, Inputs: args.map((arg) => encode(arg)), Object: to.object, ReplyTo: id, Method: method });
}

/** What a call returned. @throws Error with the method's own failure or the protocol's */
export function zbusResult(reply: ZbusReply): unknown {
  if (reply.Error !== null) throw new Error(`protocol: ${reply.Error}`);
  if (reply.Output.Error !== null) throw new Error(`call: ${reply.Output.Error.Message}`);
  return reply.Output.Data === null ? null : decode(reply.Output.Data);
}

/** A port that the kernel gives out and nobody uses: Redis itself cannot ask for one. */
function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  listener.stop(true);
  return listener.port;
}
