import { describe, expect, test } from "bun:test";
import { canonicalAddress, CidrSet, hostForUrl, isCidr, plainAddress } from "../../src/lib/address.ts";

describe("an address as text", () => {
  test.each([["::ffff:10.1.2.3", "10.1.2.3"], ["10.1.2.3", "10.1.2.3"], ["::1", "::1"],
    ["::ffff:0:1", "::ffff:0:1"]])("%p is plainly %p", (given, plain) => {
    expect(plainAddress(given)).toBe(plain);
  });

  test.each([["10.1.2.3", "10.1.2.3"], ["2001:DB8:0:0::0001", "2001:db8::1"], ["::ffff:102:304", "1.2.3.4"], ["::FFFF:1.2.3.4", "1.2.3.4"],
    ["0:0:0:0:0:ffff:1.2.3.4", "1.2.3.4"], ["64:ff9b::1.2.3.4", "64:ff9b::102:304"], ["1::2:1.2.3.4", "1::2:102:304"], ["::", "::"],
    ["fe80::1%eth0", null], ["[::1]", null], ["1.2.3.4:80", null], ["01.2.3.4", null], ["pod.example", null], ["", null]])("%p has the one spelling %p", (given, spelling) => {
    expect(canonicalAddress(given)).toBe(spelling);
  });

  test("stands in brackets in a URL when it is IPv6", () => {
    expect([hostForUrl("::1"), hostForUrl("10.0.0.1"), hostForUrl("pod.example")]).toEqual(["[::1]", "10.0.0.1",
      "pod.example"]);
  });
});

describe("a CIDR", () => {
  test.each(["10.0.0.0/8", "10.1.2.3", "0.0.0.0/0", "10.1.2.3/32", "::1", "fd00::/8", "::/0",
    "::1/128"])("%p is one", (text) => {
    expect(isCidr(text)).toBe(true);
  });

  test.each(["", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8/8", "10.0.0.0/+8", "10.0.0.0/-1", "10.0.0.0/0x8",
    "fd00::/129", "fe80::1%eth0", "example.org", "10.0.0.256", "*", " 10.0.0.1"])(
    "%p is none", (text) => {
      expect(isCidr(text)).toBe(false);
      expect(() => new CidrSet([text])).toThrow(`not an address or CIDR: "${text}"`);
    });
});

describe("a set of CIDRs", () => {
  const set = new CidrSet(["10.0.0.0/8", "192.168.1.5", "fd00::/8"]);
  test.each([
    ["10.255.255.255", true], ["11.0.0.0", false], ["192.168.1.5", true], ["192.168.1.6", false], ["fd12::1", true],
    ["fe80::1", false],
    ["::ffff:10.1.1.1", true], ["::ffff:11.1.1.1", false], ["", false], ["10.1.1.1 ", false], ["localhost", false],
    ["10.1", false],
  ])("%p is in it: %p", (address, isIn) => {
    expect(set.has(address)).toBe(isIn);
  });

  test("an IPv4-mapped address in hexadecimal counts as the IPv4 address that it carries", () => {
    expect(set.has("::ffff:a01:101")).toBe(true);
  });

  test("holds nothing when it is empty", () => {
    expect(new CidrSet([]).isEmpty).toBe(true);
    expect(new CidrSet([]).has("10.1.1.1")).toBe(false);
    expect(new CidrSet([]).has("::1")).toBe(false);
  });
});
