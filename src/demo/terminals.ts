// The demo pod's terminals: a line discipline with a few built-in commands. No shell and no program is ever started.
// POST /terminals makes one, a WebSocket at /terminals/<pid> is its screen and keyboard, POST /terminals/<pid>/size
// tells its size. A terminal ends when its WebSocket closes.

import { refuse, type PodService, type Session, type Socket } from "./service.ts";

/** Terminals of one pod; the oldest that nobody is connected to goes first. */
const TERMINAL_LIMIT = 32;
const LINE_LIMIT = 200;
const COUNT_LIMIT = 5000;

type Terminal = { readonly pid: number; columns: number; rows: number; line: string; isConnected: boolean };

export class Terminals implements PodService {
  readonly #terminals = new Map<number, Terminal>();
  #lastPid = 100;

  constructor(
    readonly port: number,
    private readonly owner: string,
    private readonly address: string,
    private readonly now: () => Date = () => new Date(),
  ) {}

  async respond(request: Request, url: URL): Promise<Response> {
    const [, root, pid, action] = url.pathname.split("/");
    if (root !== "terminals") return refuse(404, "no such path");
    if (request.method !== "POST") return refuse(405, "only POST");
    if (!pid) return this.#create(url);
    const terminal = this.#terminals.get(Number(pid));
    if (!terminal || action !== "size") return refuse(404, "no such terminal");
    return resize(terminal, url);
  }

  connect(url: URL): Session | Response {
    const terminal = this.#terminals.get(Number(url.pathname.split("/")[2]));
    if (!terminal || terminal.isConnected) return refuse(404, "no such terminal");
    terminal.isConnected = true;
    return {
      open: (socket) => this.#greet(socket),
      message: (socket, data) => this.#type(socket, terminal, String(data)),
      close: () => void this.#terminals.delete(terminal.pid),
    };
  }

  #create(url: URL): Response {
    if (this.#terminals.size >= TERMINAL_LIMIT && !this.#dropIdle()) return refuse(503, "too many terminals");
    const pid = ++this.#lastPid;
    const terminal: Terminal = { pid, columns: 80, rows: 24, line: "", isConnected: false };
    resize(terminal, url);
    this.#terminals.set(pid, terminal);
    return Response.json({ pid });
  }

  #dropIdle(): boolean {
    const idle = [...this.#terminals.values()].find((terminal) => !terminal.isConnected);
    return idle !== undefined && this.#terminals.delete(idle.pid);
  }

  get #prompt(): string {
    return `\x1b[32m${this.owner}@demo\x1b[0m:\x1b[34m~\x1b[0m$ `;
  }

  #greet(socket: Socket): void {
    socket.send(`Demo terminal on ${this.address}. Type \x1b[1mhelp\x1b[0m.\r\n${this.#prompt}`);
  }

  #type(socket: Socket, terminal: Terminal, text: string): void {
    let answer = "";
    for (const character of text) answer += this.#key(socket, terminal, character);
    if (answer) socket.send(answer);
  }

  /** What one key puts on the screen. */
  #key(socket: Socket, terminal: Terminal, character: string): string {
    if (character === "\r") return this.#enter(socket, terminal);
    if (character === "\x7f" || character === "\b") return erase(terminal, 1);
    if (character === "\x15") return erase(terminal, terminal.line.length);
    if (character === "\x0c") return `\x1b[2J\x1b[H${this.#prompt}${terminal.line}`;
    if (character === "\x03") return this.#interrupt(terminal);
    if (character === "\x04") return terminal.line ? "" : this.#exit(socket);
    if (character < " " || terminal.line.length >= LINE_LIMIT) return "\x07";
    terminal.line += character;
    return character;
  }

  #enter(socket: Socket, terminal: Terminal): string {
    const line = terminal.line.trim();
    terminal.line = "";
    if (line === "exit") return this.#exit(socket);
    if (line === "clear") return `\x1b[2J\x1b[H${this.#prompt}`;
    const output = line ? this.#run(line, terminal) : "";
    return `\r\n${output && `${output}\r\n`}${this.#prompt}`;
  }

  #interrupt(terminal: Terminal): string {
    terminal.line = "";
    return `^C\r\n${this.#prompt}`;
  }

  #exit(socket: Socket): string {
    socket.send("\r\nlogout\r\n");
    socket.close(1000, "exit");
    return "";
  }

  #run(line: string, terminal: Terminal): string {
    const [command, ...words] = line.split(/\s+/);
    switch (command) {
      case "help": return "help  echo TEXT  date  host  whoami  size  count N  clear  exit";
      case "echo": return line.slice("echo".length).trim();
      case "date": return this.now().toUTCString();
      case "host": return this.address;
      case "whoami": return this.owner;
      case "size": return `${terminal.columns}x${terminal.rows}`;
      case "count": return count(Number(words[0] ?? 10));
      default: return `${command}: no such command (try help)`;
    }
  }
}

function count(to: number): string {
  if (!Number.isInteger(to) || to < 1 || to > COUNT_LIMIT) return `count: give a number from 1 to ${COUNT_LIMIT}`;
  return Array.from({ length: to }, (_, index) => index + 1).join("\r\n");
}

function erase(terminal: Terminal, characters: number): string {
  const erased = Math.min(characters, terminal.line.length);
  terminal.line = terminal.line.slice(0, terminal.line.length - erased);
  return "\b \b".repeat(erased);
}

function resize(terminal: Terminal, url: URL): Response {
  const [columns, rows] = [Number(url.searchParams.get("cols") ?? 80), Number(url.searchParams.get("rows") ?? 24)];
  const isSane = [columns, rows].every((value) => Number.isInteger(value) && value > 0 && value <= 1000);
  if (!isSane) return refuse(400, "cols and rows must be numbers from 1 to 1000");
  Object.assign(terminal, { columns, rows });
  return Response.json({ pid: terminal.pid, columns, rows });
}
