// `${NAME}` and `${NAME:-default}` in the values of a configuration file, as a shell reads them: the default also
// stands for an empty variable, and may hold variables itself. `$${` is a plain `${`. Nothing else is special, and
// what a variable holds is not read again.

import { excerpt } from "../lib/excerpt.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

export type Interpolated = {
  /** A variable that is not set and has no default stands there as written. */
  readonly text: string;
  readonly problems: readonly Problem[];
  /** Names of the variables whose values stand in the text, empty values included. */
  readonly used: readonly string[];
};

export type Problem =
  | { readonly kind: "unset"; readonly name: string }
  | { readonly kind: "syntax"; readonly message: string };

export function interpolate(text: string, environment: Environment): Interpolated {
  const reader = new Reader(text, environment);
  return { text: reader.read(false), problems: reader.problems, used: [...new Set(reader.used)] };
}

class Reader {
  readonly problems: Problem[] = [];
  readonly used: string[] = [];
  #at = 0;

  constructor(private readonly source: string, private readonly environment: Environment) {}

  /** Reads to the end, or to the brace that closes a default. */
  read(inDefault: boolean): string {
    let text = "";
    while (this.#at < this.source.length) {
      if (this.source.startsWith("$${", this.#at)) {
        text += "${";
        this.#at += 3;
      } else if (this.source.startsWith("${", this.#at)) {
        text += this.#variable();
      } else if (inDefault && this.source[this.#at] === "}") {
        return text;
      } else {
        text += this.source[this.#at];
        this.#at += 1;
      }
    }
    return text;
  }

  #variable(): string {
    const start = this.#at;
    const name = /^[A-Za-z_][A-Za-z0-9_]*/.exec(this.source.slice(start + 2))?.[0] ?? "";
    this.#at += 2 + name.length;
    const hasDefault = this.source.startsWith(":-", this.#at);
    if (hasDefault) this.#at += 2;
    // The default is read even when it is not needed, to find the closing brace; what was found in it then doesn't matter.
    const problemsBefore = this.problems.length;
    const usedBefore = this.used.length;
    const fallback = hasDefault ? this.read(true) : undefined;
    if (name === "" || this.source[this.#at] !== "}") return this.#refuse(start);
    this.#at += 1;
    const value = this.environment[name];
    const isSet = hasDefault ? value !== undefined && value !== "" : value !== undefined;
    if (isSet) {
      this.problems.length = problemsBefore;
      this.used.splice(usedBefore, Infinity, name);
      return value ?? "";
    }
    if (fallback !== undefined) return fallback;
    this.problems.push({ kind: "unset", name });
    return this.source.slice(start, this.#at);
  }

  #refuse(start: number): string {
    const rest = this.source.slice(start);
    const hint = "write ${NAME} or ${NAME:-default}, and $${ for a plain ${";
    this.problems.push({ kind: "syntax", message: `not a variable: "${excerpt(rest)}" (${hint})` });
    this.#at = this.source.length;
    return rest;
  }
}
