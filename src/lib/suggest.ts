// "did you mean": the known word that is nearest to a mistyped one. Only near ones: a wrong suggestion is worse than
// none.

/**
 * The candidate within a third of the word's length in edits (upper and lower case are alike); else the only one that the
 * word is the beginning of; else undefined.
 */
export function didYouMean(word: string, candidates: Iterable<string>): string | undefined {
  const known = [...candidates];
  const typed = word.toLowerCase();
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(typed.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(typed, candidate.toLowerCase());
    if (distance >= bestDistance) continue;
    best = candidate;
    bestDistance = distance;
  }
  return best ?? onlyContinuation(typed, known);
}

/** ` (did you mean "x"?)`, ready to be appended to a message; empty when nothing is near. */
export function suggestion(word: string, candidates: Iterable<string>): string {
  const nearest = didYouMean(word, candidates);
  return nearest === undefined ? "" : ` (did you mean "${nearest}"?)`;
}

function onlyContinuation(typed: string, known: readonly string[]): string | undefined {
  const longer = known.filter((candidate) => typed.length > 2 && candidate.toLowerCase().startsWith(typed));
  return longer.length === 1 ? longer[0] : undefined;
}

/** Insertions, deletions, replacements and swaps of neighbours (optimal string alignment) that turn `a` into `b`. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const same = a[row - 1] === b[column - 1] ? 0 : 1;
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      current[column] = Math.min(
        (previous[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (previous[column - 1] ?? 0) + same,
        swapped ? (before[column - 2] ?? 0) + 1 : Infinity,
      );
    }
    before = previous;
    previous = current;
  }
  return previous[b.length] ?? 0;
}
