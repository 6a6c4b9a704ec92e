import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { connect } from "node:tls";
import { type ClientHello, HELLO_LIMIT_BYTES, peekClientHello } from "../../src/tls/client-hello.ts";

const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);
const extension = (type: number, data: Uint8Array): Buffer => Buffer.concat([u16(type), u16(data.length), data]);
const serverName = (name: Buffer | string, type = 0): Buffer => {
  const bytes = Buffer.from(name);
  const entry = Buffer.concat([Buffer.from([type]), u16(bytes.length), bytes]);
  return extension(0, Buffer.concat([u16(entry.length), entry]));
};
const alpn = (...names: string[]): Buffer => {
  const list = Buffer.concat(names.map((name) => Buffer.concat([Buffer.from([name.length]), Buffer.from(name)])));
  return extension(16, Buffer.concat([u16(list.length), list]));
};

/** A handshake message without its records. */
function message(extensions: readonly Buffer[] | null, type = 1): Buffer {
  const all = extensions === null ? Buffer.alloc(0) : Buffer.concat(extensions);
  const body = Buffer.concat([
    u16(0x0303), Buffer.alloc(32, 7), Buffer.from([0]), u16(2), u16(0x1301), Buffer.from([1, 0]),
    extensions === null ? Buffer.alloc(0) : Buffer.concat([u16(all.length), all]),
  ]);
  return Buffer.concat([Buffer.from([type, body.length >> 16, (body.length >> 8) & 255, body.length & 255]), body]);
}

/** Cut into records of at most `size` bytes. */
function records(bytes: Buffer, size = 16_384): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    const part = bytes.subarray(at, at + size);
    parts.push(Buffer.from([22, 3, 1]), u16(part.length), part);
  }
  return Buffer.concat(parts);
}

function helloOf(bytes: Uint8Array): ClientHello {
  const peeked = peekClientHello(bytes);
  if (peeked.kind !== "hello") throw new Error(`not a hello: ${JSON.stringify(peeked)}`);
  return peeked.hello;
}

/** What a real client sends first. */
async function realHello(options: { servername?: string; ALPNProtocols?: string[]; maxVersion?: "TLSv1.2" | "TLSv1.3" }): Promise<Buffer> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { open() {}, data: (socket, bytes) => { resolve(Buffer.from(bytes)); socket.terminate(); }, error() {} } });
  const client = connect({ host: "127.0.0.1", port: server.port, rejectUnauthorized: false, ...options });
  client.on("error", () => {});
  const bytes = await promise;
  client.destroy();
  server.stop(true);
  return bytes;
}

describe("ClientHello", () => {
  test("of a real client ends with its record, cut anywhere; one with more in its record does not", async () => {
    const real = await realHello({ servername: "desk.example.org" });
    for (const bytes of [real, records(real.subarray(5), 100), Buffer.concat([real, Buffer.from([23, 3, 3, 0, 1, 0])])]) expect(peekClientHello(bytes)).toMatchObject({ kind: "hello", isAligned: true });
    const wide = Buffer.from(real);
    wide.writeUInt16BE(wide.readUInt16BE(3) + 1, 3);
    for (const bytes of [wide, Buffer.concat([wide, Buffer.from([0])])]) expect(peekClientHello(bytes)).toMatchObject({ kind: "hello", isAligned: false });
  });

  test("of a real client gives its server name and protocols", async () => {
    expect(helloOf(await realHello({ servername: "Desk.Example.ORG", ALPNProtocols: ["h2", "http/1.1"] })))
      .toEqual({ serverName: "desk.example.org", protocols: ["h2", "http/1.1"] });
    expect(helloOf(await realHello({ maxVersion: "TLSv1.2", servername: "old.example" })).serverName).toBe("old.example");
  });

  test("without a server name or without extensions has none", () => {
    expect(helloOf(records(message([])))).toEqual({ serverName: null, protocols: [] });
    expect(helloOf(records(message(null)))).toEqual({ serverName: null, protocols: [] });
  });

  test("is incomplete until its last byte, wherever it is cut, and what follows it does not matter", () => {
    const whole = records(message([serverName("a.example"), alpn("h2")]));
    for (let end = 0; end < whole.length; end += 1) expect(peekClientHello(whole.subarray(0, end)).kind).toBe("incomplete");
    expect(helloOf(Buffer.concat([whole, Buffer.from("anything")])).serverName).toBe("a.example");
  });

  test("may be spread over records of any size", () => {
    const bytes = message([serverName("split.example"), alpn("h2")]);
    for (let size = 1; size <= bytes.length; size += 1) expect(helloOf(records(bytes, size)).serverName).toBe("split.example");
  });

  test("may be large: 60 KiB of extensions, GREASE and a post-quantum key share", () => {
    const large = message([extension(0x0a0a, Buffer.alloc(0)), extension(51, Buffer.alloc(1300)), extension(21, Buffer.alloc(58_000)), serverName("big.example")]);
    expect(helloOf(records(large)).serverName).toBe("big.example");
    expect(peekClientHello(records(large).subarray(0, 50_000)).kind).toBe("incomplete");
  });

  test("that trickles in one byte at a time, in records of one byte, is looked at a few dozen times", () => {
    const whole = records(message([extension(21, Buffer.alloc(9_000)), serverName("slow.example")]), 1);
    let looks = 0;
    for (let have = 0; ; ) {
      const peeked = peekClientHello(whole.subarray(0, have));
      looks += 1;
      if (peeked.kind === "hello") break;
      if (peeked.kind !== "incomplete" || peeked.atLeast <= have) throw new Error("no progress");
      have = peeked.atLeast;
    }
    expect(looks).toBeLessThan(80);
  });

  test("over 64 KiB is refused as soon as its length is known", () => {
    expect(peekClientHello(Buffer.from([22, 3, 1, 64, 0, 1, 1, 0, 1]))).toMatchObject({ kind: "bad", reason: "ClientHello over 64 KiB" });
    // The same in records of one byte: the heads count as well.
    const tiny = records(message([extension(21, Buffer.alloc(20_000))]), 1);
    expect(peekClientHello(tiny.subarray(0, HELLO_LIMIT_BYTES + 1))).toMatchObject({ kind: "bad" });
  });

  test.each([
    ["a trailing dot is dropped", "dot.example.", "dot.example"], ["underscores pass", "_a.b_c.example", "_a.b_c.example"],
    ["an address is a name like any other here", "10.0.0.1", "10.0.0.1"],
  ])("server name: %s", (_, given, expected) => {
    expect(helloOf(records(message([serverName(given)]))).serverName).toBe(expected);
  });

  test.each([
    ["empty", ""], ["only a dot", "."], ["NUL inside", "a\0b.example"], ["two dots", "a..example"], ["a space", "a b"], ["a slash", "a/b"],
    ["254 characters", `${"a".repeat(60)}.`.repeat(4) + "a".repeat(10)], ["bytes above 7F", Buffer.from([0xc3, 0xa9])], ["a leading dot", ".a"],
  ])("server name is refused: %s", (_, name) => {
    expect(peekClientHello(records(message([serverName(name)])))).toMatchObject({ kind: "bad", alert: 50 });
  });

  test("two server names, in one extension or in two, are refused", () => {
    const entry = Buffer.concat([Buffer.from([0]), u16(1), Buffer.from("a"), Buffer.from([0]), u16(1), Buffer.from("b")]);
    expect(peekClientHello(records(message([extension(0, Buffer.concat([u16(entry.length), entry]))]))).kind).toBe("bad");
    expect(peekClientHello(records(message([serverName("a"), serverName("b")])))).toMatchObject({ kind: "bad", reason: "an extension twice" });
    expect(peekClientHello(records(message([serverName("a", 1)]))).kind).toBe("bad");
  });

  test.each([
    ["HTTP", "GET / HTTP/1.1\r\n", { kind: "not-tls", isHttp: true }], ["the beginning of HTTP", "GE", { kind: "incomplete" }],
    ["SSH", "SSH-2.0-x\r\n", { kind: "not-tls", isHttp: false }], ["NUL", "\0\0", { kind: "not-tls", isHttp: false }],
    ["SSLv2", "\x80\x2e\x01\x00\x02", { kind: "not-tls", isHttp: false }],
    ["another record version", "\x16\x02\x00", { kind: "bad", alert: 70 }],
    ["a server's message", "\x16\x03\x03\x00\x04\x02\x00\x00\x00", { kind: "bad", alert: 10 }],
    ["an empty record", "\x16\x03\x03\x00\x00", { kind: "bad", alert: 50 }],
    ["a record over 16 KiB", "\x16\x03\x03\x40\x01\x01", { kind: "bad", alert: 22 }],
  ])("%s is told from a hello", (_, text, expected) => {
    expect(peekClientHello(Buffer.from(text, "latin1"))).toMatchObject(expected);
  });

  test("another record in its middle is refused", () => {
    const bytes = message([serverName("a.example")]);
    const mixed = Buffer.concat([records(bytes.subarray(0, 10)), Buffer.from([21, 3, 3, 0, 2, 1, 0]), records(bytes.subarray(10))]);
    expect(peekClientHello(mixed)).toMatchObject({ kind: "bad", alert: 10 });
  });

  test("every length that lies is refused or waited for, never misread", () => {
    const whole = records(message([serverName("a.example"), alpn("h2")]));
    fc.assert(fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const changed = Buffer.from(whole);
      changed[at] = (changed[at]! + change) & 255;
      const peeked = peekClientHello(changed);
      // A changed name is another valid name; everything else keeps it or is no hello.
      return peeked.kind !== "hello" || peeked.hello.serverName === null || /^[a-z0-9_.-]+$/.test(peeked.hello.serverName);
    }), { numRuns: 3000 });
  });

  test("arbitrary bytes never throw", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      peekClientHello(bytes);
      peekClientHello(records(Buffer.concat([Buffer.from([1, 0, bytes.length >> 8, bytes.length & 255]), bytes])));
    }), { numRuns: 3000 });
  });
});
