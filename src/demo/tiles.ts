// Which parts of a picture changed, and since when: the picture is cut into equal tiles, and each remembers the look that
// found it changed last. A viewer compares that with what it was sent; a slow one gets fewer frames, never older ones.

import type { Picture } from "./picture.ts";

export class Tiles {
  readonly columns: number;
  readonly rows: number;
  /** RGB pixels as of the last look. */
  readonly rgb: Uint8Array;
  /** The look that found each tile changed last; 1 for all of them at the start, so that "0: nothing seen" is less. */
  readonly changed: Uint32Array;
  #looks = 1;
  /** Where the pixel rows of each tile start; computed once, as every look asks for all of them. */
  readonly #rowStarts: ReadonlyArray<readonly number[]>;

  /** The tiles must fill the picture. */
  constructor(picture: Picture, readonly tileWidth: number, readonly tileHeight: number) {
    this.columns = picture.width / tileWidth;
    this.rows = picture.height / tileHeight;
    this.rgb = new Uint8Array(picture.rgb.length);
    this.changed = new Uint32Array(this.columns * this.rows).fill(1);
    this.#rowStarts = Array.from(this.changed, (_, tile) => {
      const left = (tile % this.columns) * tileWidth;
      const top = Math.floor(tile / this.columns) * tileHeight;
      return Array.from({ length: tileHeight }, (_unused, row) => ((top + row) * picture.width + left) * 3);
    });
  }

  get looks(): number {
    return this.#looks;
  }

  /** Offsets of the tile's pixel rows in {@link rgb}. */
  rowsOf(tile: number): readonly number[] {
    return this.#rowStarts[tile]!;
  }

  /** Notes what changed since the last look. */
  look({ rgb }: Picture): void {
    this.#looks++;
    for (let tile = 0; tile < this.changed.length; tile++) {
      if (this.rowsOf(tile).some((at) => this.#differs(rgb, at))) this.changed[tile] = this.#looks;
    }
    this.rgb.set(rgb);
  }

  #differs(rgb: Uint8Array, at: number): boolean {
    const end = at + this.tileWidth * 3;
    for (let index = at; index < end; index++) if (rgb[index] !== this.rgb[index]) return true;
    return false;
  }
}
