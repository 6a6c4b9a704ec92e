// Pictures of a screen, from whoever took them: the X server (xwd), a canvas, a screenshot. Always RGBA, 8 bits each, so that
// they can be compared byte by byte.

export type Picture = { readonly width: number; readonly height: number; readonly rgba: Uint8Array };

/** A pixel as `#rrggbb`. */
export function colorAt(picture: Picture, x: number, y: number): string {
  const at = (y * picture.width + x) * 4;
  return `#${Buffer.from(picture.rgba.subarray(at, at + 3)).toString("hex")}`;
}

export function countOf(picture: Picture, color: string): number {
  const wanted = Buffer.from(`${color.slice(1)}ff`, "hex").readUInt32LE(0);
  const pixels = new Uint32Array(picture.rgba.buffer, picture.rgba.byteOffset, picture.width * picture.height);
  return pixels.reduce((count, pixel) => count + Number(pixel === wanted), 0);
}

/** How two pictures differ, in words; "" when they are the same, pixel for pixel. */
export function difference(a: Picture, b: Picture): string {
  if (a.width !== b.width || a.height !== b.height) return `${a.width}x${a.height} and ${b.width}x${b.height}`;
  if (Buffer.compare(a.rgba, b.rgba) === 0) return "";
  const all = Array.from({ length: a.width * a.height }, (_, index) => index);
  const pixels = all.filter((index) => colorAt(a, index, 0) !== colorAt(b, index, 0));
  const first = pixels[0] ?? 0;
  const [x, y] = [first % a.width, Math.floor(first / a.width)];
  return `${pixels.length} pixels, the first at ${x},${y}: ${colorAt(a, x, y)} and ${colorAt(b, x, y)}`;
}

/** An X window dump of a true-colour screen (XWDFile.h): 25 numbers of 32 bits, the window's name, colours, then the pixels. */
export function readXwd(dump: Buffer): Picture {
  const field = (index: number): number => dump.readUInt32BE(index * 4);
  const [headerBytes, width, height] = [field(0), field(4), field(5)];
  const [bitsPerPixel, bytesPerLine, colors] = [field(11), field(12), field(19)];
  const isBgrx = field(7) === 0 && bitsPerPixel === 32 && field(14) === 0xff0000 && field(16) === 0xff;
  if (!isBgrx) throw new Error(`unexpected pixel format: ${bitsPerPixel} bits, red mask ${field(14).toString(16)}`);
  const rgba = new Uint8Array(width * height * 4);
  const start = headerBytes + colors * 12;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const from = start + y * bytesPerLine + x * 4;
      rgba.set([dump[from + 2]!, dump[from + 1]!, dump[from]!, 255], (y * width + x) * 4);
    }
  }
  return { width: width, height: height, rgba };
}
