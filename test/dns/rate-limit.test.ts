import { describe, expect, test } from "bun:test";
import { networkOf, RateLimit, type Verdict } from "../../src/dns/rate-limit.ts";

class Clock {
  ms = 0;
  readonly now = (): number => this.ms;
}

function limited(options: { networksLimit?: number } = {}): { limit: RateLimit; clock: Clock } {
  const clock = new Clock();
  return { clock, limit: new RateLimit({ perSecond: 10, burst: 3, networksLimit: 100, ...options, now: clock.now }) };
}

const take = (limit: RateLimit, address: string, times: number): Verdict[] => Array.from({ length: times }, () => limit.take(address));

describe("rate limit", () => {
  test("a burst is answered; beyond it every second query is told to come over TCP", () => {
    const { limit } = limited();
    expect(take(limit, "192.0.2.1", 7)).toEqual(["answer", "answer", "answer", "drop", "ask-over-tcp", "drop", "ask-over-tcp"]);
  });

  test("one answer comes back every tenth of a second, and not a millisecond earlier", () => {
    const { limit, clock } = limited();
    take(limit, "192.0.2.1", 3);
    clock.ms = 99;
    expect(limit.take("192.0.2.1")).toBe("drop");
    clock.ms = 100;
    expect(take(limit, "192.0.2.1", 2)).toEqual(["answer", "ask-over-tcp"]);
  });

  test("silence saves up one burst, not more", () => {
    const { limit, clock } = limited();
    take(limit, "192.0.2.1", 3);
    clock.ms = 3_600_000;
    expect(take(limit, "192.0.2.1", 4)).toEqual(["answer", "answer", "answer", "drop"]);
  });

  test("addresses of one network share, others do not", () => {
    const { limit } = limited();
    take(limit, "192.0.2.1", 3);
    expect(limit.take("192.0.2.255")).toBe("drop");
    expect(limit.take("::ffff:192.0.2.9")).toBe("ask-over-tcp");
    expect(limit.take("192.0.3.1")).toBe("answer");
    take(limit, "2001:db8:0:1200::1", 3);
    expect(limit.take("2001:db8:0:12ff:ffff::1")).toBe("drop");
    expect(limit.take("2001:db8:0:1300::1")).toBe("answer");
  });

  test("a flood from everywhere does not grow the table, and forgets who was silent longest", () => {
    const { limit } = limited({ networksLimit: 100 });
    take(limit, "192.0.2.1", 3);
    take(limit, "198.51.100.1", 3);
    for (let i = 0; i < 99; i += 1) limit.take(`10.0.${i}.1`);
    expect(limit.size).toBe(100);
    expect(limit.take("198.51.100.1")).toBe("drop");
    expect(limit.take("192.0.2.1")).toBe("answer");
  });
});

describe("networks", () => {
  test.each([
    ["192.0.2.7", "192.0.2"], ["::ffff:192.0.2.7", "192.0.2"], ["2001:db8:0:1234::1", "2001:db8:0:12"], ["2001:0db8:0000:1234:0:0:0:1", "2001:db8:0:12"],
    ["2001:db8::", "2001:db8:0:0"], ["::1", "0:0:0:0"], ["::", "0:0:0:0"], ["fe80::1%eth0", "fe80:0:0:0"], ["1::2:3:4:5:6", "1:0:0:0"], ["1:2:3:ff::", "1:2:3:0"], ["1:2::4:5:6:7:8", "1:2:0:0"],
  ])("%p is in %p", (address, network) => {
    expect(networkOf(address)).toBe(network);
  });
});
