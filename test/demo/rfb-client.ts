// A VNC client for tests: what it says, as bytes, and what it made of the server's bytes. It understands raw rectangles.

import { NATIVE_FORMAT, PIXEL_FORMAT_BYTES, type PixelFormat, readPixelFormat, writePixelFormat } from "../../src/demo/rfb/pixel-format.ts";

/** The handshake as a client sends it when it is asked nothing. */
export const HANDSHAKE = Buffer.concat([Buffer.from("RFB 003.008\n"), Buffer.from([1]), Buffer.from([1])]);

export const say = {
  setPixelFormat: (format: PixelFormat) => Buffer.concat([Buffer.from([0, 0, 0, 0]), writePixelFormat(format)]),
  setEncodings: (...encodings: number[]) => {
    const bytes = Buffer.alloc(4 + encodings.length * 4);
    bytes.writeUInt8(2, 0);
    bytes.writeUInt16BE(encodings.length, 2);
    encodings.forEach((encoding, index) => bytes.writeInt32BE(encoding, 4 + index * 4));
    return bytes;
  },
  request: (isIncremental: boolean, x = 0, y = 0, width = 65_535, height = 65_535) => {
    const bytes = Buffer.alloc(10);
    bytes.set([3, isIncremental ? 1 : 0]);
    [x, y, width, height].forEach((value, index) => bytes.writeUInt16BE(value, 2 + index * 2));
    return bytes;
  },
  key: (keysym: number, isDown = true) => {
    const bytes = Buffer.alloc(8);
    bytes.set([4, isDown ? 1 : 0]);
    bytes.writeUInt32BE(keysym, 4);
    return bytes;
  },
  pointer: (x: number, y: number, buttons = 0) => {
    const bytes = Buffer.alloc(6);
    bytes.set([5, buttons]);
    bytes.writeUInt16BE(x, 2);
    bytes.writeUInt16BE(y, 4);
    return bytes;
  },
  cutText: (text: string, length = text.length) => {
    const bytes = Buffer.alloc(8);
    bytes.writeUInt8(6, 0);
    bytes.writeUInt32BE(length >>> 0, 4);
    return Buffer.concat([bytes, Buffer.from(text, "latin1")]);
  },
};

export type Rectangle = { readonly x: number; readonly y: number; readonly width: number; readonly height: number };

/** Give it every byte that the server sends. */
export class RfbClient {
  /** Updates so far, each as its rectangles. */
  readonly updates: Rectangle[][] = [];
  readonly cutTexts: string[] = [];
  /** Of ServerInit; null before. */
  screen: { readonly width: number; readonly height: number; readonly name: string; readonly format: PixelFormat } | null = null;
  /** Each pixel's value as it came. */
  pixels = new Uint32Array(0);
  #bytes = Buffer.alloc(0);
  #greetingBytes = "RFB 003.008\n".length + 2 + 4;
  #format = NATIVE_FORMAT;

  /** What comes from now on has this format. */
  expect(format: PixelFormat): void {
    this.#format = format;
  }

  receive(bytes: Uint8Array): void {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    while (this.#read()) { /* as long as there is a whole message */ }
  }

  /** Everything that came has been understood. */
  get isAtEnd(): boolean {
    return this.#bytes.length === 0;
  }

  colorAt(x: number, y: number): readonly [red: number, green: number, blue: number] {
    const { red, green, blue } = this.#format;
    const pixel = this.pixels[y * this.screen!.width + x]!;
    return [red, green, blue].map(({ max, shift }) => (pixel >>> shift) & max) as unknown as [number, number, number];
  }

  #read(): boolean {
    if (this.screen === null) return this.#readInit();
    if (this.#bytes.length === 0) return false;
    const type = this.#bytes.readUInt8(0);
    if (type === 3) return this.#readCutText();
    if (type !== 0) throw new Error(`the server sent a message ${type}`);
    return this.#readUpdate();
  }

  #readInit(): boolean {
    const bytes = this.#bytes.subarray(this.#greetingBytes);
    if (bytes.length < 24 || bytes.length < 24 + bytes.readUInt32BE(20)) return false;
    const nameEnd = 24 + bytes.readUInt32BE(20);
    const [width, height] = [bytes.readUInt16BE(0), bytes.readUInt16BE(2)];
    const format = readPixelFormat(bytes.subarray(4, 4 + PIXEL_FORMAT_BYTES));
    this.screen = { width, height, format, name: bytes.subarray(24, nameEnd).toString() };
    this.pixels = new Uint32Array(width * height);
    this.#bytes = bytes.subarray(nameEnd);
    return true;
  }

  #readCutText(): boolean {
    if (this.#bytes.length < 8 || this.#bytes.length < 8 + this.#bytes.readUInt32BE(4)) return false;
    const end = 8 + this.#bytes.readUInt32BE(4);
    this.cutTexts.push(this.#bytes.subarray(8, end).toString("latin1"));
    this.#bytes = this.#bytes.subarray(end);
    return true;
  }

  #readUpdate(): boolean {
    if (this.#bytes.length < 4) return false;
    const bytesPerPixel = this.#format.bitsPerPixel / 8;
    const rectangles: Array<Rectangle & { readonly at: number }> = [];
    let at = 4;
    for (let count = this.#bytes.readUInt16BE(2); count > 0; count--) {
      if (this.#bytes.length < at + 12) return false;
      const [x, y, width, height] = [0, 2, 4, 6].map((offset) => this.#bytes.readUInt16BE(at + offset)) as [number, number, number, number];
      if (this.#bytes.readInt32BE(at + 8) !== 0) throw new Error("not raw");
      at += 12;
      rectangles.push({ x, y, width, height, at });
      at += width * height * bytesPerPixel;
    }
    if (this.#bytes.length < at) return false;
    for (const rectangle of rectangles) this.#draw(rectangle, rectangle.at, bytesPerPixel);
    this.updates.push(rectangles.map(({ x, y, width, height }) => ({ x, y, width, height })));
    this.#bytes = this.#bytes.subarray(at);
    return true;
  }

  #draw({ x, y, width, height }: Rectangle, from: number, bytesPerPixel: number): void {
    let at = from;
    for (let row = y; row < y + height; row++) {
      for (let column = x; column < x + width; column++) {
        const pixel = this.#format.isBigEndian ? this.#bytes.readUIntBE(at, bytesPerPixel) : this.#bytes.readUIntLE(at, bytesPerPixel);
        this.pixels[row * this.screen!.width + column] = pixel;
        at += bytesPerPixel;
      }
    }
  }
}
