// A demo virtual machine: a console that is drawn, and the VNC viewers that look at it. Without a viewer nothing moves.

import { type RfbHost, RfbConnection, type RfbPeer } from "../rfb/connection.ts";
import { keyOf } from "../rfb/keysym.ts";
import { Tiles } from "../tiles.ts";
import { CONSOLE_HEIGHT, CONSOLE_WIDTH, ConsoleScreen, type Look, TEXT_COLUMNS, TEXT_ROWS } from "./console-screen.ts";
import { Shell } from "./shell.ts";
import { TextGrid } from "./text-grid.ts";

export type Viewer = {
  /** @throws RfbError; close the viewer's connection then */
  receive(bytes: Uint8Array): void;
  /** It can take more now. */
  drained(): void;
  leave(): void;
};

export type Machine = {
  readonly name: string;
  join(peer: RfbPeer): Viewer;
  stop(): void;
};

const TILE_WIDTH = 32;
const TILE_HEIGHT = 20;
const FRAME_INTERVAL_MS = 100;
/** Input is answered sooner than the next frame is due, but not more often than this. */
const INPUT_INTERVAL_MS = 33;
const CLIPBOARD_LIMIT = 4096;

export class DrawnMachine implements Machine, RfbHost {
  readonly width = CONSOLE_WIDTH;
  readonly height = CONSOLE_HEIGHT;
  readonly tiles: Tiles;
  readonly #shell: Shell;
  readonly #screen: ConsoleScreen;
  readonly #viewers = new Set<RfbConnection>();
  #isControlDown = false;
  #timer: Timer | null = null;
  #paintedAtMs = -Infinity;

  constructor(readonly name: string, namespace: string, look: Look, private readonly now: () => number = Date.now) {
    const grid = new TextGrid(TEXT_COLUMNS, TEXT_ROWS);
    this.#shell = new Shell(grid, {
      name, now,
      info: [
        ["machine", `${name} in namespace ${namespace}`],
        ["screen", `${CONSOLE_WIDTH} x ${CONSOLE_HEIGHT}, drawn by route-gateway demo`],
        ["way", "browser > route-gateway > Kubernetes API (stand-in) > here"],
      ],
      copied: (text) => this.#viewers.forEach((viewer) => viewer.sendCutText(text)),
    });
    this.#screen = new ConsoleScreen(name, look, grid);
    this.tiles = new Tiles(this.#screen.picture, TILE_WIDTH, TILE_HEIGHT);
  }

  join(peer: RfbPeer): Viewer {
    const connection = new RfbConnection(this, peer);
    this.#viewers.add(connection);
    this.#timer ??= setInterval(() => this.#frame(), FRAME_INTERVAL_MS);
    this.#frame();
    return {
      receive: (bytes) => connection.receive(bytes),
      drained: () => connection.update(),
      leave: () => this.#leave(connection),
    };
  }

  key(keysym: number, isDown: boolean): void {
    const key = keyOf(keysym);
    if (key === "Control") this.#isControlDown = isDown;
    else if (key !== null && isDown) this.#shell.press(key, this.#isControlDown);
    this.#frameSoon();
  }

  pointer(x: number, y: number): void {
    this.#screen.movePointer(x, y);
    this.#frameSoon();
  }

  cutText(text: string): void {
    this.#shell.setClipboard(text.slice(0, CLIPBOARD_LIMIT));
  }

  stop(): void {
    if (this.#timer) clearInterval(this.#timer);
    this.#timer = null;
  }

  #leave(connection: RfbConnection): void {
    this.#viewers.delete(connection);
    // Whoever held it down is gone and will not let go.
    this.#isControlDown = false;
    if (this.#viewers.size === 0) this.stop();
  }

  #frameSoon(): void {
    if (this.now() - this.#paintedAtMs >= INPUT_INTERVAL_MS) this.#frame();
  }

  #frame(): void {
    this.#paintedAtMs = this.now();
    this.#shell.tick();
    this.#screen.paint(new Date(this.#paintedAtMs));
    this.tiles.look(this.#screen.picture);
    for (const viewer of this.#viewers) viewer.update();
  }
}
