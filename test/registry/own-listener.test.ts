import { describe, expect, test } from "bun:test";
import { networkInterfaces } from "node:os";
import { isOwnListener } from "../../src/registry/own-listener.ts";

const EVERYWHERE = ["", "::", "0.0.0.0", "localhost"].map((host) => ({ host, port: 443 }));

describe("a listener of our own", () => {
  test("on all addresses is reached by loopback and by every address of this machine, at its port", () => {
    const own = Object.values(networkInterfaces()).flatMap((each) => (each ?? []).map(({ address }) => address));
    for (const listener of EVERYWHERE) {
      for (const address of ["127.0.0.1", "127.9.9.9", "::1", ...own]) expect(isOwnListener({ address, port: 443 }, [listener])).toBe(true);
      for (const address of ["192.0.2.1", "2001:db8::1"]) expect(isOwnListener({ address, port: 443 }, [listener])).toBe(false);
      expect(isOwnListener({ address: "127.0.0.1", port: 444 }, [listener])).toBe(false);
    }
  });

  test("on one address is reached by that one only, in whatever spelling", () => {
    const listeners = [{ host: "10.0.0.5", port: 443 }, { host: "2001:DB8:0::5", port: 443 }];
    for (const address of ["10.0.0.5", "2001:db8::5"]) expect(isOwnListener({ address, port: 443 }, listeners)).toBe(true);
    for (const address of ["127.0.0.1", "::1", "10.0.0.6"]) expect(isOwnListener({ address, port: 443 }, listeners)).toBe(false);
  });
});
