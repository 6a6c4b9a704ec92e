import { describe, expect, test } from "bun:test";
import { Log, type LogSink, oneLine } from "../../src/lib/log.ts";

/** A sink that takes one text at a time and is done when the test says so. */
class SlowSink implements LogSink {
  readonly texts: string[] = [];
  readonly waiting: Array<() => void> = [];
  write(text: string, done: () => void): void { this.texts.push(text); this.waiting.push(done); }
  writeSync(text: string): void { this.texts.push(text); }
  get lines(): string[] { return this.texts.join("").split("\n").slice(0, -1); }
}

const AT = new Date("2026-01-02T03:04:05.678Z");
const EVIL = "a\r\nb\x1b[31m\"c\"\u2028\u0000\x9b";

describe("an event", () => {
  test("is one line of JSON with time, level, message and fields", () => {
    const sink = new SlowSink();
    new Log("json", sink, () => AT).warn("something", { count: 3, ok: true, none: null, absent: undefined });
    expect(sink.texts).toEqual(['{"time":"2026-01-02T03:04:05.678Z","level":"warn","message":"something","count":3,"ok":true,"none":null}\n']);
  });

  test.each(["json", "pretty"] as const)("stays one line whatever stands in it (%s)", (format) => {
    const sink = new SlowSink();
    new Log(format, sink, () => AT).error(EVIL, { field: EVIL });
    expect(sink.lines).toHaveLength(1);
    expect(sink.lines[0]).not.toMatch(/[\r\n\0\x1b]/);
    if (format === "json") expect(JSON.parse(sink.lines[0] as string)).toMatchObject({ message: EVIL, field: EVIL });
  });

  test("for people has its level, message and fields in one line", () => {
    const sink = new SlowSink();
    new Log("pretty", sink, () => AT).info("listening", { port: 80, absent: undefined });
    expect(sink.texts).toEqual(["2026-01-02T03:04:05.678Z INFO  listening port=80\n"]);
  });

  test("control characters are spelled out for people", () => {
    expect(oneLine(EVIL)).toBe('a\\u000d\\u000ab\\u001b[31m"c"\\u2028\\u0000\\u009b');
  });
});

describe("lines", () => {
  test("are gathered and written together, in order", () => {
    const sink = new SlowSink();
    const log = new Log("json", sink);
    log.line("a\n");
    log.line("b\n");
    expect(sink.texts).toEqual([]);
    log.close();
    expect(sink.texts).toEqual(["a\nb\n"]);
  });

  test("are written when 64 KiB have come together, one write at a time", () => {
    const sink = new SlowSink();
    const log = new Log("json", sink);
    log.line("x".repeat(65_536));
    expect(sink.texts).toHaveLength(1);
    log.line("y".repeat(65_536));
    expect(sink.texts).toHaveLength(1);
    sink.waiting.shift()?.();
    expect(sink.texts.map((text) => text[0])).toEqual(["x", "y"]);
  });

  test("that nobody reads are dropped at 8 MiB, counted, and said so when reading goes on", () => {
    const sink = new SlowSink();
    const log = new Log("json", sink, () => AT);
    const line = `${"x".repeat(1023)}\n`;
    for (let i = 0; i < 64 + 8192 + 5; i += 1) log.line(line);
    expect(sink.texts).toHaveLength(1);
    while (sink.waiting.length > 0) sink.waiting.shift()?.();
    const last = sink.lines.filter((text) => text.startsWith("{")).map((text) => JSON.parse(text) as Record<string,
      unknown>);
    expect(last).toMatchObject([{ level: "error",
      message: "log lines dropped because standard output is not read fast enough", lines: 5 }]);
    expect(sink.lines.filter((text) => text.startsWith("x"))).toHaveLength(64 + 8192);
  });
});
