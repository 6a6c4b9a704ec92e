// What the demo machine's console says: some lines while it starts, then a prompt that echoes and a few built-in commands.
// No shell and no program is ever started.

import type { Ink, TextGrid } from "./text-grid.ts";

const LINE_LIMIT = 400;
/** Between two lines of the start, ms. */
const BOOT_LINE_MS = 140;
const HELP = "help  date  info  echo TEXT  copy TEXT  paste  clear";

export type ShellOptions = {
  /** Of the machine. */
  readonly name: string;
  /** Lines that `info` prints: what, and about it. */
  readonly info: ReadonlyArray<readonly [what: string, about: string]>;
  /** The machine's clipboard became this. */
  readonly copied: (text: string) => void;
  readonly now: () => number;
};

const BOOT: ReadonlyArray<readonly [mark: string, ink: Ink, text: string]> = [
  ["  OK  ", "good", "Drew the letters, 5 x 7 dots each"],
  ["  OK  ", "good", "Started the clock and the graph above"],
  ["  OK  ", "good", "Attached keyboard, pointer and clipboard"],
  [" WARN ", "warn", "No kernel, no disk, no network: this machine is a drawing"],
  ["  OK  ", "good", "Listening for viewers (RFB 3.8)"],
  ["  OK  ", "good", "Reached target console"],
];

export class Shell {
  #startedAtMs: number | null = null;
  #linesShown = 0;
  #line = "";
  #clipboard = "";

  constructor(private readonly grid: TextGrid, private readonly options: ShellOptions) {}

  /** Goes on with the start, which begins at the first call: nobody should miss it. */
  tick(): void {
    if (this.isReady) return;
    this.#startedAtMs ??= this.options.now();
    this.#boot(Math.floor((this.options.now() - this.#startedAtMs) / BOOT_LINE_MS));
  }

  /** The prompt is there. */
  get isReady(): boolean {
    return this.#linesShown > BOOT.length;
  }

  setClipboard(text: string): void {
    this.#clipboard = text;
  }

  /** A character, or the name of a key; a key skips the rest of the start. */
  press(key: string, isControlDown: boolean): void {
    this.#boot(Infinity);
    if (isControlDown) this.#control(key.toLowerCase());
    else if (key === "Enter") this.#enter();
    else if (key === "Backspace") this.#erase();
    else if ([...key].length === 1) this.#type(key);
  }

  #boot(due: number): void {
    while (this.#linesShown < Math.min(due, BOOT.length)) {
      const [mark, ink, text] = BOOT[this.#linesShown++]!;
      this.grid.write("[", "dim");
      this.grid.write(mark, ink);
      this.grid.write("] ", "dim");
      this.grid.write(`${text}\n`);
    }
    if (due <= BOOT.length || this.isReady) return;
    this.#linesShown++;
    this.grid.write(`\nWelcome to ${this.options.name}. Type `);
    this.grid.write("help", "accent");
    this.grid.write(" and press Enter.\n\n");
    this.#prompt();
  }

  #prompt(): void {
    this.grid.write(`root@${this.options.name}`, "good");
    this.grid.write(":", "dim");
    this.grid.write("~", "accent");
    this.grid.write("# ", "dim");
    this.#line = "";
  }

  #control(key: string): void {
    if (key === "l") this.#clear();
    if (key !== "c") return;
    this.grid.write("^C\n", "dim");
    this.#prompt();
  }

  #type(character: string): void {
    if (this.#line.length >= LINE_LIMIT) return;
    this.#line += character;
    this.grid.write(character);
  }

  #erase(): void {
    if (this.#line === "") return;
    this.#line = [...this.#line].slice(0, -1).join("");
    this.grid.erase();
  }

  #clear(): void {
    const line = this.#line;
    this.grid.clear();
    this.#prompt();
    for (const character of line) this.#type(character);
  }

  #enter(): void {
    const line = this.#line.trim();
    this.#line = "";
    if (line === "clear") return this.#clear();
    this.grid.write("\n");
    if (line !== "") this.#run(line);
    this.#prompt();
  }

  #run(line: string): void {
    const [command = ""] = line.split(/\s+/);
    const rest = line.slice(command.length).trim();
    switch (command) {
      case "help": return this.grid.write(`${HELP}\n`, "accent");
      case "date": return this.grid.write(`${new Date(this.options.now()).toUTCString()}\n`);
      case "echo": return this.grid.write(`${rest}\n`);
      case "info": return this.#info();
      case "copy": return this.#copy(rest);
      case "paste": return this.grid.write(`${printable(this.#clipboard) || "(the clipboard is empty)"}\n`);
      default: return this.grid.write(`${command}: command not found (try help)\n`, "bad");
    }
  }

  #info(): void {
    for (const [what, about] of this.options.info) {
      this.grid.write(what.padEnd(10), "accent");
      this.grid.write(`${about}\n`);
    }
  }

  #copy(text: string): void {
    if (text === "") return this.grid.write("copy: what? (copy TEXT)\n", "bad");
    this.setClipboard(text);
    this.options.copied(text);
    this.grid.write("copied: paste it wherever your viewer runs\n");
  }
}

/** Line feeds may stay, other control characters have no letters. */
function printable(text: string): string {
  return text.replace(/\r\n?/g, "\n").replace(/[^\n\x20-\u{10ffff}]/gu, "").trimEnd();
}
