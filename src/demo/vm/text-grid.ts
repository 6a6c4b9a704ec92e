// The letters of a text console: rows of cells, a place where the next one goes, and scrolling at the bottom. It knows
// nothing of pixels; each row has a revision, so that whoever paints it knows when to do so again.

/** What a letter means; the painter knows the colour. */
export type Ink = "text" | "dim" | "accent" | "good" | "warn" | "bad";
export type Cell = { readonly character: string; readonly ink: Ink };

export class TextGrid {
  #lines: Cell[][];
  readonly #revisions: number[];
  #row = 0;

  constructor(readonly columns: number, readonly rows: number) {
    this.#lines = Array.from({ length: rows }, () => []);
    this.#revisions = Array.from({ length: rows }, () => 0);
  }

  /** Where the next letter goes. */
  get cursor(): { readonly row: number; readonly column: number } {
    return { row: this.#row, column: this.#line.length };
  }

  line(row: number): readonly Cell[] {
    return this.#lines[row]!;
  }

  revision(row: number): number {
    return this.#revisions[row]!;
  }

  /** A line feed begins a new line; so does a letter that finds the line full. */
  write(text: string, ink: Ink = "text"): void {
    for (const character of text) {
      if (character === "\n" || this.#line.length >= this.columns) this.#feed();
      if (character !== "\n") this.#line.push({ character, ink });
      this.#touch(this.#row);
    }
  }

  /** Takes the last letter away, also around the edge of a line that was full. */
  erase(): void {
    if (this.#line.length === 0 && this.#row > 0) this.#row--;
    this.#line.pop();
    this.#touch(this.#row);
  }

  clear(): void {
    this.#lines = Array.from({ length: this.rows }, () => []);
    this.#row = 0;
    this.#revisions.forEach((_, row) => this.#touch(row));
  }

  get #line(): Cell[] {
    return this.#lines[this.#row]!;
  }

  #feed(): void {
    if (this.#row + 1 < this.rows) {
      this.#row++;
      return;
    }
    this.#lines.shift();
    this.#lines.push([]);
    this.#revisions.forEach((_, row) => this.#touch(row));
  }

  #touch(row: number): void {
    this.#revisions[row]!++;
  }
}
