// The text of a configuration file → Settings, or every mistake in it with its line and column.

import { buildSettings, type Parsed, type ParseOptions } from "./build.ts";
import { Source } from "./source.ts";
import { readYaml } from "./yaml.ts";

/** @param name what the file is called in messages. */
export function parseSettings(text: string, name: string, options: ParseOptions): Parsed {
  const source = new Source(text, options);
  return buildSettings(readYaml(source), source, name, options);
}
