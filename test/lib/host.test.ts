import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { isIPv4, isIPv6 } from "node:net";
import { parseHost } from "../../src/lib/host.ts";

fc.configureGlobal({ seed: 7 }); // The same cases every run: a failure can be looked at.

const label = "a".repeat(63);
const longest = `${label}.${label}.${label}.${"b".repeat(61)}`;

describe("parseHost", () => {
  test.each([
    ["pod", "name", "pod"],
    ["1f0c-2b.desktop.abcdesktop.svc.cluster.local", "name", "1f0c-2b.desktop.abcdesktop.svc.cluster.local"],
    ["Pod.Example.", "name", "pod.example"],
    ["a_b.example", "name", "a_b.example"],
    ["_a.example", "name", "_a.example"],
    ["1e100.net", "name", "1e100.net"],
    ["1.2.3.4.example", "name", "1.2.3.4.example"],
    ["0xcafe.example", "name", "0xcafe.example"],
    ["1.2.3.4x", "name", "1.2.3.4x"],
    [longest, "name", longest],
    ["10.0.0.1", "ipv4", "10.0.0.1"],
    ["255.255.255.255", "ipv4", "255.255.255.255"],
    ["::1", "ipv6", "::1"],
    ["[fd00::AB]", "ipv6", "fd00::ab"],
    ["::ffff:10.0.0.1", "ipv6", "::ffff:10.0.0.1"],
  ])("takes %p as %s", (text, kind, host) => {
    expect(parseHost(text)).toEqual({ kind, host } as ReturnType<typeof parseHost>);
  });

  test.each([
    "", ".", "..", "a..b", ".a", "a.b..", "-a", "a-", "a.-b.c", `${label}a.b`, `${longest}b`, "x".repeat(300),
    "pod:80", "10.0.0.1:80", "[::1]:80", "http://pod", "http://pod/", "a@b", "a/b", "a\\b", "a?b", "a#b", "a%2eb", "*", "*.a",
    "a b", " a", "a ", "a\r\nHost: b", "a\n", "a\0", "a\t", "münchen.example", "\u0430pod", "a\u3002b", "ａ",
    "127.1", "127.0.1", "2130706433", "0x7f.1", "0x7f000001", "0x", "1.2.3", "1.2.3.4.5", "256.0.0.1", "01.2.3.4", "1.2.3.04",
    "1.2.3.4.", "1.2.3.0x4", "a.1", "a.0x7F",
    "fe80::1%eth0", "fe80::1%25eth0", "[fe80::1%1]", "[::1", "::1]", "[]", "[1.2.3.4]", "[pod]", ":", ":::", "1::2::3", "12345::",
  ])("refuses %p", (text) => {
    expect(parseHost(text)).toBeNull();
  });

  test("gives only what it takes again, unchanged, and what an URL reads as the same host", () => {
    const pieces = fc.constantFrom("a", "B", "z9", "-", "_", ".", "0", "1", "255", "0x", "f", ":", "::", "[", "]", "%", "@", "/", "é");
    fc.assert(fc.property(fc.array(pieces, { maxLength: 12 }).map((parts) => parts.join("")), (text) => {
      const parsed = parseHost(text);
      if (parsed === null) return;
      expect(parseHost(parsed.host)).toEqual(parsed);
      expect(parsed.host).toMatch(parsed.kind === "ipv6" ? /^[0-9a-f:.]+$/ : /^[a-z0-9_.-]+$/);
      expect([isIPv4(parsed.host), isIPv6(parsed.host)]).toEqual([parsed.kind === "ipv4", parsed.kind === "ipv6"]);
      if (parsed.kind === "ipv6" || parsed.host.startsWith("xn--")) return;
      expect(new URL(`http://${parsed.host}/`).hostname).toBe(parsed.host);
    }), { numRuns: 2000 });
  });

  test("never throws and takes nothing that is not ASCII", () => {
    fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 400 }), (text) => {
      const parsed = parseHost(text);
      if (parsed !== null) expect(text).toMatch(/^[\x21-\x7e]+$/);
    }), { numRuns: 500 });
  });
});
