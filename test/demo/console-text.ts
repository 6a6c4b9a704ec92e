// Reads the letters of a demo machine's console off its pixels, as a person would.

import { descent, GLYPH_HEIGHT, GLYPH_WIDTH, glyphRows } from "../../src/demo/font.ts";
import {
  CELL_HEIGHT, CELL_WIDTH, LETTER_TOP, TEXT_COLUMNS, TEXT_LEFT, TEXT_ROWS, TEXT_SCALE, TEXT_TOP,
} from "../../src/demo/vm/console-screen.ts";

const ROWS = GLYPH_HEIGHT + 2;
const LETTERS = new Map(Array.from({ length: 95 }, (_, index) => {
  const letter = String.fromCharCode(32 + index);
  const above = Array.from({ length: descent(letter) }, () => 0);
  return [[...above, ...glyphRows(letter), 0, 0].slice(0, ROWS).join(), letter];
}));

/**
 * The lines of the console without trailing spaces. A lit cell (the cursor) is a space, what is no letter a question mark.
 * @param isLit whether a pixel has another colour than the background
 */
export function readConsole(isLit: (x: number, y: number) => boolean): string[] {
  return Array.from({ length: TEXT_ROWS }, (_, row) => {
    const letters = Array.from({ length: TEXT_COLUMNS }, (_unused, column) => readCell(isLit, row, column));
    return letters.join("").trimEnd();
  });
}

function readCell(isLit: (x: number, y: number) => boolean, row: number, column: number): string {
  const [left, top] = [TEXT_LEFT + column * CELL_WIDTH, TEXT_TOP + row * CELL_HEIGHT + LETTER_TOP];
  const bits = Array.from({ length: ROWS }, (_, dotRow) => {
    let line = 0;
    for (let dot = 0; dot < GLYPH_WIDTH; dot++) line = line * 2 + (isLit(left + dot * TEXT_SCALE, top + dotRow * TEXT_SCALE) ? 1 : 0);
    return line;
  });
  if (bits.every((line) => line === 31)) return " ";
  return LETTERS.get(bits.join()) ?? "?";
}
