import { describe, expect, test } from "bun:test";
import { formatSize, parseSize } from "../../src/lib/size.ts";

describe("size", () => {
  test.each([["0", 0], ["512B", 512], ["16KiB", 16_384], ["8MiB", 8_388_608], ["8GiB", 8_589_934_592], ["1TiB", 2 ** 40]])(
    "reads %s as %d bytes", (text, bytes) => {
      expect(parseSize(text)).toBe(bytes);
    });

  test.each(["", "8", "8M", "8MB", "8mib", "8 MiB", "-8MiB", "1.5GiB", "MiB", "9999999TiB"])("refuses %j", (text) => {
    expect(parseSize(text)).toBeUndefined();
  });

  test.each([[0, "0"], [1_048_576, "1MiB"], [1500, "1500B"], [8_589_934_592, "8GiB"]])("writes %d bytes as %s", (bytes, text) => {
    expect(formatSize(bytes)).toBe(text);
  });
});
