import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { canonicalAddress } from "../../src/lib/address.ts";
import { checkBackends, domainFault, formatBackend, nameFault, parseBackend, workloadIdFault } from "../../src/registry/validate.ts";

const RULES = { allowLoopback: false, publicAddresses: ["185.69.166.1", "2a10:b600::1"] };

describe("a workload id", () => {
  test.each([["37-1976-workloadname"], ["a"], ["A b"], ["é"], ["a.yaml"], ["..a".slice(2)], ["x".repeat(250)], ["-"], ["a..b"], ["\\"]])("may be %j", (id) => {
    expect(workloadIdFault(id)).toBeNull();
  });

  test.each([
    ["", 'workload id "" is empty'],
    [".", 'workload id "." is a directory'],
    ["..", 'workload id ".." is a directory'],
    ["../x", 'workload id "../x" holds a "/", and ids become file names'],
    ["a/b", 'workload id "a/b" holds a "/", and ids become file names'],
    ["a\0b", 'workload id "a\\u0000b" holds a NUL character, and ids become file names'],
    [".a", 'workload id ".a" begins with a dot, and such files are ignored'],
    ["a\nb", 'workload id "a\\nb" holds characters that cannot be printed'],
    ["a\u2028b", 'workload id "a\u2028b" holds characters that cannot be printed'],
    ["a\u202eb", 'workload id "a\u202eb" holds characters that cannot be printed'],
    ["\ud800", 'workload id "\\ud800" holds characters that cannot be printed'],
    ["x".repeat(251), `workload id "${"x".repeat(200)}…" is too long: its file's name has 256 bytes, and 255 are possible`],
    ["é".repeat(126), `workload id "${"é".repeat(126)}" is too long: its file's name has 257 bytes, and 255 are possible`],
  ])("may not be %j", (id, fault) => {
    expect(workloadIdFault(id)).toBe(fault);
  });
});

describe("a name", () => {
  test.each([["a"], ["A-b_9"], ["-"], ["x".repeat(63)]])("may be %j", (name) => {
    expect(nameFault(name)).toBeNull();
  });

  test.each([[""], ["a.b"], ["a b"], ["*"], ["é"], ["a\n"], ["a`"]])("may not be %j", (name) => {
    expect(nameFault(name)).toBe(`name ${JSON.stringify(name)} is not one of letters, digits, "_" and "-" (and at least one of them)`);
  });

  test("may not be longer than a DNS label", () => {
    expect(nameFault("x".repeat(64))).toEndWith("has 64 characters, and a DNS label has at most 63");
  });
});

describe("a domain", () => {
  test.each([["a.bc"], ["Remote.Omar.grid.tf"], ["_a.b-c.example"], ["1.2.3.example"], [`${"x".repeat(63)}.example`]])("may be %j", (domain) => {
    expect(domainFault(domain)).toBeNull();
  });

  test.each([
    ["localhost", '"localhost" is not a domain such as app.example.org'],
    ["", '"" is not a domain such as app.example.org'],
    ["a.b", '"a.b" is not a domain such as app.example.org'],
    ["a..bc", '"a..bc" is not a domain such as app.example.org'],
    [".bc", '".bc" is not a domain such as app.example.org'],
    ["*.example.org", '"*.example.org" is not a domain such as app.example.org'],
    ["exämple.org", '"exämple.org" is not a domain such as app.example.org'],
    ["a.org\n", '"a.org\\n" is not a domain such as app.example.org'],
    ["a.org:80", '"a.org:80" is not a domain such as app.example.org'],
    ["a.org.", '"a.org." is not a domain such as app.example.org (write a.org, without the dot)'],
    ["10.0.0.10", '"10.0.0.10" is an address, and a domain such as app.example.org is needed'],
    ["2001:db8::1", '"2001:db8::1" is an address, and a domain such as app.example.org is needed'],
    ["a.123", '"a.123" ends in a number, which no domain does'],
    ["a.0x1f", '"a.0x1f" ends in a number, which no domain does'],
    [`${"x".repeat(64)}.org`, `"${"x".repeat(64)}.org" has a label of 64 characters, and a DNS label has at most 63`],
  ])("may not be %j", (domain, fault) => {
    expect(domainFault(domain)).toBe(fault);
  });

  test("may not be longer than DNS has room for", () => {
    expect(domainFault(`${"abcdefg.".repeat(31)}abcde`)).toBeNull();
    expect(domainFault(`${"abcdefg.".repeat(31)}abcdef`)).toEndWith("has 254 characters, and a domain has at most 253");
  });

  test("of great length is refused quickly", () => {
    const startedMs = performance.now();
    expect(domainFault("a.".repeat(500_000))).not.toBeNull();
    expect(performance.now() - startedMs).toBeLessThan(1000);
  });
});

describe("a backend", () => {
  test.each<[string, boolean, string, number]>([
    ["http://10.0.0.1", false, "10.0.0.1", 80],
    ["http://10.0.0.1:9000", false, "10.0.0.1", 9000],
    ["HTTP://10.0.0.1:9000/", false, "10.0.0.1", 9000],
    ["http://[2001:DB8::1]", false, "2001:db8::1", 80],
    ["http://[2001:db8::1]:65535", false, "2001:db8::1", 65_535],
    ["http://[::ffff:10.0.0.1]:1", false, "10.0.0.1", 1],
    ["10.0.0.1:443", true, "10.0.0.1", 443],
    ["10.0.0.1", true, "10.0.0.1", 443],
    ["https://10.0.0.1", true, "10.0.0.1", 443],
    ["https://10.0.0.1:8443/", true, "10.0.0.1", 8443],
    ["[2001:db8::1]:8443", true, "2001:db8::1", 8443],
    ["[2001:db8::1]", true, "2001:db8::1", 443],
    ["https://[2001:db8::1]", true, "2001:db8::1", 443],
    ["127.0.0.1:443", true, "127.0.0.1", 443],
  ])("may be %j (passthrough: %p)", (text, isPassthrough, address, port) => {
    expect(checkBackends([text], isPassthrough, RULES)).toEqual({ values: [{ address, port }], faults: [] });
  });

  test.each<[string, boolean, string]>([
    ["http://example.org:80", false, '"example.org" is a host name, and an IP address is needed'],
    ["example.org:443", true, '"example.org" is a host name, and an IP address is needed'],
    ["http://localhost", false, '"localhost" is a host name, and an IP address is needed'],
    ["http://127.1:80", false, '"127.1" is a host name, and an IP address is needed'],
    ["http://0x7f000001:80", false, '"0x7f000001" is a host name, and an IP address is needed'],
    ["http://010.0.0.1:80", false, '"010.0.0.1" is a host name, and an IP address is needed'],
    ["10.0.0.1:80", false, "a backend is http://ip:port, the http:// is missing"],
    ["https://10.0.0.1:80", false, "TLS ends at the gateway, so a backend is http://ip:port, not https://"],
    ["ftp://10.0.0.1:80", false, "TLS ends at the gateway, so a backend is http://ip:port, not ftp://"],
    ["http://10.0.0.1:80", true, "with TLS passthrough a backend is ip:port or https://ip:port, not http://"],
    ["http://10.0.0.1:", false, "the port is missing after \":\""],
    ["10.0.0.1:", true, "the port is missing after \":\""],
    ["http://[2001:db8::1]:", false, "the port is missing after \":\""],
    ["http://10.0.0.1:0", false, 'port "0" is not a number from 1 to 65535'],
    ["10.0.0.1:65536", true, 'port "65536" is not a number from 1 to 65535'],
    ["http://10.0.0.1:-1", false, 'port "-1" is not a number from 1 to 65535'],
    ["http://10.0.0.1:8e1", false, 'port "8e1" is not a number from 1 to 65535'],
    ["http://10.0.0.1: 80", false, 'port " 80" is not a number from 1 to 65535'],
    ["http://2001:db8::1", false, "an IPv6 address stands in brackets: [2001:db8::1]"],
    ["2001:db8::1", true, "an IPv6 address stands in brackets: [2001:db8::1]"],
    ["http://[10.0.0.1]:80", false, '"[10.0.0.1]" is not an IP address'],
    ["http://[::1", false, '"[::1" is not an IP address'],
    ["http://[fe80::1%eth0]:80", false, '"[fe80::1%eth0]" names an interface, and an address without one is needed'],
    ["http://", false, "the address is missing"],
    [":443", true, "the address is missing"],
    ["", true, "the address is missing"],
    ["http://10.0.0.1/path", false, "only an address and a port may be given, no path, query or user"],
    ["http://10.0.0.1//", false, "only an address and a port may be given, no path, query or user"],
    ["http://a:b@10.0.0.1", false, "only an address and a port may be given, no path, query or user"],
    ["http://10.0.0.1?x", false, "only an address and a port may be given, no path, query or user"],
    ["10.0.0.1:443/", true, "only an address and a port may be given, no path, query or user"],
    ["http://0.0.0.0:80", false, "0.0.0.0 is not an address that can be connected to"],
    ["[::]:80", true, ":: is not an address that can be connected to"],
    ["http://255.255.255.255", false, "255.255.255.255 is not an address that can be connected to"],
    ["http://224.0.0.1", false, "224.0.0.1 is not an address that can be connected to"],
    ...["169.254.169.254", "169.254.0.1", "100.100.100.200", "fe80::1", "fd00:ec2::254", "64:ff9b::a9fe:a9fe"].flatMap((address): Array<[string, boolean, string]> => {
      const host = address.includes(":") ? `[${address}]` : address;
      const fault = `${address} is link-local or cloud metadata, which tells a machine's credentials, and no workload is there`;
      return [[`http://${host}`, false, fault], [`${host}:443`, true, fault]];
    }),
    ["http://[::ffff:169.254.169.254]", false, "169.254.169.254 is link-local or cloud metadata, which tells a machine's credentials, and no workload is there"],
    ["http://127.0.0.1:80", false, "127.0.0.1 is a loopback address, this gateway itself"],
    ["http://127.9.9.9", false, "127.9.9.9 is a loopback address, this gateway itself"],
    ["http://[::1]:80", false, "::1 is a loopback address, this gateway itself"],
    ["http://[::ffff:127.0.0.1]:80", false, "127.0.0.1 is a loopback address, this gateway itself"],
    ["http://[::ffff:7f00:1]", false, "127.0.0.1 is a loopback address, this gateway itself"],
    ["http://185.69.166.1", false, "185.69.166.1 is this gateway's own address"],
    ["185.69.166.1:443", true, "185.69.166.1 is this gateway's own address"],
    ["[2a10:b600:0:0::1]:443", true, "2a10:b600::1 is this gateway's own address"],
  ])("may not be %j (passthrough: %p)", (text, isPassthrough, fault) => {
    expect(checkBackends([text], isPassthrough, RULES).faults).toEqual([`backend ${JSON.stringify(text)}: ${fault}`]);
  });

  test("may be on loopback where that is allowed, and on the link nowhere", () => {
    expect(checkBackends(["http://169.254.169.254"], false, { ...RULES, allowLoopback: true }).faults).toHaveLength(1);
    expect(checkBackends(["http://127.0.0.1:80"], false, { ...RULES, allowLoopback: true }).faults).toEqual([]);
  });

  test("is told all of its faults, and so are its neighbours", () => {
    expect(checkBackends(["ftp://host:0", "http://10.0.0.1", "http://127.0.0.1:x"], false, RULES).faults).toEqual([
      'backend "ftp://host:0": TLS ends at the gateway, so a backend is http://ip:port, not ftp://',
      'backend "ftp://host:0": "host" is a host name, and an IP address is needed',
      'backend "ftp://host:0": port "0" is not a number from 1 to 65535',
      'backend "http://127.0.0.1:x": 127.0.0.1 is a loopback address, this gateway itself',
      'backend "http://127.0.0.1:x": port "x" is not a number from 1 to 65535',
    ]);
  });

  test("is needed, at least one", () => {
    expect(checkBackends([], true, RULES).faults).toEqual(["no backends: at least one is needed"]);
  });

  test("that is read is written so that it is read again", () => {
    const address = fc.oneof(fc.ipV4(), fc.ipV6());
    fc.assert(fc.property(address, fc.integer({ min: 1, max: 65_535 }), fc.boolean(), (address, port, isPassthrough) => {
      const text = `${isPassthrough ? "" : "http://"}${address.includes(":") ? `[${address}]` : address}:${port}`;
      const { values: [backend], faults } = parseBackend(text, isPassthrough);
      if (faults.length > 0) return;
      expect(backend).toEqual({ address: canonicalAddress(address) ?? "", port });
      expect(parseBackend(formatBackend(backend!, isPassthrough), isPassthrough)).toEqual({ values: [backend!], faults: [] });
    }), { numRuns: 500, seed: 5 });
  });

  test("of any text throws nothing, and has a value or a fault", () => {
    fc.assert(fc.property(fc.oneof(fc.string({ unit: "binary" }), fc.stringMatching(/^(https?:\/\/)?[[\]:.0-9a-f%/@]{0,20}$/)), fc.boolean(), (text, isPassthrough) => {
      const { values, faults } = checkBackends([text], isPassthrough, RULES);
      expect(values.length + faults.length).toBeGreaterThan(0);
      for (const { address, port } of faults.length === 0 ? values : []) {
        expect(canonicalAddress(address)).toBe(address);
        expect(port).toBeWithin(1, 65_536);
      }
    }), { numRuns: 1000, seed: 6 });
  });
});
