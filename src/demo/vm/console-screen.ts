// The picture of a demo machine's console: a bar with its name, a clock and a graph that never stands still, and the letters
// of a text console below. The pointer is a bright cell, as on a text console. Time comes in as an argument.

import { GLYPH_HEIGHT, GLYPH_WIDTH } from "../font.ts";
import { type Color, Picture } from "../picture.ts";
import type { Ink, TextGrid } from "./text-grid.ts";

export const CONSOLE_WIDTH = 960;
export const CONSOLE_HEIGHT = 600;
/** Letters: their size against the font's, and the room that each has. */
export const TEXT_SCALE = 2;
export const CELL_WIDTH = (GLYPH_WIDTH + 1) * TEXT_SCALE;
export const CELL_HEIGHT = (GLYPH_HEIGHT + 3) * TEXT_SCALE;
/** Where the text begins. */
export const TEXT_LEFT = 24;
export const TEXT_TOP = 96;
export const TEXT_COLUMNS = (CONSOLE_WIDTH - 2 * TEXT_LEFT) / CELL_WIDTH;
export const TEXT_ROWS = Math.floor((CONSOLE_HEIGHT - TEXT_TOP) / CELL_HEIGHT);

export type Look = { readonly back: Color; readonly bar: Color; readonly accent: Color };

const BAR_HEIGHT = 80;
/** Dots above a letter in its cell. */
export const LETTER_TOP = 2;
/** A letter stands at the left edge of its cell, and this far inside of a block. */
const BLOCK_MARGIN = 1;
const INKS: Readonly<Record<Exclude<Ink, "accent">, Color>> = {
  text: [226, 230, 240], dim: [126, 134, 158], good: [110, 231, 168], warn: [251, 191, 77], bad: [251, 123, 141],
};

/** Bars of the graph; one more every {@link GRAPH_STEP_MS}. */
const GRAPH = { left: 612, top: 16, height: 48, bars: 54, pitch: 6, barWidth: 4 };
const GRAPH_STEP_MS = 100;
const BLINK_MS = 1000;

export class ConsoleScreen {
  readonly picture = new Picture(CONSOLE_WIDTH, CONSOLE_HEIGHT);
  /** What each row showed when it was painted. */
  readonly #painted: string[] = [];
  #pointer: { readonly row: number; readonly column: number } | null = null;

  constructor(private readonly name: string, private readonly look: Look, private readonly grid: TextGrid) {
    this.#paintStill();
  }

  movePointer(x: number, y: number): void {
    const [column, row] = [Math.floor((x - TEXT_LEFT) / CELL_WIDTH), Math.floor((y - TEXT_TOP) / CELL_HEIGHT)];
    const isOnText = column >= 0 && column < TEXT_COLUMNS && row >= 0 && row < TEXT_ROWS;
    this.#pointer = isOnText ? { row, column } : null;
  }

  paint(now: Date): void {
    this.#paintClock(now);
    this.#paintGraph(Math.floor(now.getTime() / GRAPH_STEP_MS));
    const isBlinkOn = now.getTime() % BLINK_MS < BLINK_MS / 2;
    for (let row = 0; row < TEXT_ROWS; row++) this.#paintRow(row, isBlinkOn);
  }

  /** What never changes. */
  #paintStill(): void {
    const { picture, look } = this;
    picture.rectangle(0, 0, CONSOLE_WIDTH, CONSOLE_HEIGHT, look.back);
    picture.rectangle(0, 0, CONSOLE_WIDTH, BAR_HEIGHT, look.bar);
    picture.rectangle(0, BAR_HEIGHT, CONSOLE_WIDTH, 2, look.accent);
    picture.rectangle(TEXT_LEFT, 16, 48, 48, look.accent);
    picture.text(TEXT_LEFT + 12, 24, this.name.slice(0, 1).toUpperCase(), look.bar, 5);
    picture.text(TEXT_LEFT + 64, 18, this.name, INKS.text, 3);
    picture.text(TEXT_LEFT + 64, 48, "demo virtual machine", INKS.dim, 2);
  }

  #paintClock(now: Date): void {
    const [left, width] = [440, 160];
    this.picture.rectangle(left, 16, width, 50, this.look.bar);
    this.picture.text(left, 18, now.toISOString().slice(11, 19), INKS.text, 3);
    this.picture.text(left, 48, "UTC", INKS.dim, 2);
  }

  #paintGraph(step: number): void {
    const { left, top, height, bars, pitch, barWidth } = GRAPH;
    this.picture.rectangle(left, top, bars * pitch, height, this.look.bar);
    for (let bar = 0; bar < bars; bar++) {
      const barHeight = Math.round(load(step + bar) * (height - 2)) + 2;
      const opacity = 0.35 + (0.65 * bar) / bars;
      this.picture.rectangle(left + bar * pitch, top + height - barHeight, barWidth, barHeight, this.look.accent, opacity);
    }
  }

  #paintRow(row: number, isBlinkOn: boolean): void {
    const { grid } = this;
    const cursor = isBlinkOn && grid.cursor.row === row ? grid.cursor.column : -1;
    const pointer = this.#pointer?.row === row ? this.#pointer.column : -1;
    const shown = `${grid.revision(row)} ${cursor} ${pointer}`;
    if (this.#painted[row] === shown) return;
    this.#painted[row] = shown;
    const top = TEXT_TOP + row * CELL_HEIGHT;
    this.picture.rectangle(TEXT_LEFT - BLOCK_MARGIN, top, TEXT_COLUMNS * CELL_WIDTH, CELL_HEIGHT, this.look.back);
    if (cursor >= 0) this.#paintBlock(row, cursor, INKS.text);
    if (pointer >= 0) this.#paintBlock(row, pointer, this.look.accent);
    grid.line(row).forEach(({ character, ink }, column) => {
      const color = column === pointer ? this.look.back : this.#color(ink);
      this.picture.text(TEXT_LEFT + column * CELL_WIDTH, top + LETTER_TOP, character, color, TEXT_SCALE);
    });
  }

  /** A cell that is lit; of a full line's cursor nothing is in sight. */
  #paintBlock(row: number, column: number, color: Color): void {
    if (column >= TEXT_COLUMNS) return;
    this.picture.rectangle(TEXT_LEFT + column * CELL_WIDTH - BLOCK_MARGIN, TEXT_TOP + row * CELL_HEIGHT, CELL_WIDTH, CELL_HEIGHT, color);
  }

  #color(ink: Ink): Color {
    return ink === "accent" ? this.look.accent : INKS[ink];
  }
}

/** From 0 to 1: busy in waves, and never twice the same for long. */
function load(step: number): number {
  const wave = Math.sin(step / 11) * Math.sin(step / 3.7) * 0.3 + Math.sin(step / 47) * 0.2;
  return Math.min(1, Math.max(0, 0.45 + wave + Math.sin(step * 12.9898) * 0.08));
}
