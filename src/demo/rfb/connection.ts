// One VNC client of a machine: RFB 3.8 over any byte stream, RFC 6143. It has no socket and no timer: bytes come in by
// `receive`, go out by the peer's `send`, and `update` is called when the picture may have changed. Pixels are sent raw.

import type { Tiles } from "../tiles.ts";
import { type ClientMessage, readClientMessage, type Region } from "./client-message.ts";
import { NATIVE_FORMAT, PixelWriter, writePixelFormat } from "./pixel-format.ts";
import { type Reading, RfbError, StreamReader } from "./reading.ts";

/** The machine behind the screen. */
export type RfbHost = {
  readonly name: string;
  readonly width: number;
  readonly height: number;
  readonly tiles: Tiles;
  key(keysym: number, isDown: boolean): void;
  /** @param buttons bit 0 is the left one; x and y are inside the screen */
  pointer(x: number, y: number, buttons: number): void;
  cutText(text: string): void;
};

/** The client's end of the byte stream. */
export type RfbPeer = {
  send(bytes: Uint8Array<ArrayBuffer>): void;
  /** It has not taken what it was sent: no further update for now. */
  isBusy(): boolean;
};

/** RFC 6143 section 7.1.1. */
const VERSION = "RFB 003.008\n";
/** RFC 6143 section 7.1.2: the only type that asks for nothing. The router has checked the token. */
const SECURITY_NONE = 1;
const ENCODING_RAW = 0;

export class RfbConnection {
  readonly #reader: StreamReader;
  #pixels = new PixelWriter(NATIVE_FORMAT);
  /** Which look at each tile the client has. */
  readonly #seen: Uint32Array;
  /** What the client waits for, of all its unanswered requests. */
  #requested: Region | null = null;
  #isReady = false;

  constructor(private readonly host: RfbHost, private readonly peer: RfbPeer) {
    this.#seen = new Uint32Array(host.tiles.changed.length);
    peer.send(Buffer.from(VERSION));
    this.#reader = new StreamReader(this.#converse());
  }

  /** @throws RfbError when the client breaks the protocol; the connection has to be closed then */
  receive(bytes: Uint8Array): void {
    this.#reader.push(bytes);
  }

  /** Answers the client's request, if it has one and there is something new; else it goes on waiting. */
  update(): void {
    if (this.#requested === null || this.peer.isBusy()) return;
    const rows = this.#changedRuns(this.#requested);
    if (rows.length === 0) return;
    this.#requested = null;
    const head = Buffer.alloc(4);
    head.writeUInt16BE(rows.reduce((count, runs) => count + runs.length, 0), 2);
    this.peer.send(head);
    // A piece a row of tiles: the whole screen in one would be megabytes at once.
    for (const runs of rows) this.peer.send(Buffer.concat(runs.map((run) => this.#rectangle(run))));
  }

  /** RFC 6143 section 7.6.4: the machine's clipboard is now this; what is not Latin-1 becomes a question mark. */
  sendCutText(text: string): void {
    if (!this.#isReady) return;
    const latin1 = Buffer.from(text.replace(/[^\0-\xff]/gu, "?"), "latin1");
    const head = Buffer.alloc(8);
    head.writeUInt8(3, 0);
    head.writeUInt32BE(latin1.length, 4);
    this.peer.send(Buffer.concat([head, latin1]));
  }

  *#converse(): Reading<never> {
    const version = (yield VERSION.length).toString("latin1");
    if (version !== VERSION) throw new RfbError(`unknown version ${JSON.stringify(version)}`);
    this.peer.send(Buffer.from([1, SECURITY_NONE]));
    const security = (yield 1).readUInt8();
    if (security !== SECURITY_NONE) {
      this.#refuse("that security type was not offered");
      throw new RfbError(`unknown security type ${security}`);
    }
    this.peer.send(Buffer.alloc(4));
    yield 1; // ClientInit: whether others may stay is not the client's choice here.
    this.peer.send(serverInit(this.host));
    this.#isReady = true;
    for (;;) this.#obey(yield* readClientMessage());
  }

  /** RFC 6143 section 7.1.3: a SecurityResult with its reason. */
  #refuse(reason: string): void {
    const result = Buffer.alloc(8);
    result.writeUInt32BE(1, 0);
    result.writeUInt32BE(reason.length, 4);
    this.peer.send(Buffer.concat([result, Buffer.from(reason)]));
  }

  #obey(message: ClientMessage): void {
    const { host } = this;
    switch (message.kind) {
      case "setPixelFormat": this.#pixels = new PixelWriter(message.format); break;
      // Raw is understood by every client, RFC 6143 section 7.7.
      case "setEncodings": break;
      case "updateRequest": this.#request(message); break;
      case "key": host.key(message.keysym, message.isDown); break;
      case "pointer": host.pointer(Math.min(message.x, host.width - 1), Math.min(message.y, host.height - 1), message.buttons); break;
      case "cutText": host.cutText(message.text); break;
    }
  }

  #request({ isIncremental, region }: Extract<ClientMessage, { kind: "updateRequest" }>): void {
    const clipped = clip(region, this.host);
    if (clipped === null) return;
    if (!isIncremental) for (const tile of this.#tilesOf(clipped)) this.#seen[tile] = 0;
    this.#requested = this.#requested === null ? clipped : around(this.#requested, clipped);
    this.update();
  }

  /** The tiles that have a part in the region, row by row. */
  *#tilesOf({ x, y, width, height }: Region): Generator<number> {
    const { columns, tileWidth, tileHeight } = this.host.tiles;
    for (let row = Math.floor(y / tileHeight); row * tileHeight < y + height; row++) {
      for (let column = Math.floor(x / tileWidth); column * tileWidth < x + width; column++) yield row * columns + column;
    }
  }

  /**
   * New tiles in the region, neighbours joined, an array for each row of tiles. Tiles are sent whole, also beyond the edges of
   * the region: a client has to take whatever an update brings (RFC 6143 section 7.6.1).
   */
  #changedRuns(region: Region): Run[][] {
    const { changed, columns } = this.host.tiles;
    const rows: Run[][] = [];
    let last: Run | null = null;
    for (const tile of this.#tilesOf(region)) {
      if (changed[tile]! <= this.#seen[tile]!) continue;
      this.#seen[tile] = changed[tile]!;
      const isSameRow: boolean = last !== null && Math.floor(last.tile / columns) === Math.floor(tile / columns);
      if (last !== null && isSameRow && last.tile + last.count === tile) {
        last.count++;
        continue;
      }
      last = { tile, count: 1 } as Run;
      if (isSameRow) rows.at(-1)!.push(last);
      else rows.push([last]);
    }
    return rows;
  }

  /** RFC 6143 sections 7.6.1 and 7.7.1. */
  #rectangle({ tile, count }: Run): Buffer<ArrayBuffer> {
    const { tiles } = this.host;
    const width = count * tiles.tileWidth;
    const bytes = Buffer.alloc(12 + width * tiles.tileHeight * this.#pixels.bytesPerPixel);
    bytes.writeUInt16BE((tile % tiles.columns) * tiles.tileWidth, 0);
    bytes.writeUInt16BE(Math.floor(tile / tiles.columns) * tiles.tileHeight, 2);
    bytes.writeUInt16BE(width, 4);
    bytes.writeUInt16BE(tiles.tileHeight, 6);
    bytes.writeInt32BE(ENCODING_RAW, 8);
    let at = 12;
    for (const row of tiles.rowsOf(tile)) at = this.#pixels.write(bytes, at, tiles.rgb, row, width);
    return bytes;
  }
}

/** Tiles beside one another. */
type Run = { readonly tile: number; count: number };

/** RFC 6143 section 7.3.2. */
function serverInit({ name, width, height }: RfbHost): Buffer<ArrayBuffer> {
  const size = Buffer.alloc(4);
  size.writeUInt16BE(width, 0);
  size.writeUInt16BE(height, 2);
  const nameBytes = Buffer.from(name);
  const nameLength = Buffer.alloc(4);
  nameLength.writeUInt32BE(nameBytes.length);
  return Buffer.concat([size, writePixelFormat(NATIVE_FORMAT), nameLength, nameBytes]);
}

/** The part that is on the screen; null when there is none. */
function clip({ x, y, width, height }: Region, screen: { readonly width: number; readonly height: number }): Region | null {
  const clipped = { x, y, width: Math.min(width, screen.width - x), height: Math.min(height, screen.height - y) };
  return clipped.width > 0 && clipped.height > 0 ? clipped : null;
}

/** The smallest region that holds both. */
function around(one: Region, other: Region): Region {
  const [x, y] = [Math.min(one.x, other.x), Math.min(one.y, other.y)];
  const right = Math.max(one.x + one.width, other.x + other.width);
  const bottom = Math.max(one.y + one.height, other.y + other.height);
  return { x, y, width: right - x, height: bottom - y };
}
