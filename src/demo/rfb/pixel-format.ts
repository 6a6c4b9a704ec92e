// Pixel formats: how a client wants its pixels, and the way there from the RGB bytes of a picture. True colour with 8, 16 or
// 32 bits; colour maps are refused. RFC 6143 section 7.4.

import { RfbError } from "./reading.ts";

export const PIXEL_FORMAT_BYTES = 16;

export type Channel = { readonly max: number; readonly shift: number };

export type PixelFormat = {
  readonly bitsPerPixel: 8 | 16 | 32;
  readonly depth: number;
  readonly isBigEndian: boolean;
  readonly red: Channel;
  readonly green: Channel;
  readonly blue: Channel;
};

/** What the machine has by itself: 32 bits, blue in the lowest byte, as most display adapters. */
export const NATIVE_FORMAT: PixelFormat = {
  bitsPerPixel: 32, depth: 24, isBigEndian: false,
  red: { max: 255, shift: 16 }, green: { max: 255, shift: 8 }, blue: { max: 255, shift: 0 },
};

/** @param bytes {@link PIXEL_FORMAT_BYTES} of them @throws RfbError for anything but true colour that fits its pixel */
export function readPixelFormat(bytes: Buffer): PixelFormat {
  const bitsPerPixel = bytes.readUInt8(0);
  if (bitsPerPixel !== 8 && bitsPerPixel !== 16 && bitsPerPixel !== 32) throw new RfbError(`no pixels of ${bitsPerPixel} bits`);
  if (bytes.readUInt8(3) === 0) throw new RfbError("no colour maps, only true colour");
  const channel = (index: number): Channel => readChannel(bytes.readUInt16BE(4 + index * 2), bytes.readUInt8(10 + index), bitsPerPixel);
  return {
    bitsPerPixel, depth: bytes.readUInt8(1), isBigEndian: bytes.readUInt8(2) !== 0,
    red: channel(0), green: channel(1), blue: channel(2),
  };
}

/** "The -max values must be 2^N - 1"; and all N bits have to be in the pixel. */
function readChannel(max: number, shift: number, bitsPerPixel: number): Channel {
  const bits = Math.log2(max + 1);
  if (max === 0 || !Number.isInteger(bits)) throw new RfbError(`no colour has a maximum of ${max}`);
  if (shift + bits > bitsPerPixel) throw new RfbError(`a colour of ${bits} bits at ${shift} leaves a pixel of ${bitsPerPixel}`);
  return { max, shift };
}

export function writePixelFormat({ bitsPerPixel, depth, isBigEndian, red, green, blue }: PixelFormat): Buffer {
  const bytes = Buffer.alloc(PIXEL_FORMAT_BYTES);
  bytes.set([bitsPerPixel, depth, isBigEndian ? 1 : 0, 1]);
  [red, green, blue].forEach(({ max, shift }, index) => {
    bytes.writeUInt16BE(max, 4 + index * 2);
    bytes.writeUInt8(shift, 10 + index);
  });
  return bytes;
}

/** Turns RGB bytes into pixels of one format, by a table a channel. */
export class PixelWriter {
  readonly bytesPerPixel: number;
  readonly #tables: ReadonlyArray<Uint32Array>;

  constructor(format: PixelFormat) {
    this.bytesPerPixel = format.bitsPerPixel / 8;
    this.#tables = [format.red, format.green, format.blue].map((channel) => channelTable(channel, format));
  }

  /** Writes `count` pixels. @returns where the next one goes in `to` */
  write(to: Uint8Array, at: number, rgb: Uint8Array, from: number, count: number): number {
    const [red, green, blue] = this.#tables as [Uint32Array, Uint32Array, Uint32Array];
    let offset = at;
    for (let index = from; index < from + count * 3; index += 3) {
      let pixel = red[rgb[index]!]! | green[rgb[index + 1]!]! | blue[rgb[index + 2]!]!;
      for (let byte = 0; byte < this.bytesPerPixel; byte++) {
        to[offset++] = pixel;
        pixel >>>= 8;
      }
    }
    return offset;
  }
}

/** What each intensity adds to a pixel; the byte that goes first on the wire is the lowest one. */
function channelTable({ max, shift }: Channel, { bitsPerPixel, isBigEndian }: PixelFormat): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, intensity) => {
    const pixel = (Math.round((intensity * max) / 255) << shift) >>> 0;
    if (!isBigEndian || bitsPerPixel === 8) return pixel;
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(pixel);
    return bytes.readUIntLE(4 - bitsPerPixel / 8, bitsPerPixel / 8);
  });
}
