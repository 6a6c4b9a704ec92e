// What a demo desktop shows: a landscape in its owner's colours, balloons that drift, and a window with the time and
// what was typed. The pointer leaves ink while its button is down; Escape wipes it off. Time comes in as an argument.

import { LINE_HEIGHT, Picture, type Color } from "./picture.ts";

export const SCENE_WIDTH = 640;
export const SCENE_HEIGHT = 400;
/** Characters of typed text that are kept and shown. */
const TYPED_LIMIT = 44;

type Palette = { readonly sky: readonly [Color, Color]; readonly ridges: readonly Color[]; readonly accent: Color };

const DUSK: Palette = {
  sky: [[38, 32, 84], [246, 148, 112]],
  ridges: [[126, 84, 124], [84, 58, 104], [44, 34, 72]],
  accent: [255, 209, 128],
};
const LAGOON: Palette = {
  sky: [[8, 32, 62], [96, 206, 190]],
  ridges: [[44, 124, 136], [24, 84, 104], [12, 48, 68]],
  accent: [152, 240, 214],
};
const BALLOONS: readonly Color[] = [[255, 122, 122], [255, 196, 92], [132, 220, 160], [120, 178, 255], [206, 150, 255]];
const WHITE: Color = [255, 255, 255];
const PANEL: Color = [14, 16, 28];

export type Pointer = { readonly x: number; readonly y: number; readonly isDown: boolean };

export class Scene {
  readonly picture = new Picture(SCENE_WIDTH, SCENE_HEIGHT);
  readonly #palette: Palette;
  readonly #landscape: Picture;
  /** The landscape and the ink on it. */
  readonly #canvas = new Picture(SCENE_WIDTH, SCENE_HEIGHT);
  #pointer: Pointer | null = null;
  #typed = "";

  constructor(private readonly owner: string, private readonly address: string) {
    this.#palette = owner === "bob" ? LAGOON : DUSK;
    this.#landscape = paintLandscape(this.#palette);
    this.#canvas.copyFrom(this.#landscape);
  }

  movePointer(pointer: Pointer): void {
    const last = this.#pointer;
    if (pointer.isDown) {
      const from = last?.isDown ? last : pointer;
      this.#canvas.line(from.x, from.y, pointer.x, pointer.y, 2.5, this.#palette.accent);
    }
    this.#pointer = pointer;
  }

  /** One key by its DOM name: a character, Backspace, Enter, Escape; others are ignored. */
  pressKey(key: string): void {
    if (key === "Escape") this.#canvas.copyFrom(this.#landscape);
    if (key === "Escape" || key === "Enter") this.#typed = "";
    else if (key === "Backspace") this.#typed = this.#typed.slice(0, -1);
    else if ([...key].length === 1) this.#typed = (this.#typed + key).slice(-TYPED_LIMIT);
  }

  paint(now: Date): void {
    this.picture.copyFrom(this.#canvas);
    this.#paintBalloons(now.getTime() / 1000);
    this.#paintWindow(now);
    if (this.#pointer) this.#paintPointer(this.#pointer);
  }

  #paintBalloons(seconds: number): void {
    BALLOONS.forEach((color, index) => {
      const x = triangleWave(seconds * (16 + index * 7) + index * 170, SCENE_WIDTH - 60) + 30;
      const y = 150 + index * 26 + Math.sin(seconds * (0.5 + index * 0.13) + index) * 30;
      const radius = 13 + index * 2;
      this.picture.disc(x, y, radius, color, 0.92);
      this.picture.disc(x - radius / 3, y - radius / 3, radius / 4, WHITE, 0.75);
    });
  }

  #paintWindow(now: Date): void {
    const { picture } = this;
    const [left, top, width, height] = [20, 20, 310, 84];
    picture.rectangle(left, top, width, height, PANEL, 0.72);
    picture.rectangle(left, top, width, 16, this.#palette.accent, 0.85);
    picture.text(left + 7, top + 5, `${this.owner}'s desktop`, PANEL);
    picture.text(left + 10, top + 26, now.toISOString().slice(11, 19), WHITE, 2);
    picture.text(left + 120, top + 30, `UTC ${now.toISOString().slice(0, 10)}`, this.#palette.accent);
    picture.text(left + 10, top + 50, `pod ${this.address}`, this.#palette.accent);
    const cursor = now.getMilliseconds() < 500 ? "_" : " ";
    picture.text(left + 10, top + 50 + LINE_HEIGHT + 4, `> ${this.#typed}${cursor}`, WHITE);
  }

  #paintPointer({ x, y, isDown }: Pointer): void {
    this.picture.disc(x, y, isDown ? 7 : 5, this.#palette.accent, 0.5);
    this.picture.disc(x, y, 2.5, WHITE);
  }
}

function paintLandscape(palette: Palette): Picture {
  const picture = new Picture(SCENE_WIDTH, SCENE_HEIGHT);
  const [high, low] = palette.sky;
  for (let y = 0; y < SCENE_HEIGHT; y++) {
    picture.rectangle(0, y, SCENE_WIDTH, 1, mix(high, low, Math.min(1, y / 300)));
  }
  for (let radius = 90; radius > 40; radius -= 10) picture.disc(480, 150, radius, palette.accent, 0.06);
  picture.disc(480, 150, 40, palette.accent, 0.95);
  palette.ridges.forEach((color, index) => paintRidge(picture, color, index));
  return picture;
}

function paintRidge(picture: Picture, color: Color, index: number): void {
  for (let x = 0; x < SCENE_WIDTH; x++) {
    const wave = Math.sin(x / (94 - index * 22) + index * 2) * 26 + Math.sin(x / 31 + index * 5) * 9;
    const top = Math.round(240 + index * 46 + wave);
    picture.rectangle(x, top, 1, SCENE_HEIGHT - top, color);
  }
}

function mix(from: Color, to: Color, part: number): Color {
  return [0, 1, 2].map((channel) => from[channel]! + (to[channel]! - from[channel]!) * part) as unknown as Color;
}

/** Runs from 0 to `span` and back again as `value` grows. */
function triangleWave(value: number, span: number): number {
  const phase = value % (span * 2);
  return phase < span ? phase : span * 2 - phase;
}
