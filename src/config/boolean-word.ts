// The words for a boolean in the environment, where nothing has a type: those of Python's programs and of YAML 1.1, as whoever
// writes a manifest is used to.

const TRUE = new Set(["true", "1", "yes", "y", "on"]);
const FALSE = new Set(["false", "0", "no", "n", "off"]);

/** @param text upper and lower case are alike, white space around it does not matter @returns undefined when it is neither */
export function parseBooleanWord(text: string): boolean | undefined {
  const word = text.trim().toLowerCase();
  if (TRUE.has(word)) return true;
  return FALSE.has(word) ? false : undefined;
}
