// The demo pod's screen, in the place of VNC: a WebSocket that sends the tiles of the picture that changed since this
// client's last frame. A client that reads slowly gets fewer frames, never older ones, and holds no memory here.
//
// To the client: first a text frame {"type":"hello", width, height, tileWidth, tileHeight, owner, address}; then
// binary frames: u8 1, u16 count (big-endian), and per tile u8 column, u8 row, tileWidth x tileHeight RGB pixels.
// From the client: text frames {"type":"pointer", x, y, isDown} and {"type":"key", key}.

import { encodePng } from "./picture.ts";
import { SCENE_HEIGHT, SCENE_WIDTH, Scene } from "./scene.ts";
import { refuse, type PodService, type Session, type Socket } from "./service.ts";

export const TILE_WIDTH = 32;
export const TILE_HEIGHT = 20;
const COLUMNS = SCENE_WIDTH / TILE_WIDTH;
const ROWS = SCENE_HEIGHT / TILE_HEIGHT;
const TILE_BYTES = TILE_WIDTH * TILE_HEIGHT * 3;
const FRAME_INTERVAL_MS = 100;
/** Input is answered sooner than the next frame is due, but not more often than this. */
const INPUT_INTERVAL_MS = 33;
/** A client with this much still unsent skips a frame; bytes. */
const UNSENT_LIMIT_BYTES = 1024 ** 2;

export class Screen {
  readonly #scene: Scene;
  readonly #last = new Uint8Array(SCENE_WIDTH * SCENE_HEIGHT * 3);
  /** Which paint changed each tile last; compared with what a client has seen. */
  readonly #changed = new Uint32Array(COLUMNS * ROWS).fill(1);
  readonly #clients = new Map<Socket, { seen: number }>();
  #paints = 1;
  #timer: Timer | null = null;
  #paintedAtMs = 0;

  constructor(
    private readonly owner: string,
    private readonly address: string,
    private readonly now: () => number = Date.now,
  ) {
    this.#scene = new Scene(owner, address);
  }

  /** The service on the WebSocket port. */
  service(port: number): PodService {
    return {
      port,
      respond: () => refuse(426, "this is a WebSocket"),
      connect: () => this.#session(),
      stop: () => this.#stopTimer(),
    };
  }

  /** The current picture as a PNG file. */
  snapshot(): Buffer<ArrayBuffer> {
    this.#scene.paint(new Date(this.now()));
    return encodePng(this.#scene.picture);
  }

  #session(): Session {
    return {
      open: (socket) => this.#join(socket),
      message: (_socket, data) => this.#input(data),
      close: (socket) => this.#leave(socket),
    };
  }

  #join(socket: Socket): void {
    socket.send(JSON.stringify({
      type: "hello", width: SCENE_WIDTH, height: SCENE_HEIGHT, tileWidth: TILE_WIDTH, tileHeight: TILE_HEIGHT,
      owner: this.owner, address: this.address,
    }));
    this.#clients.set(socket, { seen: 0 });
    this.#timer ??= setInterval(() => this.#frame(), FRAME_INTERVAL_MS);
    this.#frame();
  }

  #leave(socket: Socket): void {
    this.#clients.delete(socket);
    if (this.#clients.size === 0) this.#stopTimer();
  }

  #stopTimer(): void {
    if (this.#timer) clearInterval(this.#timer);
    this.#timer = null;
  }

  #input(data: string | Buffer): void {
    const event = parseInput(data);
    if (!event) return;
    if (event.type === "key") this.#scene.pressKey(event.key);
    else this.#scene.movePointer(event);
    if (this.now() - this.#paintedAtMs >= INPUT_INTERVAL_MS) this.#frame();
  }

  #frame(): void {
    this.#paintedAtMs = this.now();
    this.#scene.paint(new Date(this.#paintedAtMs));
    this.#markChanges();
    for (const [socket, client] of this.#clients) {
      if (socket.getBufferedAmount() > UNSENT_LIMIT_BYTES) continue;
      const frame = this.#tilesSince(client.seen);
      client.seen = this.#paints;
      if (frame) socket.sendBinary(frame);
    }
  }

  #markChanges(): void {
    const { rgb } = this.#scene.picture;
    this.#paints++;
    for (let tile = 0; tile < COLUMNS * ROWS; tile++) {
      if (rowsOf(tile).some((at) => differs(rgb, this.#last, at))) this.#changed[tile] = this.#paints;
    }
    this.#last.set(rgb);
  }

  #tilesSince(seen: number): Uint8Array<ArrayBuffer> | null {
    const tiles = [...this.#changed.keys()].filter((tile) => this.#changed[tile]! > seen);
    if (tiles.length === 0) return null;
    const frame = new Uint8Array(3 + tiles.length * (2 + TILE_BYTES));
    frame.set([1, tiles.length >> 8, tiles.length & 255]);
    let offset = 3;
    for (const tile of tiles) offset = this.#writeTile(frame, offset, tile);
    return frame;
  }

  #writeTile(frame: Uint8Array, offset: number, tile: number): number {
    frame.set([tile % COLUMNS, Math.floor(tile / COLUMNS)], offset);
    let at = offset + 2;
    for (const row of rowsOf(tile)) {
      frame.set(this.#last.subarray(row, row + TILE_WIDTH * 3), at);
      at += TILE_WIDTH * 3;
    }
    return at;
  }
}

/** Where the pixel rows of a tile start in the picture; computed once, as every frame asks for all of them. */
const TILE_ROWS = Array.from({ length: COLUMNS * ROWS }, (_, tile) => {
  const left = (tile % COLUMNS) * TILE_WIDTH;
  const top = Math.floor(tile / COLUMNS) * TILE_HEIGHT;
  return Array.from({ length: TILE_HEIGHT }, (_unused, row) => ((top + row) * SCENE_WIDTH + left) * 3);
});

function rowsOf(tile: number): readonly number[] {
  return TILE_ROWS[tile]!;
}

function differs(one: Uint8Array, other: Uint8Array, at: number): boolean {
  const end = at + TILE_WIDTH * 3;
  for (let index = at; index < end; index++) if (one[index] !== other[index]) return true;
  return false;
}

type Input =
  | { readonly type: "pointer"; readonly x: number; readonly y: number; readonly isDown: boolean }
  | { readonly type: "key"; readonly key: string };

function parseInput(data: string | Buffer): Input | null {
  try {
    const value = JSON.parse(String(data)) as Partial<Record<string, unknown>>;
    if (value["type"] === "key" && typeof value["key"] === "string") return { type: "key", key: value["key"] };
    const [x, y] = [Number(value["x"]), Number(value["y"])];
    const isInside = x >= 0 && x <= SCENE_WIDTH && y >= 0 && y <= SCENE_HEIGHT;
    return value["type"] === "pointer" && isInside ? { type: "pointer", x, y, isDown: value["isDown"] === true } : null;
  } catch {
    // Not JSON: input is advice, what cannot be read is left out.
    return null;
  }
}
