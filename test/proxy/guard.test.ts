import { describe, expect, test } from "bun:test";
import { RouteError } from "../../src/errors.ts";
import { TargetGuard } from "../../src/proxy/guard.ts";

function passes(check: () => void): boolean {
  try {
    check();
    return true;
  } catch (error) {
    expect((error as RouteError).code).toBe("forbidden");
    return false;
  }
}

describe("a guard that allows everything", () => {
  const guard = new TargetGuard(["*"], [6081, 29781]);
  const DENIED = ["127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1", "224.0.0.1",
    "239.1.1.1", "255.255.255.255", "::", "::1",
    "fe80::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:7f00:1", "::ffff:a9fe:a9fe",
    "fd00:ec2::254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a9fe:a9fe::",
    "::127.0.0.1", "::7f00:1", "::ffff:0:127.0.0.1", "2002:e000::1", "2002:0:1::", "2001:0:7f00:1::", "fec0::1", "240.0.0.1",
    "100.100.100.200", "168.63.129.16", "192.0.0.192", "", "localhost", "127.1", "0x7f.0.0.1"];
  test.each(DENIED)("refuses %p", (address) => {
    expect(passes(() => guard.checkAddress(address, "pod.example"))).toBe(false);
    expect(passes(() => guard.checkAddress(address, null))).toBe(false);
  });

  test.each(["10.1.2.3", "192.168.1.1", "172.16.0.1", "203.0.113.9", "fd00::1", "2001:db8::1",
    "::ffff:10.1.2.3"])("lets %p pass", (address) => {
    expect(passes(() => guard.checkAddress(address, null))).toBe(true);
  });

  test.each(["localhost", "a.localhost"])("refuses the name %p before it is looked up", (name) => {
    expect(passes(() => guard.checkName(name))).toBe(false);
  });

  test.each([["6081", true], ["29781", true], ["80", false], ["06081", false], ["+6081", false], ["6081 ", false],
    ["6081.0", false], ["0x17c1", false], ["", false], ["65536", false],
    ["6e3", false], ["%36081", false]])("a path may name port %p: %p", (text, allowed) => {
    expect(passes(() => void guard.checkPort(text))).toBe(allowed);
  });
});

describe("a guard with a list", () => {
  const guard = new TargetGuard(["10.0.0.0/8", "127.0.1.0/24", ".desktop.example"], []);
  test.each([
    ["10.9.9.9", null, true], ["11.0.0.1", null, false], ["127.0.1.5", null, true], ["127.0.0.1", null, false],
    ["11.0.0.1", "a.desktop.example", true],
    ["11.0.0.1", "desktop.example", true], ["11.0.0.1", "evildesktop.example", false],
    ["11.0.0.1", "desktop.example.evil", false],
    ["169.254.169.254", "a.desktop.example", false], ["127.0.0.1", "a.desktop.example", false],
  ])("address %p of the name %p passes: %p", (address, name, allowed) => {
    expect(passes(() => guard.checkAddress(address, name))).toBe(allowed);
  });

  test("leaves out what a name has and the list has not", () => {
    expect(guard.listedAddresses(["10.9.9.9", "fd00::1", "127.0.1.5"], "pod.example")).toEqual(["10.9.9.9", "127.0.1.5"]);
    expect(guard.listedAddresses(["11.0.0.1", "fd00::1"], "a.desktop.example")).toEqual(["11.0.0.1", "fd00::1"]);
  });

  test.each([["none that is listed", ["11.0.0.1", "fd00::1"]], ["a denied one", ["10.9.9.9", "169.254.169.254"]]])("refuses a name with %s", (_what, addresses) => {
    expect(passes(() => void guard.listedAddresses(addresses, "pod.example"))).toBe(false);
  });
});
