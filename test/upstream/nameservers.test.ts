import { describe, expect, test } from "bun:test";
import { findNameservers } from "../../src/upstream/nameservers.ts";

const NAMES: Readonly<Record<string, readonly string[]>> = { "dns.test": ["10.0.0.1", "fd00::10"] };

const find = (...servers: string[]) => findNameservers(servers, 5000, async (name) => {
  const addresses = NAMES[name];
  if (addresses === undefined) throw new Error(`getaddrinfo ENOTFOUND ${name}`);
  return addresses;
});

describe("nameservers", () => {
  test("that are addresses stay as they are, and nobody is asked", async () => {
    const servers = ["10.0.0.1", "10.0.0.1:53", "fd00::10", "[fd00::10]", "[fd00::10]:53"];
    expect(await find(...servers)).toEqual(servers);
    expect(await findNameservers(null, 5000)).toBeNull();
  });

  test("that are names become all their addresses, with their port", async () => {
    expect(await find("8.8.8.8", "dns.test:5353", "dns.test")).toEqual(["8.8.8.8", "10.0.0.1:5353", "[fd00::10]:5353", "10.0.0.1", "[fd00::10]"]);
  });

  test("that nobody knows are an error, and so are those that take too long", async () => {
    await expect(find("other.test:53")).rejects.toThrow('cannot resolve the nameserver "other.test" through the system: getaddrinfo ENOTFOUND other.test');
    const late = findNameservers(["10.0.0.1", "dns.test"], 20, () => new Promise(() => {}));
    await expect(late).rejects.toThrow('cannot resolve the nameserver "dns.test" through the system: no answer within 20 ms');
  });
});
