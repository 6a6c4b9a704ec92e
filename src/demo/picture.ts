// A picture is a block of RGB pixels with the few drawing steps that the demo desktop needs. It knows nothing of
// sockets or time. Everything is clipped to the picture: no coordinate is wrong, it is only out of sight.

import { crc32, deflateSync } from "node:zlib";
import { descent, GLYPH_HEIGHT, GLYPH_WIDTH, glyphRows } from "./font.ts";

export type Color = readonly [red: number, green: number, blue: number];

export class Picture {
  /** Three bytes a pixel, row by row from the top. */
  readonly rgb: Uint8Array;

  constructor(readonly width: number, readonly height: number) {
    this.rgb = new Uint8Array(width * height * 3);
  }

  copyFrom(other: Picture): void {
    this.rgb.set(other.rgb);
  }

  /** Mixes `color` over one pixel; `opacity` 0-1. */
  blend(x: number, y: number, color: Color, opacity: number): void {
    if (x < 0 || y < 0 || x >= this.width || y >= this.height) return;
    const at = (y * this.width + x) * 3;
    for (let channel = 0; channel < 3; channel++) {
      const old = this.rgb[at + channel]!;
      this.rgb[at + channel] = old + (color[channel]! - old) * opacity;
    }
  }

  rectangle(left: number, top: number, width: number, height: number, color: Color, opacity = 1): void {
    for (let y = top; y < top + height; y++) {
      for (let x = left; x < left + width; x++) this.blend(x, y, color, opacity);
    }
  }

  /** A filled circle with a soft edge of one pixel. */
  disc(centerX: number, centerY: number, radius: number, color: Color, opacity = 1): void {
    for (let y = Math.floor(centerY - radius); y <= centerY + radius; y++) {
      for (let x = Math.floor(centerX - radius); x <= centerX + radius; x++) {
        const edge = radius - Math.hypot(x - centerX, y - centerY) + 0.5;
        if (edge > 0) this.blend(x, y, color, opacity * Math.min(1, edge));
      }
    }
  }

  /** A stroke of round dots, close enough to look like a line. */
  line(fromX: number, fromY: number, toX: number, toY: number, radius: number, color: Color): void {
    const steps = Math.max(1, Math.ceil(Math.hypot(toX - fromX, toY - fromY)));
    for (let step = 0; step <= steps; step++) {
      const part = step / steps;
      this.disc(fromX + (toX - fromX) * part, fromY + (toY - fromY) * part, radius, color);
    }
  }

  text(left: number, top: number, text: string, color: Color, scale = 1): void {
    let x = left;
    for (const character of text) {
      this.#glyph(x, top + descent(character) * scale, character, color, scale);
      x += (GLYPH_WIDTH + 1) * scale;
    }
  }

  #glyph(left: number, top: number, character: string, color: Color, scale: number): void {
    glyphRows(character).forEach((bits, row) => {
      for (let column = 0; column < GLYPH_WIDTH; column++) {
        const isSet = bits & (1 << (GLYPH_WIDTH - 1 - column));
        if (isSet) this.rectangle(left + column * scale, top + row * scale, scale, scale, color);
      }
    });
  }
}

/** Height of a line of text, pixels. */
export const LINE_HEIGHT = GLYPH_HEIGHT + 4;

const PNG_SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

/** The picture as a PNG file: 8 bits, RGB, no filter. */
export function encodePng(picture: Picture): Buffer<ArrayBuffer> {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(picture.width, 0);
  header.writeUInt32BE(picture.height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const pixels = deflateSync(scanlines(picture));
  return Buffer.concat([PNG_SIGNATURE, chunk("IHDR", header), chunk("IDAT", pixels), chunk("IEND", Buffer.alloc(0))]);
}

function scanlines(picture: Picture): Buffer {
  const stride = picture.width * 3;
  const lines = Buffer.alloc((stride + 1) * picture.height);
  for (let row = 0; row < picture.height; row++) {
    // PNG section 9: every line starts with its filter type; 0 is none.
    lines.set(picture.rgb.subarray(row * stride, (row + 1) * stride), row * (stride + 1) + 1);
  }
  return lines;
}

function chunk(type: string, data: Buffer): Buffer {
  const framed = Buffer.alloc(data.length + 12);
  framed.writeUInt32BE(data.length, 0);
  framed.write(type, 4, "latin1");
  framed.set(data, 8);
  framed.writeUInt32BE(crc32(framed.subarray(4, data.length + 8)), data.length + 8);
  return framed;
}
