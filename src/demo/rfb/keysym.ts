// Keysyms, the numbers by which X11 and VNC call keys, to the names by which a browser calls them.

const NAMED: ReadonlyMap<number, string> = new Map([
  [0xff08, "Backspace"], [0xff09, "Tab"], [0xff0d, "Enter"], [0xff8d, "Enter"], [0xff1b, "Escape"],
  [0xffe3, "Control"], [0xffe4, "Control"],
]);

/** Digits and operators of the keypad are their characters, this much above them. */
const KEYPAD = { first: 0xffaa, last: 0xffb9, offset: 0xff80 };
/** Unicode characters behind Latin-1: RFC 6143 section 7.5.4 refers to X11, and this is its rule. */
const UNICODE = 0x0100_0000;

/** A character, or a key's name; null for keys that nothing here knows. */
export function keyOf(keysym: number): string | null {
  const isLatin1 = (keysym >= 0x20 && keysym <= 0x7e) || (keysym >= 0xa0 && keysym <= 0xff);
  if (isLatin1) return String.fromCodePoint(keysym);
  if (keysym >= KEYPAD.first && keysym <= KEYPAD.last) return String.fromCodePoint(keysym - KEYPAD.offset);
  if (keysym >= UNICODE + 0x100 && keysym <= UNICODE + 0x10_ffff) return String.fromCodePoint(keysym - UNICODE);
  return NAMED.get(keysym) ?? null;
}
