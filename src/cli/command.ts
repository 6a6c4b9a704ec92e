// What a command of the command line is. One file a command; main.ts lists them, parses argv with their specs and is
// the only one to end the process. A command says everything through its Io, so that tests run it in place.

import type { ArgumentSpec, Arguments } from "./args.ts";

export type Io = {
  stdout(text: string): void;
  stderr(text: string): void;
  readonly env: Readonly<Record<string, string | undefined>>;
};

export type Command = {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  readonly spec: ArgumentSpec;
  /** @returns the exit code: 0 fine, 1 refused or failed, 2 wrong usage. */
  run(args: Arguments, io: Io): Promise<number>;
};
