// A remote screen: Debian's Xvnc on a display number that it finds itself, with its VNC service on a socket in a directory of
// its own (no TCP port to collide on), and X programs on it. Everything is ended by the process ids that were started here.

import { mkdtempSync, rmSync } from "node:fs";
import { readdir, readlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { type Picture, readXwd } from "./display-picture.ts";
import { eventually } from "./eventually.ts";

/** Programs that the tests of a remote screen drive. */
const PROGRAMS = [
  "Xvnc", "websockify", "xterm", "xsetroot", "xlogo", "xdotool", "xclip", "xwd", "xdpyinfo", "xrandr", "xev",
] as const;

/** Those that this machine has not; their tests are skipped. */
export const MISSING_PROGRAMS: readonly string[] = PROGRAMS.filter((program) => Bun.which(program) === null);

export class Display {
  readonly #clients: Subprocess[] = [];

  private constructor(readonly directory: string, readonly name: string, readonly server: Subprocess) {}

  static async start(size: { width: number; height: number }): Promise<Display> {
    const directory = mkdtempSync(join(tmpdir(), "route-display-"));
    const server = Bun.spawn([
      "Xvnc", "-displayfd", "1", "-geometry", `${size.width}x${size.height}`, "-depth", "24", "-desktop", "route test",
      "-rfbunixpath", join(directory, "rfb"), "-rfbport", "-1", "-SecurityTypes", "None",
    ], { stdin: "ignore", stdout: "pipe", stderr: Bun.file(join(directory, "xvnc.log")), env: environment(directory) });
    try {
      return new Display(directory, `:${await firstLine(server.stdout)}`, server);
    } catch (error) {
      server.kill("SIGKILL");
      throw error;
    }
  }

  /** Where the VNC service listens. */
  get socketPath(): string {
    return join(this.directory, "rfb");
  }

  /** A file in the directory that ends with the display. */
  file(name: string): string {
    return join(this.directory, name);
  }

  /** Runs an X program to its end. @returns what it printed */
  async run(...command: string[]): Promise<Buffer> {
    const child = Bun.spawn(command, {
      stdin: "ignore", stdout: "pipe", stderr: "pipe", env: this.#env, timeout: 10_000,
    });
    const [output, complaint] = await Promise.all([child.stdout.bytes(), child.stderr.text()]);
    if ((await child.exited) !== 0) throw new Error(`${command[0]} failed: ${complaint.trim()}`);
    return Buffer.from(output);
  }

  /** Starts an X program that stays; its output goes to {@link file} `output`. */
  open(output: string, command: readonly string[], input: Buffer | null = null): Subprocess {
    const child = Bun.spawn([...command], {
      stdin: input ?? "ignore", stdout: Bun.file(this.file(output)), stderr: Bun.file(this.file(`${output}.log`)),
      env: this.#env, cwd: this.directory,
    });
    this.#clients.push(child);
    return child;
  }

  /** What a program printed so far. */
  output(name: string): Promise<string> {
    return Bun.file(this.file(name)).text();
  }

  /** Until a program shows its window. */
  async shown(by: "class" | "name", wanted: string): Promise<void> {
    await this.run("xdotool", "search", "--sync", "--onlyvisible", `--${by}`, wanted);
  }

  /** What is on the screen, from the X server itself. */
  async picture(): Promise<Picture> {
    return readXwd(await this.run("xwd", "-root", "-silent"));
  }

  async size(): Promise<{ width: number; height: number }> {
    const [, width, height] = /dimensions:\s+(\d+)x(\d+) pixels/.exec((await this.run("xdpyinfo")).toString()) ?? [];
    return { width: Number(width), height: Number(height) };
  }

  async pointer(): Promise<{ x: number; y: number }> {
    const [, x, y] = /x:(\d+) y:(\d+)/.exec((await this.run("xdotool", "getmouselocation")).toString()) ?? [];
    return { x: Number(x), y: Number(y) };
  }

  async clipboard(): Promise<string> {
    return (await this.run("xclip", "-selection", "clipboard", "-o", "-target", "UTF8_STRING")).toString();
  }

  async stop(): Promise<void> {
    for (const child of [...this.#clients.toReversed(), this.server]) {
      child.kill("SIGTERM");
      await Promise.race([child.exited, Bun.sleep(2000)]);
      child.kill("SIGKILL");
      await child.exited;
    }
    rmSync(this.directory, { recursive: true, force: true });
  }

  get #env(): Record<string, string> {
    return { ...environment(this.directory), DISPLAY: this.name };
  }
}

export type Websockify = {
  readonly port: number;
  /** Stops answering, as a hung pod does: sockets stay open. */
  freeze(): void;
  stop(): Promise<void>;
};

/** Debian's websockify on a pod address, before the VNC service of a display. Port 0: the kernel chooses. */
export async function startWebsockify(display: Display, address: string, port = 0): Promise<Websockify> {
  // A process group of its own: it forks a child for each connection.
  const child = Bun.spawn(["websockify", `${address}:${port}`, `--unix-target=${display.socketPath}`], {
    stdin: "ignore", stdout: "ignore", stderr: Bun.file(display.file("websockify.log")), detached: true,
    env: environment(display.directory),
  });
  const stop = async (): Promise<void> => {
    signalGroup(child.pid, "SIGKILL");
    await child.exited;
  };
  try {
    const isOver = (found: number) => found !== 0 || child.exitCode !== null;
    const bound = await eventually("websockify to listen", () => listeningPort(child.pid), isOver);
    if (bound === 0) {
      throw new Error(`websockify ended with ${child.exitCode}: ${await display.output("websockify.log")}`);
    }
    return { port: bound, freeze: () => signalGroup(child.pid, "SIGSTOP"), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function signalGroup(pid: number, signal: "SIGKILL" | "SIGSTOP"): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    // Already gone.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** The TCP port that a process listens on; 0 for none. Its sockets by inode (proc(5)). */
async function listeningPort(pid: number): Promise<number> {
  const names = await readdir(`/proc/${pid}/fd`).catch(() => []);
  const links = await Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => "")));
  const inodes = new Set(links.map((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1]));
  for (const line of (await Bun.file("/proc/net/tcp").text()).split("\n").slice(1)) {
    const [, local = "", , state, , , , , , inode] = line.trim().split(/\s+/);
    if (state === "0A" && inodes.has(inode)) return Number.parseInt(local.split(":")[1] ?? "", 16);
  }
  return 0;
}

/** Nothing of the developer's shell: programs of a display look and behave the same everywhere. */
function environment(home: string): Record<string, string> {
  return { PATH: process.env["PATH"] ?? "", HOME: home, TMPDIR: home, LANG: "C.UTF-8", PS1: "$ " };
}

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  let text = "";
  const reader = stream.getReader();
  while (!text.includes("\n")) {
    const { value, done } = await reader.read();
    if (done) throw new Error("Xvnc ended before it was ready");
    text += Buffer.from(value).toString("latin1");
  }
  reader.releaseLock();
  return text.trim();
}
