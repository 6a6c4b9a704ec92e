// The place where one scenario is measured: a scratch directory and every process started in it. Whoever opens a Lab closes
// it, and with it ends each process by its own id, newest first, and removes the directory.

import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { CallTable, Reply, Request } from "./calls.ts";

/** Nothing that is measured here needs longer to listen or to end; then it is stuck. */
const START_LIMIT_MS = 10_000;
const STOP_LIMIT_MS = 5_000;

/** All services of a desktop that the scenarios use. */
const DESKTOP_PORTS = [6081, 29783, 29786];

export class Running {
  constructor(readonly name: string, readonly child: Bun.Subprocess, private readonly stderrFile: string) {}

  get pid(): number {
    return this.child.pid;
  }

  /** The end of what it complained about. */
  get complaint(): string {
    return existsSync(this.stderrFile) ? readFileSync(this.stderrFile, "utf8").trim().slice(-2000) : "";
  }

  /** @throws Error with its complaint when it ends before it listens, or takes too long */
  async untilListening(host: string, port: number): Promise<void> {
    const deadline = performance.now() + START_LIMIT_MS;
    while (!(await canConnect(host, port))) {
      if (this.child.exitCode !== null) throw new Error(`${this.name} ended with ${this.child.exitCode}: ${this.complaint}`);
      if (performance.now() > deadline) throw new Error(`${this.name} does not listen on ${host}:${port}: ${this.complaint}`);
      await Bun.sleep(5);
    }
  }

  async stop(): Promise<void> {
    this.child.kill("SIGTERM");
    const timer = setTimeout(() => this.child.kill("SIGKILL"), STOP_LIMIT_MS);
    await this.child.exited;
    clearTimeout(timer);
  }
}

/** A program of ../programs/ in a process of its own, asked by messages. */
export class Program<Calls extends CallTable> {
  #lastId = 0;

  constructor(private readonly running: Running, private readonly waiting: Map<number, (reply: Reply) => void>) {
    void this.#failWhenEnded();
  }

  /** @throws Error what the program threw, or that it ended */
  async call<Name extends keyof Calls & string>(
    name: Name, argument: Parameters<Calls[Name]>[0],
  ): Promise<Awaited<ReturnType<Calls[Name]>>> {
    if (this.running.child.exitCode !== null) throw new Error(`${this.running.name} has ended: ${this.running.complaint}`);
    const id = (this.#lastId += 1);
    const { promise, resolve } = Promise.withResolvers<Reply>();
    this.waiting.set(id, resolve);
    this.running.child.send({ id, name, argument } satisfies Request);
    const reply = await promise;
    this.waiting.delete(id);
    if (reply.error !== undefined) throw new Error(`${this.running.name}, ${name}: ${reply.error}`);
    return reply.value as Awaited<ReturnType<Calls[Name]>>;
  }

  async #failWhenEnded(): Promise<void> {
    await this.running.child.exited;
    for (const [id, answer] of this.waiting) answer({ id, error: `the process ended: ${this.running.complaint}` });
  }
}

type SpawnOptions = {
  readonly env?: Record<string, string>;
  /** File that is appended to; none: nowhere. */
  readonly stdout?: string;
  readonly ipc?: (reply: Reply) => void;
};

export class Lab implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "route-bench-"));
  #running: Running[] = [];
  #closed: Promise<void> | null = null;

  /** A file in the scratch directory. @returns its path */
  write(name: string, text: string): string {
    mkdirSync(dirname(this.path(name)), { recursive: true });
    writeFileSync(this.path(name), text);
    return this.path(name);
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  spawn(name: string, command: readonly string[], options: Omit<SpawnOptions, "ipc"> = {}): Running {
    return this.#spawn(name, command, options);
  }

  /** @param file in ../programs/ */
  program<Calls extends CallTable>(file: string): Program<Calls> {
    const waiting = new Map<number, (reply: Reply) => void>();
    const command = [process.execPath, "--no-orphans", join(import.meta.dir, "../programs", file)];
    const ipc = (reply: Reply): void => waiting.get(reply.id)?.(reply);
    return new Program<Calls>(this.#spawn(file, command, { ipc }), waiting);
  }

  /** Ends one process before the others. */
  async stop(running: Running): Promise<void> {
    this.#running = this.#running.filter((other) => other !== running);
    await running.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    await this.#closed;
  }

  async #close(): Promise<void> {
    for (const running of this.#running.splice(0).reverse()) await running.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }

  #spawn(name: string, command: readonly string[], options: SpawnOptions): Running {
    if (this.#closed !== null) throw new Error(`cannot start ${name}: the lab is closed`);
    const stderrFile = this.path(`${this.#running.length}-${name.replaceAll(/[^\w.-]+/g, "-")}.stderr`);
    // Appending, so that a log can be emptied between two rounds.
    const files = [options.stdout ?? "/dev/null", stderrFile].map((file) => openSync(file, "a"));
    const { ipc } = options;
    const child = Bun.spawn([...command], {
      cwd: this.directory, stdin: "ignore", stdout: files[0]!, stderr: files[1]!,
      env: { ...process.env, ...options.env },
      ...(ipc === undefined ? {} : { ipc: (message: unknown) => ipc(message as Reply), serialization: "advanced" as const }),
    });
    for (const file of files) closeSync(file);
    const running = new Running(name, child, stderrFile);
    this.#running.push(running);
    return running;
  }
}

/** A port that the kernel has just found free. */
export function freePort(host = "127.0.0.1"): Promise<number> {
  return listenOnce(host, 0);
}

/** A loopback address on which nothing uses the ports of a desktop. @throws Error when there is none */
export async function freeDesktopAddress(): Promise<string> {
  const first = 10 + Math.floor(Math.random() * 200);
  for (let step = 0; step < 240; step += 1) {
    const host = `127.0.1.${10 + ((first + step) % 240)}`;
    const taken = await Promise.all(DESKTOP_PORTS.map((port) => listenOnce(host, port).then(() => false, () => true)));
    if (!taken.includes(true)) return host;
  }
  throw new Error("cannot find an address in 127.0.1.0/24 with free desktop ports");
}

function listenOnce(host: string, port: number): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const server = createServer().once("error", reject).listen(port, host, () => {
    const address = server.address();
    server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
  });
  return promise;
}

async function canConnect(host: string, port: number): Promise<boolean> {
  try {
    const socket = await Bun.connect({ hostname: host, port, socket: { data() {} } });
    socket.end();
    return true;
  } catch {
    // Refused: it does not listen yet.
    return false;
  }
}
