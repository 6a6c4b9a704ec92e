// DNS-01 by a program of the operator's (the interface of lego's and Traefik's `exec` provider):
//
//   PROGRAM present _acme-challenge.example.org. <value>     puts the TXT record there
//   PROGRAM cleanup _acme-challenge.example.org. <value>     takes it away
//   PROGRAM timeout                                          may print {"timeout": seconds, "interval": seconds}
//
// It is run without a shell, gets the arguments as they are, and is killed when its time is over. After `present` the record is looked
// for until it is seen or the program's `timeout` is over; then the CA is asked in any case, because what counts is what it sees.

import { Resolver } from "node:dns/promises";
import { txtValue } from "./dns-solver.ts";
import { pause } from "./pause.ts";
import { runProgram } from "./program.ts";
import { readRecordTimes, type RecordTimes } from "./record-times.ts";
import type { ChallengeSolver } from "./solver.ts";

export type ExecSolverOptions = {
  readonly program: string;
  /** For one run. */
  readonly timeoutMs?: number;
  /** TXT values that DNS has for a name now; [] when there are none. */
  readonly lookup?: (fqdn: string) => Promise<readonly string[]>;
};

export class ExecSolver implements ChallengeSolver {
  constructor(private readonly options: ExecSolverOptions) {}

  /** @throws AcmeError challenge, with what the program said on stderr */
  async present(identifier: string, _token: string, keyAuthorization: string, signal: AbortSignal): Promise<void> {
    const value = txtValue(keyAuthorization);
    await this.#run(["present", fqdnOf(identifier), value], signal);
    await this.#untilSeen(fqdnOf(identifier), value, await this.#times(signal), signal);
  }

  async cleanup(identifier: string, _token: string, keyAuthorization: string): Promise<void> {
    await this.#run(["cleanup", fqdnOf(identifier), txtValue(keyAuthorization)], null);
  }

  /** A program that does not know the command gets the times that most need. */
  async #times(signal: AbortSignal): Promise<RecordTimes> {
    const output = await this.#run(["timeout"], signal).catch(() => "");
    signal.throwIfAborted();
    return readRecordTimes(output);
  }

  async #untilSeen(fqdn: string, value: string, { timeoutMs, intervalMs }: RecordTimes, signal: AbortSignal): Promise<void> {
    const { lookup = lookUpTxt } = this.options;
    const endMs = performance.now() + timeoutMs;
    while (!(await lookup(fqdn)).includes(value) && performance.now() < endMs) await pause(intervalMs, signal);
  }

  #run(args: readonly string[], signal: AbortSignal | null): Promise<string> {
    const { program, timeoutMs = 60_000 } = this.options;
    return runProgram(program, args, timeoutMs, signal);
  }
}

/** With a dot at its end, as programs for lego get it. */
function fqdnOf(identifier: string): string {
  return `_acme-challenge.${identifier}.`;
}

async function lookUpTxt(fqdn: string): Promise<readonly string[]> {
  try {
    return (await new Resolver({ timeout: 2000, tries: 1 }).resolveTxt(fqdn)).map((parts) => parts.join(""));
  } catch {
    return []; // Not there yet, or no answer: looked for again.
  }
}
