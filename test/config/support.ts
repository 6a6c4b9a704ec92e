// What the tests of the configuration share: a small file that is fine, and a way to see settings or mistakes of a text.

import type { ParseOptions } from "../../src/config/build.ts";
import { formatMistake } from "../../src/config/mistake.ts";
import { parseSettings } from "../../src/config/parse.ts";
import type { Settings } from "../../src/settings.ts";

export const KEYS = { JWT_DESKTOP_SIGNING_PUBLIC_KEY: "/keys/signing.pem", JWT_DESKTOP_PAYLOAD_PRIVATE_KEY: "/keys/payload.pem" };

/** `services` and `routes` that are fine, for tests of other sections. */
export const TABLE = `services:
  website: { url: "http://website" }
routes:
  - { path: /, service: website }
`;

/** The settings of a text that must be fine. */
export function settingsOf(text: string, options: Partial<ParseOptions> = {}): Settings {
  const parsed = parseSettings(text, "test.yaml", { env: {}, ...options });
  if ("mistakes" in parsed) throw new Error(parsed.mistakes.map((mistake) => formatMistake("test.yaml", mistake)).join("\n"));
  return parsed.settings;
}

/** All mistakes of a text as `line:column: message`. */
export function mistakesOf(text: string, options: Partial<ParseOptions> = {}): string[] {
  const parsed = parseSettings(text, "test.yaml", { env: {}, ...options });
  return "mistakes" in parsed ? parsed.mistakes.map(({ line, column, message }) => `${line}:${column}: ${message}`) : [];
}

/** A text with its one ▸ taken out, and the place where it stood as `line:column`. */
export function marked(text: string): { text: string; place: string } {
  const before = text.slice(0, text.indexOf("▸")).split("\n");
  return { text: text.replace("▸", ""), place: `${before.length}:${(before.at(-1) ?? "").length + 1}` };
}

/** All notes of a text that must be fine. */
export function notesOf(text: string, options: Partial<ParseOptions> = {}): string[] {
  const parsed = parseSettings(text, "test.yaml", { env: {}, ...options });
  if ("mistakes" in parsed) throw new Error("the text has mistakes");
  return parsed.notes.map(({ line, column, message }) => `${line}:${column}: ${message}`);
}
