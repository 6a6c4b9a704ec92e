// Names that are asked of a DNS server over UDP: addresses of both kinds, and packets that get lost.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { type Answer, decode, encode, type Packet, RECURSION_DESIRED } from "dns-packet";
import { NameError, NameResolver } from "../../src/upstream/dns.ts";

/** What is known: by kind and name. Everything else of a known name is there without an answer; other names are not there. */
const RECORDS: Readonly<Record<string, string>> = { "A four.test": "10.1.2.3", "AAAA six.test": "fd00::5", "A both.test": "10.1.2.4", "AAAA both.test": "fd00::6" };
const NXDOMAIN = 3;

let server: Bun.udp.Socket<"buffer">;
let asked: string[];
/** Queries that get no answer. */
let lost: number;
/** A kind that is never answered. */
let unanswered: string;
let resolver: NameResolver;

beforeEach(async () => {
  asked = [];
  lost = 0;
  unanswered = "";
  server = await Bun.udpSocket({
    hostname: "127.0.0.1", port: 0,
    socket: {
      data(socket, bytes, port, address) {
        const answer = answerTo(decode(bytes));
        if (answer !== null) socket.send(encode(answer), port, address);
      },
    },
  });
  resolver = new NameResolver({ nameservers: [`127.0.0.1:${server.port}`], timeoutMs: 5000 });
});

afterEach(() => {
  resolver.close();
  server.close();
});

function answerTo({ id, questions = [] }: Packet): Packet | null {
  const question = questions[0];
  if (id === undefined || question === undefined) return null;
  asked.push(`${question.type} ${question.name}`);
  lost -= 1;
  if (lost >= 0 || question.type === unanswered) return null;
  const data = RECORDS[`${question.type} ${question.name}`];
  const isKnown = Object.keys(RECORDS).some((record) => record.endsWith(` ${question.name}`));
  const answers = data === undefined ? [] : [{ type: question.type, name: question.name, ttl: 60, data } as Answer];
  return { type: "response", id, flags: RECURSION_DESIRED | (isKnown ? 0 : NXDOMAIN), questions, answers };
}

describe("a name", () => {
  test.each([["four.test", "10.1.2.3"], ["six.test", "fd00::5"]])("that has addresses of whatever kind is found: %s", async (name, address) => {
    expect(await resolver.resolve(name)).toEqual([address]);
  });

  test("that has both kinds has IPv4 first, and is the same list until it is asked for again", async () => {
    const addresses = await resolver.resolve("both.test");
    expect(addresses).toEqual(["10.1.2.4", "fd00::6"]);
    expect(resolver.resolve("both.test")).toBe(addresses);
    expect(asked).toEqual(["A both.test", "AAAA both.test"]);
  });

  test("of a server that may have both kinds is one of them", async () => {
    expect((await resolver.askAnywhere("both.test")).addresses).toEqual(["10.1.2.4"]);
    expect((await resolver.askAnywhere("six.test")).addresses).toEqual(["fd00::5"]);
  });

  test("whose IPv6 nobody answers for is not waited for when it has IPv4", async () => {
    unanswered = "AAAA";
    const begin = performance.now();
    expect(await resolver.resolve("both.test")).toEqual(["10.1.2.4"]);
    expect(performance.now() - begin).toBeLessThan(4000);
  });

  test("whose IPv4 nobody answers for is not known, though it has IPv6", async () => {
    unanswered = "A";
    resolver.close();
    resolver = new NameResolver({ nameservers: [`127.0.0.1:${server.port}`], timeoutMs: 100 });
    await expect(Promise.resolve(resolver.resolve("both.test"))).rejects.toMatchObject({ reason: "timeout" });
  });

  test("that has none is not found, and asked for again only after a second", async () => {
    await expect(Promise.resolve(resolver.resolve("none.test"))).rejects.toMatchObject({ name: "NameError", reason: "not-found" });
    expect(() => resolver.resolve("none.test")).toThrow(NameError);
    expect(asked).toEqual(["A none.test", "AAAA none.test"]);
  });
});

describe("a lost packet", () => {
  test("is asked again within the time for the whole", async () => {
    lost = 1;
    expect(await resolver.resolve("four.test")).toEqual(["10.1.2.3"]);
    expect(asked).toEqual(["A four.test", "AAAA four.test", "A four.test"]);
  });

  test("and another one, and so on until the time is over", async () => {
    lost = Infinity;
    resolver.close();
    resolver = new NameResolver({ nameservers: [`127.0.0.1:${server.port}`], timeoutMs: 1500 });
    const begin = performance.now();
    await expect(Promise.resolve(resolver.resolve("four.test"))).rejects.toMatchObject({ reason: "timeout" });
    expect(performance.now() - begin).toBeWithin(1400, 4000);
    expect(asked.length).toBeGreaterThan(1);
  });
});
