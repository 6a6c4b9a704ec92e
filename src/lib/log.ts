// The log: one line of JSON an entry on stdout, written in batches. An access line costs a string append; one write
// carries up to 64 KiB of them. What stdout cannot take is bounded at 8 MiB, then lines are dropped and counted: a full
// disk or a stopped reader must not take the proxy down with it. Nothing here knows tokens; callers pass only hashes.

import { write, writeSync } from "node:fs";
import { within } from "./within.ts";

const FLUSH_BYTES = 64 * 1024;
const FLUSH_MS = 200;
const PENDING_LIMIT_BYTES = 8 * 1024 * 1024;

export type Level = "debug" | "info" | "warn" | "error";
const LEVELS: readonly Level[] = ["debug", "info", "warn", "error"];
export type Fields = Readonly<Record<string, string | number | boolean | null | undefined>>;

export interface LogSink {
  /** Takes a whole text and calls back when it was written (or failed). */
  write(text: string, done: () => void): void;
  /** Writes what is left before the process ends. */
  writeSync(text: string): void;
}

/** Standard output, by file descriptor: no stream object that could buffer without a bound. */
export const stdoutSink: LogSink = sinkTo(1);

export function sinkTo(fd: number): LogSink {
  return {
    write(text, done) {
      writeAll(fd, Buffer.from(text), done);
    },
    writeSync(text) {
      try {
        writeSync(fd, text);
      } catch {
        // Nobody reads any more (EPIPE) or the disk is full: there is no other place to say so.
      }
    },
  };
}

function writeAll(fd: number, bytes: Buffer, done: () => void): void {
  write(fd, bytes, 0, bytes.length, null, (error, written) => {
    if (error !== null && (error as NodeJS.ErrnoException).code === "EAGAIN") {
      setTimeout(() => writeAll(fd, bytes, done), 10);
    } else if (error !== null || written >= bytes.length) done();
    else writeAll(fd, bytes.subarray(written), done);
  });
}

export class Log {
  #pending = "";
  #writing = false;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #dropped = 0;
  #onIdle: (() => void) | null = null;
  readonly #flushed = (): void => this.#flush();

  constructor(
    private readonly format: "json" | "pretty" = "json",
    private readonly sink: LogSink = stdoutSink,
    private readonly now: () => Date = () => new Date(),
    /** What is below it is not written. */
    private readonly least: Level = "debug",
  ) {}

  debug(message: string, fields?: Fields): void { this.event("debug", message, fields); }
  info(message: string, fields?: Fields): void { this.event("info", message, fields); }
  warn(message: string, fields?: Fields): void { this.event("warn", message, fields); }
  error(message: string, fields?: Fields): void { this.event("error", message, fields); }

  event(level: Level, message: string, fields: Fields = {}): void {
    this.#entry(level, message, fields);
    this.#flush();
  }

  /** For what comes as often as connections do: written with the next batch. */
  record(message: string, fields: Fields): void {
    this.#entry("info", message, fields);
  }

  #entry(level: Level, message: string, fields: Fields): void {
    const time = this.now().toISOString();
    if (this.format === "pretty") this.line(`${time} ${level.toUpperCase().padEnd(5)} ${oneLine(message)}${prettyFields(fields)}\n`, level);
    else this.line(`${JSON.stringify({ time, level, message, ...fields })}\n`, level);
  }

  /** A finished line, its line feed included; the caller has quoted what came from outside. */
  line(text: string, level: Level = "info"): void {
    if (this.least !== "debug" && LEVELS.indexOf(level) < LEVELS.indexOf(this.least)) return;
    if (this.#pending.length + text.length > PENDING_LIMIT_BYTES) {
      this.#dropped += 1;
      return;
    }
    this.#pending += text;
    if (this.#pending.length >= FLUSH_BYTES) this.#flush();
    else this.#timer ??= setTimeout(this.#flushed, FLUSH_MS);
  }

  /** Waits for what is being written, then writes the rest: before the process ends. @param limitMs for a reader that stopped */
  async end(limitMs = 1000): Promise<void> {
    if (this.#writing) await within(new Promise<void>((resolve) => { this.#onIdle = resolve; }), limitMs);
    this.close();
  }

  /** Writes what waits, now. */
  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#pending !== "") this.sink.writeSync(this.#pending);
    this.#pending = "";
  }

  #flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#writing || this.#pending === "") return;
    const text = this.#pending;
    this.#pending = "";
    this.#writing = true;
    this.sink.write(text, () => this.#written());
  }

  #written(): void {
    this.#writing = false;
    // First, so that there is room for the line about those that had none.
    if (this.#pending !== "") this.#flush();
    if (!this.#writing) this.#onIdle?.();
    if (this.#dropped === 0) return;
    const lines = this.#dropped;
    this.#dropped = 0;
    this.event("error", "log lines dropped because standard output is not read fast enough", { lines });
  }
}

/** For programs that serve with us and have their standard output for themselves. */
export function warningsOnStderr(): Log {
  return new Log("pretty", sinkTo(2), undefined, "warn");
}

function prettyFields(fields: Fields): string {
  let text = "";
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined) text += ` ${name}=${typeof value === "string" ? oneLine(value) : value}`;
  }
  return text;
}

/** Control characters (CR, LF, ESC ...) as \u escapes, so that one entry stays one line and moves no cursor. */
export function oneLine(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
