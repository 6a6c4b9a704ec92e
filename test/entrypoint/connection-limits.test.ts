import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ConnectionLimits, type ConnectionLimitOptions } from "../../src/entrypoint/connection-limits.ts";

const limits = (options: Partial<ConnectionLimitOptions>): ConnectionLimits => new ConnectionLimits({ connections: 0, connectionsPerAddress: 0, ...options });
const enter = (one: ConnectionLimits, client: string, times: number): boolean[] => Array.from({ length: times }, () => one.enter(client));

describe("connection limits", () => {
  test("0 is no bound", () => {
    expect(enter(limits({}), "192.0.2.1", 1000)).not.toContain(false);
  });

  test("let in so many in all", () => {
    const one = limits({ connections: 2 });
    expect([one.enter("192.0.2.1"), one.enter("192.0.2.2"), one.enter("192.0.2.3")]).toEqual([true, true, false]);
    one.leave("192.0.2.1");
    expect([one.enter("192.0.2.3"), one.enter("192.0.2.4")]).toEqual([true, false]);
  });

  test("let in so many of one address", () => {
    const one = limits({ connectionsPerAddress: 2 });
    expect(enter(one, "192.0.2.1", 3)).toEqual([true, true, false]);
    expect(enter(one, "192.0.2.2", 3)).toEqual([true, true, false]);
    one.leave("192.0.2.1");
    expect(enter(one, "192.0.2.1", 2)).toEqual([true, false]);
  });

  test("count the addresses of an IPv6 /64 as one, and mapped ones as IPv4", () => {
    const one = limits({ connectionsPerAddress: 2 });
    expect([one.enter("2001:db8::1"), one.enter("2001:db8::2"), one.enter("2001:db8::3"), one.enter("2001:db8:0:1::1")]).toEqual([true, true, false, true]);
    expect([one.enter("192.0.2.1"), one.enter("::ffff:192.0.2.1"), one.enter("192.0.2.1")]).toEqual([true, true, false]);
  });

  test("who is refused for his address takes no place of the others", () => {
    const one = limits({ connections: 3, connectionsPerAddress: 1 });
    expect(enter(one, "192.0.2.1", 100).filter(Boolean)).toHaveLength(1);
    expect([one.enter("192.0.2.2"), one.enter("192.0.2.3"), one.enter("192.0.2.4")]).toEqual([true, true, false]);
  });

  test("exempt addresses have no bound of their own, and count in all", () => {
    const one = limits({ connections: 5, connectionsPerAddress: 1, exempt: ["10.0.0.0/8"] });
    expect(enter(one, "10.1.2.3", 6)).toEqual([true, true, true, true, true, false]);
  });

  test("a client that is named later counts from then on", () => {
    const one = limits({ connections: 10, connectionsPerAddress: 1 });
    expect([one.enter(null, "10.0.0.1"), one.enter(null, "10.0.0.1")]).toEqual([true, true]);
    expect([one.name("192.0.2.1"), one.name("192.0.2.1")]).toEqual([true, false]);
    one.leave("192.0.2.1");
    one.leave(null);
    expect(one.size).toBe(0);
    expect(one.enter("192.0.2.1")).toBe(true);
  });

  test("forget clients that have left", () => {
    const one = limits({ connectionsPerAddress: 3 });
    for (let address = 0; address < 256; address += 1) one.enter(`192.0.2.${address}`);
    for (let address = 0; address < 256; address += 1) one.leave(`192.0.2.${address}`);
    expect([one.size, one.clients]).toEqual([0, 0]);
  });

  test("say once a second whom they refused, and how many others", () => {
    const clock = { ms: 0 };
    const said: unknown[] = [];
    const one = limits({ connections: 1, connectionsPerAddress: 1, now: () => clock.ms, refused: (...line) => said.push(line) });
    one.enter("192.0.2.1");
    enter(one, "192.0.2.2", 50);
    clock.ms += 999;
    one.enter("192.0.2.3");
    expect(said).toEqual([["192.0.2.2", "too many connections", 0]]);
    clock.ms += 1;
    one.leave("192.0.2.1");
    one.enter("192.0.2.4");
    one.name("192.0.2.4");
    expect(said.slice(1)).toEqual([["192.0.2.4", "too many connections of this address", 50]]);
  });

  test("whatever comes and goes, the counts are those of who is there", () => {
    const client = fc.constantFrom("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "10.0.0.1");
    fc.assert(fc.property(fc.array(fc.record({ client, leaves: fc.boolean() }), { maxLength: 100 }), (steps) => {
      const one = limits({ connections: 6, connectionsPerAddress: 2, exempt: ["10.0.0.0/8"] });
      const there: string[] = [];
      const key = (address: string): string => address.replace(/::.$/, "::");
      for (const { client: address, leaves } of steps) {
        if (leaves && there.includes(address)) {
          one.leave(address);
          there.splice(there.indexOf(address), 1);
          continue;
        }
        const same = there.filter((other) => key(other) === key(address)).length;
        const hasRoom = there.length < 6 && (address === "10.0.0.1" || same < 2);
        expect(one.enter(address)).toBe(hasRoom);
        if (hasRoom) there.push(address);
      }
      expect(one.size).toBe(there.length);
    }));
  });
});
