// A 5x7 pixel font for the demo's pictures: the printable characters of ASCII.
// Each glyph is seven base-32 digits, one row each, the leftmost pixel in the highest bit.

export const GLYPH_WIDTH = 5;
export const GLYPH_HEIGHT = 7;

const UNKNOWN = "vhhhhhv";

const GLYPHS: Readonly<Record<string, string>> = {
  " ": "0000000", "!": "4444404", "\"": "aaa0000", "#": "aavavaa", "$": "4fke5u4", "%": "op248j3", "&": "cik8lid",
  "'": "4480000", "(": "2488842", ")": "8422248", "*": "04lel40", "+": "044v440", ",": "0000c48", "-": "000v000",
  ".": "00000cc", "/": "01248g0", "0": "ehjlphe", "1": "4c4444e", "2": "eh1248v", "3": "v2421he", "4": "26aiv22",
  "5": "vgu11he", "6": "68guhhe", "7": "v124888", "8": "ehhehhe", "9": "ehhf12c", ":": "0cc0cc0", ";": "0cc0c48",
  "<": "248g842", "=": "00v0v00", ">": "8421248", "?": "eh12404", "@": "eh1dlle", "A": "ehhvhhh", "B": "uhhuhhu",
  "C": "ehggghe", "D": "sihhhis", "E": "vgguggv", "F": "vgguggg", "G": "ehgnhhf", "H": "hhhvhhh",
  "I": "e44444e", "J": "72222ic", "K": "hikokih", "L": "ggggggv", "M": "hrllhhh", "N": "hhpljhh", "O": "ehhhhhe",
  "P": "uhhuggg", "Q": "ehhhlid", "R": "uhhukih", "S": "fgge11u", "T": "v444444", "U": "hhhhhhe", "V": "hhhhha4",
  "W": "hhhllla", "X": "hha4ahh", "Y": "hhha444", "Z": "v1248gv", "[": "e88888e", "\\": "0g84210", "]": "e22222e",
  "^": "4ah0000", "_": "000000v", "`": "8420000",
  "a": "00e1fhf", "b": "ggmphhu", "c": "00eghhe", "d": "11djhhf", "e": "00ehvge", "f": "698s888", "g": "fhhhf1e",
  "h": "ggmphhh", "i": "40c444e", "j": "20622ic", "k": "ggikoki", "l": "c44444e", "m": "00qllhh", "n": "00mphhh",
  "o": "00ehhhe", "p": "uhhhugg", "q": "fhhhf11", "r": "00mpggg", "s": "00ege1u", "t": "88s8896", "u": "00hhhjd",
  "v": "00hhha4", "w": "00hhlla", "x": "00ha4ah", "y": "hhhhf1e", "z": "00v248v", "{": "2448442", "|": "4444444",
  "}": "8442448", "~": "008l200",
};

/** How many rows a character hangs lower than the others. */
export function descent(character: string): number {
  return "gpqy".includes(character) ? 2 : 0;
}

/** The seven rows of a character, each a 5-bit number; what is unknown is drawn as a box. */
export function glyphRows(character: string): readonly number[] {
  const rows = GLYPHS[character] ?? UNKNOWN;
  return Array.from(rows, (digit) => parseInt(digit, 32));
}
