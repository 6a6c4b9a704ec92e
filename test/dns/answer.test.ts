import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { answer, type Transport } from "../../src/dns/answer.ts";
import type { Zone } from "../../src/dns/zone.ts";
import { type Decoded, ednsQuery, header, IN, optRecord, query, question, read, texts, TXT, u16, wireName, ZONE } from "./wire.ts";

const MANY: Zone = { ...ZONE, values: Array.from({ length: 40 }, (_, i) => `value-${i}`.padEnd(43, "x")) };
const INSIDE: Zone = { ...ZONE, nameserver: `ns.a.${ZONE.name}` };

function ask(message: Buffer, zone: Zone = ZONE, transport: Transport = "udp"): Decoded {
  const reply = answer(message, zone, transport);
  if (reply === null) throw new Error("no answer");
  return read(reply);
}

describe("records of the zone", () => {
  test("TXT: every value, with authority, and remembered for a second", () => {
    const reply = ask(query(ZONE.name), { ...ZONE, values: ["one", "two"] });
    expect(reply).toMatchObject({ id: 0x1234, rcode: "NOERROR", isAuthoritative: true, isTruncated: false });
    expect(texts(reply.answers)).toEqual(["one", "two"]);
    expect(reply.answers[0]).toMatchObject({ name: ZONE.name, ttl: 1 });
    expect(reply.authorities).toEqual([]);
  });

  test("TXT while no challenge runs: no data, and the SOA says for how long", () => {
    const reply = ask(query(ZONE.name), { ...ZONE, values: [] });
    expect(reply).toMatchObject({ rcode: "NOERROR", isAuthoritative: true, answers: [] });
    expect(reply.authorities).toMatchObject([{ type: "SOA", name: ZONE.name, ttl: 1, data: { mname: ZONE.nameserver, rname: "hostmaster.gent01.grid.example", serial: 7, minimum: 1 } }]);
  });

  test("SOA, NS and CAA", () => {
    expect(ask(query(ZONE.name, 6)).answers).toMatchObject([{ type: "SOA", ttl: 300, data: { serial: 7, minimum: 1 } }]);
    expect(ask(query(ZONE.name, 2)).answers).toMatchObject([{ type: "NS", data: ZONE.nameserver }]);
    expect(ask(query(ZONE.name, 257)).answers).toMatchObject([{ type: "CAA", data: { flags: 0, tag: "issue", value: "letsencrypt.org" } }]);
  });

  test("no CAA when no CA is named", () => {
    expect(ask(query(ZONE.name, 257), { ...ZONE, caaIssuers: [] })).toMatchObject({ rcode: "NOERROR", answers: [], authorities: [{ type: "SOA" }] });
  });

  test("ANY is one small HINFO, however many values there are (RFC 8482)", () => {
    const reply = ask(query(ZONE.name, 255), MANY);
    expect(reply.answers).toMatchObject([{ type: "HINFO", data: { cpu: "RFC8482", os: "" } }]);
    expect(answer(query(ZONE.name, 255), MANY, "udp")!.length).toBeLessThan(100);
  });

  test.each([1, 5, 15, 28, 43, 99, 250, 0, 65_280, 65_535])("type %p: no data", (type) => {
    expect(ask(query(ZONE.name, type))).toMatchObject({ rcode: "NOERROR", isAuthoritative: true, answers: [], authorities: [{ type: "SOA" }] });
  });

  test("a name below does not exist, whatever the type", () => {
    for (const type of [TXT, 1, 255]) expect(ask(query(`x.${ZONE.name}`, type))).toMatchObject({ rcode: "NXDOMAIN", isAuthoritative: true, answers: [], authorities: [{ type: "SOA", name: ZONE.name }] });
  });

  test("a name server inside the zone has its addresses there, and as glue", () => {
    expect(ask(query(INSIDE.nameserver, 1), INSIDE).answers).toMatchObject([{ type: "A", name: INSIDE.nameserver, data: "192.0.2.1" }]);
    expect(ask(query(INSIDE.nameserver, 28), INSIDE).answers).toMatchObject([{ type: "AAAA", data: "2001:db8::1" }]);
    expect(ask(query(INSIDE.name, 2), INSIDE).additionals).toMatchObject([{ type: "A", name: INSIDE.nameserver }, { type: "AAAA", name: INSIDE.nameserver }]);
    expect(ask(query(INSIDE.nameserver), INSIDE)).toMatchObject({ rcode: "NOERROR", answers: [], authorities: [{ type: "SOA" }] });
  });

  test("a name between the zone and its name server exists, and has nothing", () => {
    expect(ask(query(`a.${INSIDE.name}`), INSIDE)).toMatchObject({ rcode: "NOERROR", answers: [], authorities: [{ type: "SOA" }] });
    expect(ask(query(`b.${INSIDE.name}`), INSIDE).rcode).toBe("NXDOMAIN");
  });

  test("the zone can be its own name server", () => {
    const zone = { ...ZONE, nameserver: ZONE.name };
    expect(ask(query(zone.name, 1), zone).answers).toMatchObject([{ type: "A", name: zone.name, data: "192.0.2.1" }]);
    expect(texts(ask(query(zone.name), zone).answers)).toEqual(["first-value"]);
  });

  test("of a name server elsewhere nothing is told", () => {
    expect(ask(query(ZONE.name, 2)).additionals).toEqual([]);
    expect(ask(query(ZONE.nameserver, 1)).rcode).toBe("REFUSED");
  });
});

describe("refusals", () => {
  test.each(["", "example", "gent01.grid.example", "x_acme-challenge.gent01.grid.example", "_acme-challenge.gent01.grid.example.evil.test"])("outside the zone: %p", (name) => {
    expect(ask(query(name))).toMatchObject({ rcode: "REFUSED", isAuthoritative: false, answers: [], authorities: [] });
  });

  test("a label with a dot in it is not two labels", () => {
    const [first = "", ...rest] = ZONE.name.split(".");
    const glued = (label: string, ...others: string[]) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label), wireName(others.join("."))]);
    for (const name of [glued(`${first}.${rest[0]}`, ...rest.slice(1)), glued(`evil.${first}`, ...rest)]) {
      expect(read(answer(Buffer.concat([header(), question(name)]), ZONE, "udp")!).rcode).toBe("REFUSED");
    }
  });

  test.each([0, 3, 4, 254, 255])("class %p", (klass) => {
    expect(ask(Buffer.concat([header(), question(ZONE.name, TXT, klass)])).rcode).toBe("REFUSED");
  });

  test("zone transfers, also with the record that IXFR carries", () => {
    expect(ask(query(ZONE.name, 252), ZONE, "tcp").rcode).toBe("REFUSED");
    const soa = Buffer.concat([wireName(ZONE.name), u16(6), u16(IN), Buffer.alloc(4), u16(22), Buffer.from([0, 0]), Buffer.alloc(20)]);
    expect(ask(Buffer.concat([header({ counts: [1, 0, 1, 0] }), question(ZONE.name, 251), soa])).rcode).toBe("REFUSED");
  });

  test("other opcodes are not implemented, whatever follows", () => {
    for (const opcode of [1, 2, 4, 5, 6, 15]) {
      expect(ask(query(ZONE.name, TXT, { flags: opcode << 11 })).rcode).toBe("NOTIMP");
      expect(ask(header({ flags: opcode << 11, counts: [0, 9, 9, 9] })).rcode).toBe("NOTIMP");
    }
  });

  test("a response is never answered, whatever it carries", () => {
    expect(answer(query(ZONE.name, TXT, { flags: 0x8100 }), ZONE, "udp")).toBeNull();
    expect(answer(header({ flags: 0xa800, counts: [9, 9, 9, 9] }), ZONE, "tcp")).toBeNull();
  });

  test("what is shorter than a header is not answered", () => {
    for (let length = 0; length < 12; length += 1) expect(answer(query(ZONE.name).subarray(0, length), ZONE, "udp")).toBeNull();
  });
});

describe("malformed queries", () => {
  const opt = optRecord();
  const cases: ReadonlyArray<[string, Buffer]> = [
    ["no question", header({ counts: [0, 0, 0, 0] })],
    ["two questions", Buffer.concat([header({ counts: [2, 0, 0, 0] }), question(ZONE.name), question(ZONE.name)])],
    ["65535 of everything", Buffer.concat([header({ counts: [65_535, 65_535, 65_535, 65_535] }), question(ZONE.name)])],
    ["an answer in a query", Buffer.concat([header({ counts: [1, 1, 0, 0] }), question(ZONE.name), Buffer.alloc(11)])],
    ["a question that ends in its name", Buffer.concat([header(), wireName(ZONE.name).subarray(0, 9)])],
    ["a question without a class", query(ZONE.name).subarray(0, -2)],
    ["bytes after the question", Buffer.concat([query(ZONE.name), Buffer.from([0])])],
    ["a name that points at itself", Buffer.concat([header(), question(Buffer.from([0xc0, 12]))])],
    ["a name that points into the header", Buffer.concat([header(), question(Buffer.from([0xc0, 0]))])],
    ["a name that points ahead", Buffer.concat([header(), question(Buffer.from([0xc0, 18]))])],
    ["two pointers at each other", Buffer.concat([header(), question(Buffer.from([0xc0, 14, 0xc0, 12]))])],
    ["a label of type 01", Buffer.concat([header(), question(Buffer.from([0x41, 1, 0]))])],
    ["a label of type 10", Buffer.concat([header(), question(Buffer.from([0x81, 1, 0]))])],
    ["a name of 256 bytes", Buffer.concat([header(), question(`${"a".repeat(62)}.`.repeat(4) + "bb")])],
    ["an OPT record that is promised only", Buffer.concat([header({ counts: [1, 0, 0, 1] }), question(ZONE.name)])],
    ["an OPT record cut short", ednsQuery(ZONE.name).subarray(0, -3)],
    ["two OPT records", Buffer.concat([header({ counts: [1, 0, 0, 2] }), question(ZONE.name), opt, opt])],
    ["an OPT record with a name", ednsQuery(ZONE.name, TXT, { owner: wireName("x") })],
    ["an OPT record whose length lies", Buffer.concat([header({ counts: [1, 0, 0, 1] }), question(ZONE.name), opt.subarray(0, -2), u16(65_535)])],
    ["an option whose length lies", ednsQuery(ZONE.name, TXT, { options: Buffer.concat([u16(10), u16(200)]) })],
    ["a client subnet of no family", ednsQuery(ZONE.name, TXT, { options: Buffer.concat([u16(8), u16(2), u16(9)]) })],
    ["an additional record whose name points at itself", Buffer.concat([header({ counts: [1, 0, 0, 1] }), question("x"), Buffer.from([0xc0, 19]), u16(1), u16(1), Buffer.alloc(10)])],
    ["more than 4 KiB", ednsQuery(ZONE.name, TXT, { options: Buffer.concat([u16(12), u16(4096), Buffer.alloc(4096)]) })],
  ];

  test.each(cases)("%s: FORMERR, and nothing but a header", (_name, message) => {
    const reply = answer(message, ZONE, "udp");
    expect(reply?.length).toBe(12);
    expect(read(reply!)).toMatchObject({ id: 0x1234, rcode: "FORMERR", isAuthoritative: false, isTruncated: false });
  });

  test("a chain of pointers, each to the one before, is followed to its end", () => {
    const start = Buffer.concat([header({ counts: [1, 0, 0, 2] }), question(ZONE.name), Buffer.from([0]), u16(10), u16(IN), Buffer.alloc(4)]);
    const at = start.length + 2;
    const links = Array.from({ length: 1800 }, (_, i) => u16(0xc000 | (i === 0 ? 12 : at + 2 * (i - 1))));
    const last = Buffer.concat([u16(0xc000 | (at + 2 * 1799)), u16(10), u16(IN), Buffer.alloc(6)]);
    expect(ask(Buffer.concat([start, u16(2 * links.length), ...links, last])).rcode).toBe("NOERROR");
  });

  test("a name of 255 bytes is still a name", () => {
    expect(ask(query(`${"a".repeat(62)}.`.repeat(4) + "b")).rcode).toBe("REFUSED");
  });

  test("below the zone any byte may be in a label", () => {
    const strange = String.fromCharCode(...Array.from({ length: 63 }, (_, i) => (i * 4 + 1) & 255)).replaceAll(".", "!");
    const message = query(`${strange}.${ZONE.name}`);
    const reply = answer(message, ZONE, "udp")!;
    expect(read(reply).rcode).toBe("NXDOMAIN");
    expect(reply.subarray(12, message.length)).toEqual(message.subarray(12));
  });
});

describe("flags", () => {
  test("RD is copied, RA is never set, AD, CD and Z are cleared", () => {
    for (const flags of [0x0000, 0x0100, 0x07f0, 0x00ff]) {
      const reply = answer(query(ZONE.name, TXT, { flags }), ZONE, "udp")!;
      expect(reply.readUInt16BE(2)).toBe(0x8400 | (flags & 0x0100));
    }
  });

  test("the question comes back in its own letter case, and so does the owner of the records", () => {
    const name = "_aCmE-ChALLeNge.GENT01.grid.eXample";
    const message = query(name);
    const reply = answer(message, ZONE, "udp")!;
    expect(reply.subarray(12, message.length)).toEqual(message.subarray(12));
    expect(read(reply).answers[0]?.name).toBe(name);
  });
});

describe("EDNS", () => {
  test("an OPT record is answered with ours: 1232 bytes, version 0, no options", () => {
    const cookie = Buffer.concat([u16(10), u16(8), Buffer.alloc(8, 1)]);
    const reply = ask(ednsQuery(ZONE.name, TXT, { options: cookie }));
    expect(texts(reply.answers)).toEqual(["first-value"]);
    expect(reply.additionals).toMatchObject([{ type: "OPT", udpPayloadSize: 1232, ednsVersion: 0, extendedRcode: 0, flag_do: false, options: [] }]);
  });

  test("DO is copied", () => {
    expect(ask(ednsQuery(ZONE.name, TXT, { isDnssecOk: true })).additionals).toMatchObject([{ flag_do: true }]);
  });

  test("no OPT for a client that sent none", () => {
    expect(ask(query(ZONE.name)).additionals).toEqual([]);
  });

  test.each([1, 255])("version %p is BADVERS, and ours is 0", (version) => {
    const reply = ask(ednsQuery(ZONE.name, TXT, { version }));
    expect(reply).toMatchObject({ rcode: "NOERROR", answers: [], additionals: [{ type: "OPT", ednsVersion: 0, extendedRcode: 1 }] });
  });

  test("refusals carry it, too", () => {
    expect(ask(ednsQuery("example.org"))).toMatchObject({ rcode: "REFUSED", additionals: [{ type: "OPT" }] });
  });
});

describe("sizes", () => {
  /** Names of values so long that `count` of them make an answer of a known size. */
  const sized = (bytes: number): Zone => {
    const overhead = answer(query(ZONE.name), { ...ZONE, values: ["x"] }, "tcp")!.length - 1;
    const each = 2 + 10 + 1;
    const left = bytes - overhead;
    const values: string[] = [];
    for (let rest = left; rest >= 0;) {
      const length = rest > 255 ? 200 : rest;
      values.push("x".repeat(length));
      rest -= length + each;
    }
    return { ...ZONE, values };
  };

  test("without EDNS 512 bytes go over UDP, and 513 do not", () => {
    expect(answer(query(ZONE.name), sized(512), "udp")!.length).toBe(512);
    expect(ask(query(ZONE.name), sized(512)).isTruncated).toBe(false);
    expect(ask(query(ZONE.name), sized(513))).toMatchObject({ rcode: "NOERROR", isAuthoritative: true, isTruncated: true, answers: [] });
  });

  test.each([[0, 512], [511, 512], [512, 512], [900, 900], [1232, 1232], [1233, 1232], [65_535, 1232]])("a client that takes %p bytes gets up to %p", (payload, limit) => {
    const message = ednsQuery(ZONE.name, TXT, { payload });
    const opt = 11;
    expect(answer(message, sized(limit - opt), "udp")!.length).toBe(limit);
    expect(ask(message, sized(limit - opt + 1))).toMatchObject({ isTruncated: true, answers: [], additionals: [{ type: "OPT" }] });
  });

  test("over TCP all of it comes", () => {
    const reply = ask(query(ZONE.name), MANY, "tcp");
    expect(reply.isTruncated).toBe(false);
    expect(texts(reply.answers)).toEqual([...MANY.values]);
  });

  test("beyond the rate limit the answer is the question with TC, and nothing for what is malformed", () => {
    const message = query(ZONE.name);
    const reply = answer(message, ZONE, "udp-limited")!;
    expect(reply.length).toBe(message.length);
    expect(read(reply)).toMatchObject({ rcode: "NOERROR", isTruncated: true, answers: [], authorities: [] });
    expect(answer(header(), ZONE, "udp-limited")).toBeNull();
  });
});

describe("any bytes", () => {
  const seeds = [query(ZONE.name), ednsQuery(ZONE.name), query(`x.${ZONE.name}`, 255), ednsQuery(ZONE.name, 2, { options: Buffer.concat([u16(8), u16(7), u16(1), Buffer.from([24, 0, 1, 2, 3])]) })];
  const transports: readonly Transport[] = ["udp", "tcp", "udp-limited"];
  const garbage = fc.uint8Array({ maxLength: 700 });
  /** A query with some bytes changed, then cut or continued. */
  const mutated = fc.tuple(
    fc.constantFrom(...seeds), fc.array(fc.tuple(fc.nat(120), fc.integer({ min: 0, max: 255 })), { maxLength: 8 }), fc.nat(120), fc.uint8Array({ maxLength: 20 }),
  ).map(([seed, changes, cut, more]) => {
    const bytes = Buffer.from(seed);
    for (const [at, value] of changes) bytes[at % bytes.length] = value;
    return Buffer.concat([bytes.subarray(0, bytes.length - (cut < 100 ? 0 : cut - 100)), cut % 2 === 0 ? more : Buffer.alloc(0)]);
  });
  /** Behind a whole question: records made of anything, with honest counts. */
  const records = fc.tuple(fc.integer({ min: 0, max: 2 }), fc.uint8Array({ maxLength: 300 }))
    .map(([count, bytes]) => Buffer.concat([header({ counts: [1, 0, 0, count] }), question(ZONE.name), bytes]));

  test("never throw, never get more than is allowed, and only ever a response to what is a query", () => {
    fc.assert(fc.property(fc.oneof(garbage, mutated, records), fc.constantFrom(...transports), fc.constantFrom(ZONE, MANY, INSIDE), (message, transport, zone) => {
      const reply = answer(message, zone, transport);
      const isQuery = message.length >= 12 && (message[2]! & 0x80) === 0;
      if (reply === null) return expect(isQuery && transport !== "udp-limited").toBe(false);
      expect(isQuery).toBe(true);
      expect(reply.length).toBeLessThanOrEqual(transport === "tcp" ? 65_535 : read(reply).additionals.some(({ type }) => type === "OPT") ? 1232 : 512);
      expect(reply.readUInt16BE(0)).toBe(Buffer.from(message).readUInt16BE(0));
      if (transport === "udp-limited") expect(reply.length).toBeLessThanOrEqual(message.length);
    }), { numRuns: 5000 });
  });

  test("a mutation reaches every kind of answer", () => {
    const seen = new Set<string>();
    for (const message of fc.sample(fc.oneof(mutated, records), { numRuns: 4000, seed: 1 })) {
      const reply = answer(message, ZONE, "udp");
      seen.add(reply === null ? "silence" : read(reply).rcode);
    }
    expect([...seen].sort()).toEqual(["FORMERR", "NOERROR", "NOTIMP", "NXDOMAIN", "REFUSED", "silence"]);
  });
});
