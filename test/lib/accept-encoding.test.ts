import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { chooseEncoding } from "../../src/lib/accept-encoding.ts";

const OFFERED = ["zstd", "gzip", "br"] as const;

describe("chooseEncoding", () => {
  const CASES: ReadonlyArray<readonly [accepted: string | undefined, chosen: string | null]> = [
    [undefined, null], ["", null], [" ", null], [",,", null], ["identity", null], ["deflate", null], ["compress, deflate", null],
    ["gzip", "gzip"], ["GZIP", "gzip"], ["x-gzip", "gzip"], ["br", "br"], ["zstd", "zstd"], ["gzip, deflate", "gzip"],
    // Chromium and Firefox; Safari; curl --compressed; wget.
    ["gzip, deflate, br, zstd", "zstd"], ["gzip, deflate, br", "gzip"], ["deflate, gzip, br, zstd", "zstd"], ["*/*", null],
    // Qualities come before our own order.
    ["gzip;q=0.5, br;q=0.9", "br"], ["zstd;q=0.1, gzip;q=0.2, br;q=0.3", "br"], ["br;q=0.001", "br"], ["gzip;q=1.0, zstd;q=0.999", "gzip"],
    ["gzip ; q=0.5 , br ; q=0.4", "gzip"], ["gzip;Q=0.5,br;q=0.6", "br"], ["br;q=1.000,gzip", "gzip"], ["gzip;q=0.,br;q=1.", "br"],
    // Refused ones.
    ["gzip;q=0", null], ["gzip;q=0.000", null], ["zstd;q=0, gzip", "gzip"], ["gzip, gzip;q=0", null], ["gzip;q=0, gzip", null], ["gzip;q=0.9, gzip;q=0.1, br;q=0.5", "br"],
    // The asterisk stands for what is not named.
    ["*", "zstd"], ["*;q=0", null], ["zstd;q=0, *", "gzip"], ["gzip;q=0.1, *;q=0.5", "zstd"], ["gzip, *;q=0", "gzip"], ["br, *;q=0.5", "br"],
    // The plain body: a choice where it is named, the last resort where it is not.
    ["identity;q=0", null], ["identity;q=0, gzip;q=0.1", "gzip"], ["identity, gzip;q=0.5", null], ["identity;q=0.5, gzip;q=0.4", null],
    ["identity;q=0.5, gzip;q=0.5", "gzip"], ["identity, gzip", "gzip"], ["identity;q=0.4, gzip;q=0.5", "gzip"], ["identity;q=0, *;q=0", null],
    // Malformed elements count as not sent, the others do.
    ["gzip;q=2", null], ["gzip;q=-1", null], ["gzip;q=0.1234", null], ["gzip;q=1.001", null], ["gzip;q=", null], ["gzip;q", null], ["gzip;", null], ["gzip;q=0.5;q=1", null],
    ["gzip;level=9", null], ["gz ip", null], ["gzip;q=abc, br", "br"], ["@, br", "br"], ["gzip q=1, br;q=0.1", "br"], ["\"gzip\"", null], ["gzip;q=1,0", "gzip"], ["q=1", null],
    // Not even with other people's names.
    ["constructor", null], ["__proto__, toString", null],
  ];
  test.each(CASES)("%p: %p", (accepted, chosen) => {
    expect(chooseEncoding(accepted, OFFERED)).toBe(chosen as (typeof OFFERED)[number] | null);
    // The second time from memory.
    expect(chooseEncoding(accepted, OFFERED)).toBe(chosen as (typeof OFFERED)[number] | null);
  });

  test("remembers for each list of offers", () => {
    const other = ["br", "gzip"] as const;
    for (let i = 0; i < 2; i++) {
      expect(chooseEncoding("gzip, deflate, br, zstd", OFFERED)).toBe("zstd");
      expect(chooseEncoding("gzip, deflate, br, zstd", other)).toBe("br");
      expect(chooseEncoding("gzip, deflate, br, zstd", [])).toBeNull();
    }
  });

  test("a client that sends a different text each time is answered as well", () => {
    for (let i = 0; i < 2000; i++) expect(chooseEncoding(`gzip;q=0.5, x-${i}`, OFFERED)).toBe("gzip");
    expect(chooseEncoding(`${"x,".repeat(10_000)}gzip`, OFFERED)).toBe("gzip");
  });

  test("chooses what is best among what the client names, for any qualities", () => {
    const weight = fc.integer({ min: 0, max: 1000 });
    fc.assert(fc.property(fc.record({ zstd: weight, gzip: weight, br: weight, identity: weight }, { requiredKeys: [] }), (weights) => {
      const accepted = Object.entries(weights).map(([name, value]) => `${name};q=${value === 1000 ? "1" : `0.${String(value).padStart(3, "0")}`}`).join(",");
      const chosen = chooseEncoding(accepted, OFFERED);
      const best = Math.max(...OFFERED.map((name) => weights[name] ?? 0));
      if (best === 0 || best < (weights.identity ?? 0)) expect(chosen).toBeNull();
      else expect(chosen).toBe(OFFERED.find((name) => weights[name] === best) ?? null);
    }));
  });

  test("never throws and never leaves the offers, whatever is sent", () => {
    fc.assert(fc.property(fc.string({ unit: fc.constantFrom(..."gzipbrstd*identy;q=0.15, \t\"") }), (accepted) => {
      expect([null, ...OFFERED]).toContain(chooseEncoding(accepted, OFFERED));
    }));
  });
});
