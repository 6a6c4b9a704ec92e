import { describe, expect, test } from "bun:test";
import { didYouMean, suggestion } from "../../src/lib/suggest.ts";

describe("suggestion", () => {
  test.each([
    ["servce", "service"], ["filr", "filer"], ["bodylimit", "bodyLimit"], ["pyso", "pyos"], ["--confg", "--config"],
  ])("for %s is %s", (word, meant) => {
    expect(didYouMean(word, ["service", "filer", "bodyLimit", "pyos", "--config", "website"])).toBe(meant);
  });

  test("is the nearest of several", () => {
    expect(didYouMean("sound", ["round", "sounds", "sound2x"])).toBe("round");
    expect(didYouMean("filers", ["printerfiler", "filer"])).toBe("filer");
  });

  test("is the only word that it is the beginning of", () => {
    expect(didYouMean("xterm", ["xterm_tcp_port", "sound_service_tcp_port"])).toBe("xterm_tcp_port");
    expect(didYouMean("xterm", ["xterm_tcp_port", "xterm_udp_port"])).toBeUndefined();
  });

  test.each(["x", "console", "entirely-different"])("is absent when nothing is near %s", (word) => {
    expect(didYouMean(word, ["service", "filer"])).toBeUndefined();
    expect(suggestion(word, ["service", "filer"])).toBe("");
  });
});
