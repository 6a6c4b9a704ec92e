import { afterEach, describe, expect, test } from "bun:test";
import { TEXT_COLUMNS, TEXT_LEFT, TEXT_ROWS, TEXT_TOP } from "../../src/demo/vm/console-screen.ts";
import { DrawnMachine } from "../../src/demo/vm/machine.ts";
import { MACHINES, startMachines } from "../../src/demo/vm/machines.ts";
import { TextGrid } from "../../src/demo/vm/text-grid.ts";
import { eventually } from "../support/eventually.ts";
import { readConsole } from "./console-text.ts";
import { HANDSHAKE, RfbClient, say } from "./rfb-client.ts";

const ENTER = 0xff0d;
const BACKSPACE = 0xff08;
const CONTROL = 0xffe3;
const look = MACHINES[0]!.look!;
const stops: Array<() => void> = [];

afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

/** A machine with its clock in our hands. */
function start() {
  const clock = { ms: Date.UTC(2030, 0, 2, 3, 4, 5) };
  return { clock, machine: new DrawnMachine("ubuntu", "demo", look, () => clock.ms) };
}

/** A viewer of a machine. */
function watch({ clock, machine } = start()) {
  const client = new RfbClient();
  const viewer = machine.join({ send: (bytes) => client.receive(bytes), isBusy: () => false });
  stops.push(() => machine.stop());
  viewer.receive(Buffer.concat([HANDSHAKE, say.request(false)]));
  /** Lets time pass, and looks. The pointer is input, after which the machine paints at once. */
  const wait = (ms: number, x = 0, y = 0) => {
    clock.ms += ms;
    viewer.receive(Buffer.concat([say.pointer(x, y), say.request(true)]));
  };
  const press = (...keysyms: number[]) => {
    for (const keysym of keysyms) viewer.receive(Buffer.concat([say.key(keysym), say.key(keysym, false)]));
    wait(1000);
  };
  const type = (text: string) => press(...Array.from(text, (character) => character === "\n" ? ENTER : character.codePointAt(0)!));
  const background = look.back.join();
  const lines = () => readConsole((x, y) => client.colorAt(x, y).join() !== background);
  const screen = () => lines().join("\n").trimEnd();
  return { client, viewer, wait, press, type, lines, screen };
}

describe("demo machine", () => {
  test("starts line by line when the first viewer comes, then shows its prompt", () => {
    const { wait, lines, screen } = watch();
    expect(screen()).toBe("");
    wait(150);
    expect(lines().slice(0, 2)).toEqual(["[  OK  ] Drew the letters, 5 x 7 dots each", ""]);
    wait(5000);
    expect(screen()).toContain("[ WARN ] No kernel, no disk, no network: this machine is a drawing");
    expect(screen()).toEndWith("Welcome to ubuntu. Type help and press Enter.\n\nroot@ubuntu:~#");
  });

  test("a key skips the rest of the start", () => {
    const { type, screen } = watch();
    type("x");
    expect(screen()).toEndWith("root@ubuntu:~# x");
  });

  test("echoes what is typed and answers its commands", () => {
    const { type, screen } = watch();
    type("help\n");
    expect(screen()).toEndWith("root@ubuntu:~# help\nhelp  date  info  echo TEXT  copy TEXT  paste  clear\nroot@ubuntu:~#");
    type("date\n");
    expect(screen()).toContain("Wed, 02 Jan 2030 03:04:0");
    type("info\n");
    expect(screen()).toContain("machine   ubuntu in namespace demo");
    type("echo  Hello, World!\n\n");
    expect(screen()).toEndWith("\nHello, World!\nroot@ubuntu:~#\nroot@ubuntu:~#");
  });

  test("shows every printable character of ASCII as itself", () => {
    const { type, screen } = watch();
    const all = Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index)).join("");
    type(`echo ${all}\n`);
    expect(screen().replaceAll("\n", "")).toContain(`# echo ${all}${all}root`);
  });

  test("starts no program: what it does not know is no command", () => {
    const { type, screen } = watch();
    type("ls; sh\n");
    expect(screen()).toContain("ls;: command not found (try help)");
  });

  test("Backspace takes a letter back, not the prompt", () => {
    const { type, press, screen } = watch();
    type("ab");
    press(BACKSPACE, BACKSPACE, BACKSPACE, 0x63);
    expect(screen()).toEndWith("root@ubuntu:~# c");
  });

  test("Control and C drop the line, Control and L and the command clear the screen", () => {
    const { viewer, type, press, screen } = watch();
    type("echo never");
    viewer.receive(say.key(CONTROL));
    press(0x63);
    viewer.receive(say.key(CONTROL, false));
    type("\n");
    expect(screen()).toEndWith("root@ubuntu:~# echo never^C\nroot@ubuntu:~#\nroot@ubuntu:~#");
    type("clear\nkept");
    expect(screen()).toBe("root@ubuntu:~# kept");
    viewer.receive(say.key(CONTROL));
    press(0x6c);
    viewer.receive(say.key(CONTROL, false));
    type("!");
    expect(screen()).toBe("root@ubuntu:~# kept!");
  });

  test("a viewer that left with Control down does not leave it down", () => {
    const started = start();
    const { viewer } = watch(started);
    viewer.receive(say.key(CONTROL));
    viewer.leave();
    const { type, screen } = watch(started);
    type("c");
    expect(screen()).toEndWith("root@ubuntu:~# c");
  });

  test("gives its clipboard to the viewer, and takes the viewer's", () => {
    const { client, viewer, type, screen } = watch();
    type("copy this here\n");
    expect(client.cutTexts).toEqual(["this here"]);
    viewer.receive(say.cutText("from\tthe\r\nviewer\x1b"));
    type("clear\npaste\n");
    expect(screen()).toBe("root@ubuntu:~# paste\nfromthe\nviewer\nroot@ubuntu:~#");
  });

  test("keeps a line within bounds, however much is typed", () => {
    const { type, screen } = watch();
    type("y".repeat(5000));
    expect(screen().match(/y/g)!.length).toBeLessThan(500);
    type("\n");
    expect(screen()).toContain("command not found");
  });

  test("lights the cell under the pointer", () => {
    const { client, wait } = watch();
    const colorThere = () => client.colorAt(TEXT_LEFT + 300, TEXT_TOP + 400);
    wait(100, TEXT_LEFT + 301, TEXT_TOP + 401);
    expect(colorThere()).toEqual(look.accent as [number, number, number]);
    wait(100);
    expect(colorThere()).toEqual(look.back as [number, number, number]);
  });

  test("moves by itself while somebody looks, and not a bit when nobody does", async () => {
    const frames = { watched: 0, left: 0 };
    const run = (name: "watched" | "left") => {
      const machine = new DrawnMachine(name, "demo", look, () => { frames[name]++; return Date.now(); });
      stops.push(() => machine.stop());
      return machine.join({ send: () => {}, isBusy: () => false });
    };
    run("watched");
    const viewer = run("left");
    await eventually("both to move", () => Math.min(frames.watched, frames.left), (count) => count > 10);
    viewer.leave();
    const before = { ...frames };
    await eventually("the other one to go on", () => frames.watched - before.watched, (count) => count > 10);
    expect(frames.left).toBe(before.left);
  });

  test("the demo's running machines can be looked at, the stopped one is not there", () => {
    expect([...startMachines().keys()]).toEqual(["ubuntu", "kali"]);
  });
});

describe("text grid", () => {
  const text = (grid: TextGrid) =>
    Array.from({ length: grid.rows }, (_, row) => grid.line(row).map(({ character }) => character).join(""));

  test("goes on in the next line when one is full, and scrolls at the bottom", () => {
    const grid = new TextGrid(4, 2);
    grid.write("abcdef");
    expect(text(grid)).toEqual(["abcd", "ef"]);
    grid.write("\nx");
    expect(text(grid)).toEqual(["ef", "x"]);
    expect(grid.cursor).toEqual({ row: 1, column: 1 });
  });

  test("erases around the edge of a line", () => {
    const grid = new TextGrid(4, 2);
    grid.write("abcde");
    for (let count = 0; count < 3; count++) grid.erase();
    expect(text(grid)).toEqual(["ab", ""]);
    for (let count = 0; count < 9; count++) grid.erase();
    expect(text(grid)).toEqual(["", ""]);
  });

  test("tells which rows to paint again", () => {
    const grid = new TextGrid(4, 3);
    const revisions = () => [0, 1, 2].map((row) => grid.revision(row));
    const before = revisions();
    grid.write("a\nb");
    expect(revisions().map((revision, row) => revision > before[row]!)).toEqual([true, true, false]);
    const later = revisions();
    grid.clear();
    expect(revisions().every((revision, row) => revision > later[row]!)).toBe(true);
  });

  test("the console has whole cells", () => {
    expect([TEXT_COLUMNS, TEXT_ROWS]).toEqual([76, 25]);
  });
});
