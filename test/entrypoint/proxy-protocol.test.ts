import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type ProxyHeader, readProxyHeader } from "../../src/entrypoint/proxy-protocol.ts";

const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");

/** A version 2 header. */
function v2(command: number, family: number, block: Buffer, length = block.length): Buffer {
  return Buffer.concat([SIGNATURE, Buffer.from([command, family, length >> 8, length & 0xff]), block]);
}

const TCP4_BLOCK = Buffer.from([203, 0, 113, 9, 192, 0, 2, 1, 0xdc, 0x04, 0x01, 0xbb]);
const TCP6_BLOCK = Buffer.concat([Buffer.from("20010db8000000000000000000000007", "hex"), Buffer.from("20010db8000000000000000000000001", "hex"), Buffer.from([0xdc, 0x04, 0x01, 0xbb])]);
const UNIX_BLOCK = Buffer.alloc(216, 0x61);
/** PP2_TYPE_NOOP and PP2_TYPE_AUTHORITY. */
const FIELDS = Buffer.from([0x04, 0, 2, 0, 0, 0x02, 0, 4, 0x68, 0x6f, 0x73, 0x74]);

const REST = Buffer.from("GET / HTTP/1.1\r\n");

describe("PROXY protocol", () => {
  describe("version 1", () => {
    test.each<[string, string | null, number]>([
      ["PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n", "203.0.113.9", 56324],
      ["PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255", 65535],
      ["PROXY TCP4 203.0.113.9 192.0.2.1 0 0\r\n", "203.0.113.9", 0],
      ["PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n", "2001:db8::7", 56324],
      ["PROXY TCP6 2001:DB8:0:0:0:0:0:7 ::1 1 2\r\n", "2001:db8::7", 1],
      ["PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n", "203.0.113.9", 1],
      ["PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535],
      ["PROXY UNKNOWN\r\n", null, 0],
      ["PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", null, 0],
      ["PROXY UNKNOWN whatever else\r\n", null, 0],
    ])("%j", (line, address, port) => {
      expect(readProxyHeader(Buffer.concat([Buffer.from(line), REST]))).toEqual({ kind: "header", length: line.length, client: address === null ? null : { address, port } });
    });

    test.each([
      "PROXY TCP4 203.0.113.9 192.0.2.1 56324\r\n", "PROXY TCP4 203.0.113.9 192.0.2.1 56324 443 1\r\n", "PROXY TCP4 203.0.113.9 192.0.2.1 56324 443 \r\n",
      "PROXY TCP4  203.0.113.9 192.0.2.1 56324 443\r\n", "PROXY  TCP4 203.0.113.9 192.0.2.1 56324 443\r\n", "PROXY\tTCP4 203.0.113.9 192.0.2.1 56324 443\r\n",
      "PROXY TCP4 203.0.113.9 192.0.2.1 65536 443\r\n", "PROXY TCP4 203.0.113.9 192.0.2.1 056324 443\r\n", "PROXY TCP4 203.0.113.9 192.0.2.1 -1 443\r\n", "PROXY TCP4 203.0.113.9 192.0.2.1 1e3 443\r\n",
      "PROXY TCP4 203.0.113.09 192.0.2.1 1 2\r\n", "PROXY TCP4 203.0.113 192.0.2.1 1 2\r\n", "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n", "PROXY TCP6 203.0.113.9 192.0.2.1 1 2\r\n",
      "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "PROXY TCP6 [::1] ::1 1 2\r\n", "PROXY tcp4 203.0.113.9 192.0.2.1 1 2\r\n", "PROXY UDP4 203.0.113.9 192.0.2.1 1 2\r\n", "PROXY UNKNOWNX\r\n", "PROXY \r\n",
      "PROXY TCP4 203.0.113.9 192.0.2.1 1 2\n", "proxy TCP4 203.0.113.9 192.0.2.1 1 2\r\n",
    ])("refuses %j", (line) => {
      // The line feed alone ends no line: what follows belongs to it, up to 107 bytes.
      expect(readProxyHeader(Buffer.concat([Buffer.from(line), Buffer.alloc(107, 0x41)])).kind).toBe("bad");
    });

    test("ends within 107 bytes", () => {
      const longest = `PROXY UNKNOWN ${"x".repeat(107 - 14 - 2)}\r\n`;
      expect(readProxyHeader(Buffer.from(longest))).toMatchObject({ kind: "header", length: 107 });
      expect(readProxyHeader(Buffer.from(`PROXY UNKNOWN ${"x".repeat(107 - 14 - 1)}\r\n`)).kind).toBe("bad");
      expect(readProxyHeader(Buffer.from(`PROXY UNKNOWN ${"x".repeat(92)}`)).kind).toBe("incomplete");
    });
  });

  describe("version 2", () => {
    test.each<[string, Buffer, string | null, number]>([
      ["TCP over IPv4", v2(0x21, 0x11, TCP4_BLOCK), "203.0.113.9", 56324],
      ["TCP over IPv6", v2(0x21, 0x21, TCP6_BLOCK), "2001:db8::7", 56324],
      ["fields behind the addresses", v2(0x21, 0x11, Buffer.concat([TCP4_BLOCK, FIELDS])), "203.0.113.9", 56324],
      ["a mapped address", v2(0x21, 0x21, Buffer.concat([Buffer.from("00000000000000000000ffffcb007109", "hex"), TCP6_BLOCK.subarray(16)])), "203.0.113.9", 56324],
      ["the longest there can be", v2(0x21, 0x11, Buffer.concat([TCP4_BLOCK, Buffer.from([0x04, 0xff, 0xf0]), Buffer.alloc(0xfff0)])), "203.0.113.9", 56324],
      ["LOCAL", v2(0x20, 0x00, Buffer.alloc(0)), null, 0],
      ["LOCAL with addresses, which don't count", v2(0x20, 0x11, TCP4_BLOCK), null, 0],
      ["LOCAL of whatever family, with whatever behind it", v2(0x20, 0xff, Buffer.alloc(5, 0xff)), null, 0],
      ["UNSPEC", v2(0x21, 0x00, Buffer.alloc(0)), null, 0],
      ["UNSPEC with a block that is skipped", v2(0x21, 0x00, Buffer.alloc(40, 1)), null, 0],
      ["datagrams, which this is none of", v2(0x21, 0x12, TCP4_BLOCK), null, 0],
      ["a Unix socket", v2(0x21, 0x31, UNIX_BLOCK), null, 0],
    ])("%s", (_what, bytes, address, port) => {
      expect(readProxyHeader(Buffer.concat([bytes, REST]))).toEqual({ kind: "header", length: bytes.length, client: address === null ? null : { address, port } });
    });

    test.each<[string, Buffer]>([
      ["version 1 in the binary form", v2(0x11, 0x11, TCP4_BLOCK)],
      ["version 3", v2(0x31, 0x11, TCP4_BLOCK)],
      ["an unknown command", v2(0x22, 0x11, TCP4_BLOCK)],
      ["an unknown family", v2(0x21, 0x41, TCP4_BLOCK)],
      ["an unknown transport", v2(0x21, 0x13, TCP4_BLOCK)],
      ["a family without a transport", v2(0x21, 0x10, TCP4_BLOCK)],
      ["too short for IPv4", v2(0x21, 0x11, TCP4_BLOCK.subarray(1))],
      ["too short for IPv6", v2(0x21, 0x21, TCP6_BLOCK.subarray(1))],
      ["too short for a Unix socket", v2(0x21, 0x31, UNIX_BLOCK.subarray(1))],
      ["nothing at all", v2(0x21, 0x11, Buffer.alloc(0))],
      ["half a field", v2(0x21, 0x11, Buffer.concat([TCP4_BLOCK, Buffer.from([4, 0])]))],
      ["a field longer than the header", v2(0x21, 0x11, Buffer.concat([TCP4_BLOCK, Buffer.from([4, 0, 3, 0, 0])]))],
      ["another signature", Buffer.concat([Buffer.from("\r\n\r\n\0\r\nQUIT\r", "latin1"), v2(0x21, 0x11, TCP4_BLOCK).subarray(12)])],
    ])("refuses %s", (_what, bytes) => expect(readProxyHeader(Buffer.concat([bytes, REST])).kind).toBe("bad"));
  });

  describe("any bytes", () => {
    test.each(["GET / HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\n", "\x16\x03\x01\x02\x00\x01", " PROXY TCP4", "\r\nPROXY ", "\0", "PROXYTCP4", "PRI * HTTP/2.0\r\n"])("%j is no header, and known as such at once", (text) => {
      expect(readProxyHeader(Buffer.from(text, "latin1"))).toEqual({ kind: "bad", reason: "no PROXY header" });
    });

    const whole: readonly Buffer[] = [
      Buffer.from("PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n"), Buffer.from("PROXY UNKNOWN\r\n"),
      v2(0x21, 0x11, Buffer.concat([TCP4_BLOCK, FIELDS])), v2(0x21, 0x21, TCP6_BLOCK), v2(0x20, 0, Buffer.alloc(3)),
    ];

    test("a good header is incomplete until its last byte, and never changes with what follows", () => {
      for (const bytes of whole) {
        for (let length = 0; length < bytes.length; length += 1) expect(readProxyHeader(bytes.subarray(0, length))).toEqual({ kind: "incomplete" });
        const alone = readProxyHeader(bytes);
        fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), (more) => { expect(readProxyHeader(Buffer.concat([bytes, more]))).toEqual(alone); }));
      }
    });

    test("mutated headers are read or refused, never thrown over, and claim no byte that is not there", () => {
      fc.assert(fc.property(fc.constantFrom(...whole), fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 4 }), fc.nat(80), (bytes, changes, cut) => {
        const mutated = Buffer.from(bytes);
        for (const [at, value] of changes) if (at < mutated.length) mutated[at] = value;
        const header: ProxyHeader = readProxyHeader(mutated.subarray(0, cut));
        if (header.kind === "header") expect(header.length).toBeLessThanOrEqual(Math.min(cut, mutated.length));
      }), { numRuns: 2000 });
    });
  });
});
