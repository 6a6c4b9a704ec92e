// One run of a program of the operator's: without a shell, with an end, and with what it complained about in the error.

import { accessSync, constants } from "node:fs";
import { fileFault } from "../lib/file-fault.ts";
import { within } from "../lib/within.ts";
import { AcmeError } from "./errors.ts";
import { stopError } from "./transport.ts";

const OUTPUT_LIMIT_BYTES = 64 * 1024;
/** After its end. A name server that it leaves running may hold its output open for ever. */
const OUTPUT_GRACE_MS = 250;

/** Better at the start than at the first order. @throws Error with the path in its message when it cannot be run */
export function assertProgram(file: string): void {
  try {
    accessSync(file, constants.X_OK);
  } catch (cause) {
    throw new Error(`cannot run the challenge program ${file}: ${fileFault(cause)}`, { cause });
  }
}

/**
 * @returns what it printed
 * @param signal kills it, as its time does, with its children; null: nothing else does
 * @throws AcmeError challenge when it cannot be run, fails or takes too long
 */
export async function runProgram(program: string, args: readonly string[], timeoutMs: number, signal: AbortSignal | null): Promise<string> {
  const child = start(program, args);
  const deadline = AbortSignal.timeout(timeoutMs);
  const end = AbortSignal.any(signal === null ? [deadline] : [signal, deadline]);
  const kill = () => killGroup(child.pid);
  if (end.aborted) kill();
  end.addEventListener("abort", kill, { once: true });
  const output = new Output(child.stdout);
  const complaint = new Output(child.stderr);
  const code = await child.exited;
  end.removeEventListener("abort", kill);
  await within(Promise.all([output.ended, complaint.ended]), OUTPUT_GRACE_MS);
  output.close();
  complaint.close();
  if (code === 0) return output.text;
  if (signal?.aborted === true) throw stopError(signal);
  const reason = deadline.aborted ? `did not end within ${timeoutMs} ms` : `ended with ${child.signalCode ?? `exit code ${code}`}`;
  const said = complaint.text.trim();
  throw new AcmeError("challenge", `${program} ${args[0] ?? ""} ${reason}${said === "" ? "" : `: ${said}`}`);
}

function start(program: string, args: readonly string[]) {
  try {
    // A group of its own, so that its children can be killed with it.
    return Bun.spawn([program, ...args], { stdin: "ignore", stdout: "pipe", stderr: "pipe", detached: true });
  } catch (error) {
    throw new AcmeError("challenge", `cannot run ${program}: ${(error as Error).message}`, { cause: error });
  }
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has just ended by itself.
  }
}

/** What a program prints: read to the end, so that it never waits for us, and kept up to a limit. */
class Output {
  readonly ended: Promise<void>;
  readonly #reader;
  readonly #chunks: Uint8Array[] = [];
  #bytes = 0;

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
    this.ended = this.#read();
  }

  get text(): string {
    return Buffer.concat(this.#chunks).subarray(0, OUTPUT_LIMIT_BYTES).toString("utf8");
  }

  close(): void {
    this.#reader.cancel().catch(() => {}); // It had ended.
  }

  async #read(): Promise<void> {
    for (;;) {
      const { done, value } = await this.#reader.read();
      if (done) return;
      if (this.#bytes < OUTPUT_LIMIT_BYTES) this.#chunks.push(value);
      this.#bytes += value.length;
    }
  }
}
