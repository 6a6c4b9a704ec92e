// The demo pod's screen, in the place of VNC: a WebSocket that sends the tiles of the picture that changed since this
// client's last frame. A client that reads slowly gets fewer frames, never older ones, and holds no memory here.
//
// To the client: first a text frame {"type":"hello", width, height, tileWidth, tileHeight, owner, address}; then
// binary frames: u8 1, u16 count (big-endian), and per tile u8 column, u8 row, tileWidth x tileHeight RGB pixels.
// From the client: text frames {"type":"pointer", x, y, isDown} and {"type":"key", key}.

import { encodePng } from "./picture.ts";
import { SCENE_HEIGHT, SCENE_WIDTH, Scene } from "./scene.ts";
import { refuse, type PodService, type Session, type Socket } from "./service.ts";
import { Tiles } from "./tiles.ts";

export const TILE_WIDTH = 32;
export const TILE_HEIGHT = 20;
const TILE_BYTES = TILE_WIDTH * TILE_HEIGHT * 3;
const FRAME_INTERVAL_MS = 100;
/** Input is answered sooner than the next frame is due, but not more often than this. */
const INPUT_INTERVAL_MS = 33;
/** A client with this much still unsent skips a frame; bytes. */
const UNSENT_LIMIT_BYTES = 1024 ** 2;

export class Screen {
  readonly #scene: Scene;
  readonly #tiles: Tiles;
  readonly #clients = new Map<Socket, { seen: number }>();
  #timer: Timer | null = null;
  #paintedAtMs = 0;

  constructor(
    private readonly owner: string,
    private readonly address: string,
    private readonly now: () => number = Date.now,
  ) {
    this.#scene = new Scene(owner, address);
    this.#tiles = new Tiles(this.#scene.picture, TILE_WIDTH, TILE_HEIGHT);
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
    this.#tiles.look(this.#scene.picture);
    for (const [socket, client] of this.#clients) {
      if (socket.getBufferedAmount() > UNSENT_LIMIT_BYTES) continue;
      const frame = this.#tilesSince(client.seen);
      client.seen = this.#tiles.looks;
      if (frame) socket.sendBinary(frame);
    }
  }

  #tilesSince(seen: number): Uint8Array<ArrayBuffer> | null {
    const { changed } = this.#tiles;
    const tiles = [...changed.keys()].filter((tile) => changed[tile]! > seen);
    if (tiles.length === 0) return null;
    const frame = new Uint8Array(3 + tiles.length * (2 + TILE_BYTES));
    frame.set([1, tiles.length >> 8, tiles.length & 255]);
    let offset = 3;
    for (const tile of tiles) offset = this.#writeTile(frame, offset, tile);
    return frame;
  }

  #writeTile(frame: Uint8Array, offset: number, tile: number): number {
    const { columns, rgb } = this.#tiles;
    frame.set([tile % columns, Math.floor(tile / columns)], offset);
    let at = offset + 2;
    for (const row of this.#tiles.rowsOf(tile)) {
      frame.set(rgb.subarray(row, row + TILE_WIDTH * 3), at);
      at += TILE_WIDTH * 3;
    }
    return at;
  }
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
