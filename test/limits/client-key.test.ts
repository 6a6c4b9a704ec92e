import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { clientKey } from "../../src/limits/client-key.ts";

describe("client key", () => {
  test.each([
    ["192.0.2.7", "192.0.2.7"],
    ["::ffff:192.0.2.7", "192.0.2.7"],
    ["127.0.0.1", "127.0.0.1"],
    ["2001:db8:0:12:a:b:c:d", "2001:db8:0:12"],
    ["2001:DB8:00:0012::1", "2001:db8:0:12"],
    ["2001:db8::1", "2001:db8:0:0"],
    ["2001:db8:1::", "2001:db8:1:0"],
    ["2001:db8::3:4:5:6:7", "2001:db8:0:3"],
    ["1::4:5:6:7:8", "1:0:0:4"],
    ["::1", "0:0:0:0"],
    ["::", "0:0:0:0"],
    ["64:ff9b::192.0.2.7", "64:ff9b:0:0"],
    ["1:2:3:4:5:6:192.0.2.7", "1:2:3:4"],
    ["fe80::1%eth0", "fe80:0:0:0"],
    ["", ""],
  ])("%s counts as %s", (address, key) => expect(clientKey(address)).toBe(key));

  test("is the same for every address of a /64, however it is written", () => {
    const group = fc.integer({ min: 0, max: 0xffff });
    fc.assert(fc.property(fc.array(group, { minLength: 8, maxLength: 8 }), fc.array(group, { minLength: 4, maxLength: 4 }), (groups, others) => {
      const written = (all: readonly number[]): string => all.map((one) => one.toString(16)).join(":");
      const short = new URL(`http://[${written(groups)}]/`).hostname.slice(1, -1);
      const neighbour = written([...groups.slice(0, 4), ...others]);
      // Mapped addresses are IPv4, and written so by everybody who says them.
      fc.pre(!short.startsWith("::ffff:"));
      expect(clientKey(short)).toBe(written(groups.slice(0, 4)));
      expect(clientKey(neighbour)).toBe(clientKey(short));
    }));
  });
});
